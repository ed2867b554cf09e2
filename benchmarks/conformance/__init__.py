"""ONNX's own backend suite, driven through `optc.backend`: what each target passes, and why it does not pass the rest.

    python -m benchmarks.conformance                  run all cases of all targets; exit code 1 where a result is another one
    python -m benchmarks.conformance --every 8        a sample of them
    python -m benchmarks.conformance --update         write the results and docs/conformance.md

Results are committed, one line a case: tests/conformance/<target>.txt. `onnxruntime-itself` is no target: it is onnxruntime
driven directly, to see which cases the peer passes.
"""
