"""ONNX's interface of a backend: `import optc.backend as backend; backend.prepare(model).run([x])`."""

from optc.compiler.backend import Backend, BackendRep, is_compatible, prepare, run_model, run_node, supports_device

__all__ = ["Backend", "BackendRep", "is_compatible", "prepare", "run_model", "run_node", "supports_device"]
