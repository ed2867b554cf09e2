"""Branches and loops: names that collide, values that are handed through, trips that never happen."""

from __future__ import annotations

from dataclasses import replace

from .case import Case

X = "(float[N,2] x, bool c) => (float[N,2] y)"

IFS = (
    Case(
        "if: the branches use the same names, and constants of one name",
        X,
        "n = Neg (x) y = If (c) <then_branch = t () => (float[N,2] r) <float k = {2}> { a = Mul (n, k) r = Relu (a) },"
        "else_branch = e () => (float[N,2] s) <float k = {3}> { a = Add (n, k) s = Relu (a) }>",
    ),
    *(
        Case(
            f"if: a constant {condition}, and names that are used around it",
            "(float[N,2] x) => (float[N,2] y, float[N,2] z)",
            "a = Neg (x) b = If (yes) <then_branch = t () => (float[N,2] tr) <float k = {2}> { ta = Mul (a, k) tr = Relu (ta) },"
            "else_branch = e () => (float[N,2] er) <float k = {3}> { ta = Add (a, k) er = Exp (ta) }> "
            "y = Mul (b, a) "
            "z = If (yes) <then_branch = u () => (float[N,2] tr) <float k = {5}> { ta = Mul (b, k) tr = Abs (ta) }, "
            "else_branch = f () => (float[N,2] er) <float k = {7}> { ta = Add (b, k) er = Exp (ta) }>",
            f"bool yes = {{{condition}}}",
        )
        for condition in (0, 1)
    ),
    Case(
        "if: a constant condition of one element",
        "(float[N,2] x) => (float[N,2] y)",
        "y = If (yes) <then_branch = t () => (float[N,2] r) { r = Neg (x) }, "
        "else_branch = e () => (float[N,2] s) { s = Exp (x) }>",
        "bool[1] yes = {0}",
    ),
    Case(
        "if: a condition that is fed",
        X,
        "y = If (c) <then_branch = t () => (float[N,2] r) { r = Neg (x) }, else_branch = e () => (float[N,2] s) { s = Exp (x) }>",
    ),
    Case(
        "if: a branch gives what is around it",
        X,
        "n = Neg (x) z = If (c) <then_branch = t () => (float[N,2] r) { r = Identity (n) },"
        "else_branch = e () => (float[N,2] s) { s = Identity (x) }> y = Relu (z)",
    ),
    Case(
        "if: a constant one that gives an input, as the output",
        "(float[N,2] x) => (float[N,2] y, float[N,2] z)",
        "y, z = If (yes) <then_branch = t () => (float[N,2] r, float[N,2] q) { r = Identity (x) q = Identity (x) },"
        "else_branch = e () => (float[N,2] s, float[N,2] p) { s = Exp (x) p = Neg (s) }>",
        "bool yes = {1}",
    ),
    Case(
        "if: a branch gives its own constant",
        "(float[N,2] x, bool c) => (float[2] y, float[N,2] z)",
        "y = If (c) <then_branch = t () => (float[2] r) <float[2] r = {1, 2}> {},"
        "else_branch = e () => (float[2] s) <float[2] k = {3, 4}> { s = Identity (k) }> z = Neg (x)",
    ),
    Case(
        "if: a constant one that gives its own constant",
        "(float[N,2] x) => (float[2] y, float[N,2] z)",
        "y = If (no) <then_branch = t () => (float[2] r) <float[2] k = {1, 2}> { r = Identity (k) },"
        "else_branch = e () => (float[2] s) <float[2] k = {3, 4}> { s = Identity (k) }> z = Neg (x)",
        "bool no = {0}",
    ),
    Case(
        "if: one computation in both branches, and around",
        X,
        "a = Exp (x) b = If (c) <then_branch = t () => (float[N,2] r) { p = Exp (x) q = Neg (x) r = Add (p, q) },"
        "else_branch = e () => (float[N,2] s) { u = Exp (x) v = Neg (x) s = Mul (u, v) }> y = Add (a, b)",
    ),
    Case(
        "if: one computation in a branch, and behind it",
        X,
        "b = If (c) <then_branch = t () => (float[N,2] r) { r = Exp (x) },"
        "else_branch = e () => (float[N,2] s) { s = Neg (x) }> a = Exp (x) d = Neg (x) f = Add (a, d) y = Add (f, b)",
    ),
    Case(
        "if: nested, with the same names in each",
        "(float[N,2] x, bool c, bool d) => (float[N,2] y)",
        "y = If (c) <then_branch = t () => (float[N,2] r) { a = Neg (x) r = If (d) <then_branch = tt () => (float[N,2] rr) "
        "{ aa = Exp (a) rr = Relu (aa) }, else_branch = te () => (float[N,2] ss) { aa = Abs (a) ss = Neg (aa) }> },"
        "else_branch = e () => (float[N,2] s) { b = Exp (x) s = If (d) <then_branch = et () => (float[N,2] rr) "
        "{ aa = Neg (b) rr = Exp (aa) }, else_branch = ee () => (float[N,2] ss) { ss = Identity (b) }> }>",
    ),
    Case(
        "if: a fusion across its border",
        "(float[N,3] x, bool c) => (float[N,2] y)",
        "p = MatMul (x, w) y = If (c) <then_branch = t () => (float[N,2] r) { r = Add (p, k) },"
        "else_branch = e () => (float[N,2] s) { s = Neg (p) }>",
        "float[3,2] w = {1,2,3,4,5,6}, float[2] k = {1, 2}",
    ),
    Case(
        "if: branches of other shapes",
        "(float[N,2] x, bool c) => (y)",
        "z = If (c) <then_branch = t () => (float[N,2] r) { r = Neg (x) },"
        "else_branch = e () => (s) { s = Reshape (x, all) }> y = Relu (z)",
        "int64[1] all = {-1}",
    ),
    Case(
        "if: the same weight inside and outside",
        "(float[N,2] x, bool c) => (float[N,2] y)",
        "z = If (c) <then_branch = t () => (float[N,2] r) <float[2] k = {1, 2}> { r = Add (x, k) },"
        "else_branch = e () => (float[N,2] s) <float[2] k = {1, 2}> { s = Mul (x, k) }> y = Sub (z, w)",
        "float[2] w = {1, 2}",
    ),
)


def _loop(
    name: str, outputs: str, loop: str, body: str, weights: str = "", header: str = "(float[N,2] x)", special: bool = True
) -> Case:
    text = f"{loop} <body = b (int64 i, bool go, {body}>"
    return Case(f"loop: {name}", f"{header} => ({outputs})", text, weights, special=special)


YES = "bool yes = {1}, bool no = {0}, int64 none = {0}, int64 one = {1}, int64 three = {3}, float two = {2}"

LOOPS = (
    *(
        _loop(
            f"{trips} trips, states that change places",
            "float[N,2] y, float[N,2] z",
            f"n = Neg (x) y, z = Loop ({trips}, yes, x, n)",
            "float[N,2] p, float[N,2] q) => (bool going, float[N,2] p2, float[N,2] q2) "
            "{ going = Identity (go) p2 = Identity (q) q2 = Mul (p, two) }",
            YES,
        )
        for trips in ("none", "one", "three")
    ),
    *(
        _loop(
            f"{trips} trips, gathered",
            "float[N,2] y, zs",
            f"y, zs = Loop ({trips}, yes, x)",
            "float[N,2] p) => (bool going, float[N,2] p2, float[N,2] s) "
            "{ going = Identity (go) f = Cast <to = 1> (i) s = Add (p, f) p2 = Mul (p, two) }",
            YES,
        )
        for trips in ("none", "one", "three")
    ),
    _loop(
        "a condition that is false at first",
        "float[N,2] y",
        "y = Loop (three, no, x)",
        "float[N,2] p) => (bool going, float[N,2] p2) { going = Identity (go) p2 = Neg (p) }",
        YES,
    ),
    _loop(
        "a condition that becomes false",
        "float[N,2] y, zs",
        "y, zs = Loop (three, yes, x)",
        "float[N,2] p) => (bool going, float[N,2] p2, float[N,2] s) { going = Less (i, one) p2 = Mul (p, two) s = Neg (p) }",
        YES,
    ),
    _loop(
        "a condition that is false after the first trip",
        "float[N,2] y",
        "y = Loop (three, yes, x)",
        "float[N,2] p) => (bool going, float[N,2] p2) { going = Identity (no) p2 = Mul (p, two) }",
        YES,
    ),
    _loop(
        "a state that is handed through",
        "float[N,2] y, float[N,2] z",
        "y, z = Loop (three, yes, x, x)",
        "float[N,2] p, float[N,2] q) => (bool going, float[N,2] p2, float[N,2] q2) "
        "{ going = Identity (go) p2 = Add (p, q) q2 = Identity (q) }",
        YES,
    ),
    _loop(
        "trips that are fed",
        "float[N,2] y",
        "y = Loop (k, yes, x)",
        "float[N,2] p) => (bool going, float[N,2] p2) { going = Identity (go) p2 = Mul (p, two) }",
        YES,
        "(float[N,2] x, int64 k)",
    ),
    _loop(
        "what is around it, used in each trip",
        "float[N,2] y",
        "n = Exp (x) y = Loop (three, yes, x)",
        "float[N,2] p) => (bool going, float[N,2] p2) <float k = {3}> { going = Identity (go) a = Mul (p, k) p2 = Sub (a, n) }",
        YES,
        special=False,
    ),
    _loop(
        "an If on the number of the trip",
        "float[N,2] y",
        "y = Loop (three, yes, x)",
        "float[N,2] p) => (bool going, float[N,2] p2) { going = Identity (go) e = Equal (i, one) "
        "p2 = If (e) <then_branch = t () => (float[N,2] r) { r = Neg (p) }, else_branch = f () => (float[N,2] s) "
        "{ s = Mul (p, two) }> }",
        YES,
    ),
    _loop(
        "a loop in a loop",
        "float[N,2] y",
        "y = Loop (three, yes, x)",
        "float[N,2] p) => (bool going, float[N,2] p2) { going = Identity (go) p2 = Loop (i, yes, p) <body = c (int64 j, bool gj, "
        "float[N,2] q) => (bool goingj, float[N,2] q2) { goingj = Identity (gj) q2 = Mul (q, two) }> }",
        YES,
    ),
    Case(
        "scan: the last state and what was gathered",
        "(float[N,2] x) => (float[2] y, float[N,2] z)",
        "y, z = Scan <num_scan_inputs = 1, body = b (float[2] s, float[2] e) => (float[2] t, float[2] o) "
        "{ t = Add (s, e) o = Mul (t, e) }> (start, x)",
        "float[2] start = {1, 2}",
        sizes=(1, 3),
    ),
)

TWICE = "<then_branch = t () => (float[N,2] r, float[N,2] r) { r = Neg (x) }, "
OTHER = "else_branch = e () => (float[N,2] s, float[N,2] q) { s = Exp (x) q = Abs (x) }>"

RESULTS = (
    Case(
        "if: a branch gives one value twice",
        "(float[N,2] x, bool c) => (float[N,2] y, float[N,2] z)",
        f"y, z = If (c) {TWICE} {OTHER}",
    ),
    Case(
        "if: a constant one gives one value twice",
        "(float[N,2] x) => (float[N,2] y, float[N,2] z)",
        f"y, z = If (yes) {TWICE} {OTHER}",
        "bool yes = {1}",
    ),
)
"""onnxruntime forgets the second: what is right is given by onnx's evaluator."""

CASES = (*IFS, *LOOPS, *(replace(case, evaluator=True) for case in RESULTS))
