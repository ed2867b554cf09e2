"""Targets, one a file. This table is all there is to register: name -> where it is."""

TARGETS = {
    "cpu": "optc.targets.cpu:Cpu",
    "onnx": "optc.targets.onnx:Onnx",
    "onnxruntime": "optc.targets.onnxruntime:OnnxRuntime",
}
