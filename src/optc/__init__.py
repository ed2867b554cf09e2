"""optc: an optimizing compiler for trained models.

    optc.compile("model.onnx", "model.optc")
    outputs = optc.load("model.optc").run({"x": x})

Names are imported when they are used: `import optc` costs nothing, and `optc.load` never imports the compiler.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optc.compiler.api import CompileResult, OptResult, compile, optimize
    from optc.compiler.diagnostics import ContractError, InternalError, OptcError, PolicyError, UserError
    from optc.compiler.runtime import Program, load

    __version__: str

_HOME = {
    "CompileResult": "optc.compiler.api",
    "ContractError": "optc.compiler.diagnostics",
    "InternalError": "optc.compiler.diagnostics",
    "OptResult": "optc.compiler.api",
    "OptcError": "optc.compiler.diagnostics",
    "PolicyError": "optc.compiler.diagnostics",
    "Program": "optc.compiler.runtime",
    "UserError": "optc.compiler.diagnostics",
    "compile": "optc.compiler.api",
    "load": "optc.compiler.runtime",
    "optimize": "optc.compiler.api",
}

__all__ = [
    "CompileResult",
    "ContractError",
    "InternalError",
    "OptResult",
    "OptcError",
    "PolicyError",
    "Program",
    "UserError",
    "__version__",
    "compile",
    "load",
    "optimize",
]


if not TYPE_CHECKING:  # a type checker sees the names above, and no others

    def __getattr__(name):
        if name == "__version__":
            from importlib.metadata import version

            value = version("optc")
        elif name in _HOME:
            from importlib import import_module

            value = getattr(import_module(_HOME[name]), name)
        else:
            raise AttributeError(f"module 'optc' has no attribute '{name}'")
        globals()[name] = value
        return value

    def __dir__():
        return __all__
