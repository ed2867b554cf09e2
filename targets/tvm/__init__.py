"""Code generation with TVM: machine, lowering, kernels, schedules, building, and the engine of what was built."""
