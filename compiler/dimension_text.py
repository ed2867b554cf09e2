"""Reading the texts of dimensions: `(H + 31)//32` as shapes hold it becomes the expression again."""

from __future__ import annotations

import re
from functools import lru_cache

from optc.compiler.symbolic import IDENTIFIER, Dim, Expr, floordiv, maximum, minimum, name, names

_TOKEN = re.compile(r"\s*(\d+|[A-Za-z_][A-Za-z0-9_.]*|`[^`]+`|//|[-+*(),])")


@lru_cache(maxsize=4096)
def parse(text: str) -> Dim:
    """The dimension of a text. What is not the text of an expression is a name, whatever stands in it."""
    try:
        dim = _Parser(text).whole()
    except ValueError:
        return name(text)
    return dim if str(dim) == text else name(text)


def formula(text: str) -> Dim | None:
    """What a text means as an expression, in whatever order and spacing it is written; None where it is a mere name."""
    try:
        dim = _Parser(text).whole()
    except ValueError:
        return None
    return None if isinstance(dim, Expr) and names(dim) == {text} else dim


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if not found:
                raise ValueError(text)
            self.tokens.append(found[1])
            at = found.end()
        self.tokens.append("")

    def take(self, *tokens: str) -> str:
        return self.tokens.pop(0) if self.tokens[0] in tokens else ""

    def need(self, token: str) -> None:
        if self.tokens.pop(0) != token:
            raise ValueError(token)

    def whole(self) -> Dim:
        dim = self.sum()
        self.need("")
        return dim

    def sum(self) -> Dim:
        total = -self.product() if self.take("-") else self.product()
        while sign := self.take("+", "-"):
            right = self.product()
            total = total + right if sign == "+" else total - right
        return total

    def product(self) -> Dim:
        total = self.atom()
        while sign := self.take("*", "//"):
            right = self.atom()
            if sign == "//" and right == 0:
                raise ValueError(sign)
            total = total * right if sign == "*" else floordiv(total, right)
        return total

    def atom(self) -> Dim:
        token = self.tokens.pop(0)
        if token.isdigit():
            return int(token)
        if token == "(":
            inner = self.sum()
            self.need(")")
            return inner
        if token in ("max", "min"):
            self.need("(")
            a = self.sum()
            self.need(",")
            b = self.sum()
            self.need(")")
            return maximum(a, b) if token == "max" else minimum(a, b)
        if token.startswith("`"):
            return name(token[1:-1])
        if not token or not IDENTIFIER.match(token):
            raise ValueError(token)
        return name(token)
