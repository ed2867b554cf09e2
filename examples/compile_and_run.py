"""Compile a model, look at what came of it, run it. `python examples/compile_and_run.py MODEL.onnx OUT.optc`"""

import sys

import numpy as np

import optc

model, bundle = sys.argv[1:3]
result = optc.compile(model, bundle, target="cpu")
print(f"{result.nodes_before} nodes became {result.nodes_after}; largest relative error {result.error:.1e}")

program = optc.load(bundle, threads=2)
feeds = {
    value.name: np.zeros([size if isinstance(size, int) else 1 for size in value.shape], value.dtype) for value in program.inputs
}
for name, array in program.run(feeds).items():
    print(name, array.dtype, array.shape)
