"""Slices, reshapes, transposes and their like that seem to change nothing, or seem to cancel."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import Case

MAX, MIN = 9223372036854775807, -9223372036854775808


def _slice(name: str, starts: str, ends: str, axes: str = "1", steps: str = "", more: str = "") -> Case:
    vectors = {"st": starts, "en": ends, "ax": axes, "sp": steps}
    weights = ", ".join(f"int64[{len(v.split(','))}] {k} = {{{v}}}" for k, v in vectors.items() if v)
    given = ", ".join(k for k, v in vectors.items() if v)
    body = f"r = Slice (x, {given}) y = Neg (r)"
    return Case(f"slice: {name}", "(float[N,5] x) => (float[A,B] y)", f"{body} {more}", weights)


SLICES = (
    _slice("backwards", f"{MAX}", f"{MIN}", steps="-1"),
    _slice("backwards from -1 to INT64_MIN", "-1", f"{MIN}", steps="-1"),
    _slice("backwards by two", "-1", "-100", steps="-2"),
    _slice("backwards from beyond the end", "100", "0", steps="-1"),
    _slice("backwards to the end that -1 means", "4", "-1", steps="-1"),
    _slice("backwards from before the start", "-100", f"{MIN}", steps="-1"),
    _slice("both axes backwards", f"-1,{MAX}", f"{MIN},{MIN}", "0,1", "-1,-1"),
    _slice("one axis backwards, the other whole", "0,-1", f"{MAX},{MIN}", "0,1", "1,-1"),
    _slice("whole", "0", f"{MAX}"),
    _slice("whole by int32's end", "0", "2147483647"),
    _slice("whole from before the start", "-100", "100"),
    _slice("whole of the free axis", "0", f"{MAX}", "0"),
    _slice("all but the last", "0", "-1"),
    _slice("all but the last of the free axis", "0", "-1", "0"),
    _slice("to five of the free axis", "0", "5", "0"),
    _slice("empty", "3", "1"),
    _slice("by a step above the size", "0", "5", steps="7"),
    _slice("negative axes", "1", "3", "-1"),
    _slice("axes in the other order", "0,1", "2,4", "1,0"),
    _slice("without axes", "0", "2", axes=""),
    *(
        Case(
            f"slice: a slice of a slice, {name}",
            "(float[N,7] x) => (float[N,B] y)",
            "r = Slice (x, a, b, one, c) s = Slice (r, d, e, one, f) y = Neg (s)",
            f"int64[1] one = {{1}}, int64[1] a = {{{a}}}, int64[1] b = {{{b}}}, int64[1] c = {{{c}}},"
            f"int64[1] d = {{{d}}}, int64[1] e = {{{e}}}, int64[1] f = {{{f}}}",
        )
        for name, (a, b, c, d, e, f) in {
            "both forwards": (1, 6, 1, 1, 3, 1),
            "beyond the first": (1, 3, 1, 1, 100, 1),
            "from the end": (1, -1, 1, -2, MAX, 1),
            "steps": (1, 7, 2, 1, 3, 2),
            "forwards, then backwards": (1, 6, 1, MAX, MIN, -1),
            "backwards, then forwards": (MAX, MIN, -1, 1, 3, 1),
            "backwards twice": (MAX, MIN, -1, MAX, MIN, -1),
            "of an empty one": (3, 3, 1, 0, MAX, 1),
        }.items()
    ),
    Case(
        "slice: ends that are computed from the size",
        "(float[N,5] x) => (float[A,5] y)",
        "s = Shape (x) n = Gather (s, zero) e = Div (n, two) r = Slice (x, zero, e, zero) y = Neg (r)",
        "int64[1] zero = {0}, int64 two = {2}",
    ),
)


def _view(
    name: str,
    body: str,
    weights: str = "",
    header: str = "(float[N,2,3] x) => (y)",
    opset: int = 17,
    sizes: tuple[int, ...] = (1, 3, 0),
    **more: Any,
) -> Case:
    return Case(f"view: {name}", header, body, weights, opset, sizes, **more)


VIEWS = (
    _view("reshape to 0 and -1", "y = Reshape (x, s)", "int64[2] s = {0, -1}", sizes=(1, 3)),
    _view("reshape to -1 and 0", "r = Reshape (x, s) y = Neg (r)", "int64[3] s = {-1, 0, 3}"),
    _view("reshape to itself by zeros", "r = Reshape (x, s) y = Neg (r)", "int64[3] s = {0, 0, 0}"),
    _view(
        "reshape with zeros of another axis",
        "a = Transpose <perm = [1,2,0]> (x) r = Reshape (a, s) y = Neg (r)",
        "int64[3] s = {0, 0, 0}",
    ),
    _view(
        "a reshape of a reshape with 0",
        "a = Reshape (x, s) r = Reshape (a, t) y = Neg (r)",
        "int64[2] s = {3, -1}, int64[2] t = {0, -1}",
    ),
    _view(
        "a reshape of a reshape with 0 and -1 the other way",
        "a = Reshape (x, s) r = Reshape (a, t) y = Neg (r)",
        "int64[3] s = {0, 3, 2}, int64[3] t = {-1, 0, 0}",
    ),
    _view(
        "an allowed zero", "r = Reshape <allowzero = 1> (x, s) y = Neg (r)", "int64[3] s = {0, 2, 3}", sizes=(0,), special=False
    ),
    _view(
        "an allowed zero, then -1",
        "a = Reshape <allowzero = 1> (x, s) r = Reshape (a, t) y = Neg (r)",
        "int64[2] s = {0, 6}, int64[3] t = {0, 2, 3}",
        sizes=(0,),
        special=False,
    ),
    _view(
        "a computed target",
        "s = Shape (x) n = Gather (s, i) u = Unsqueeze (n, z) t = Concat <axis = 0> (u, six) r = Reshape (x, t) y = Neg (r)",
        "int64 i = {0}, int64[1] z = {0}, int64[1] six = {6}",
    ),
    _view(
        "a computed target of products",
        "s = Shape (x) a = Gather (s, i) b = Gather (s, j) c = Mul (a, b) "
        "u = Unsqueeze (c, z) t = Concat <axis = 0> (u, three) r = Reshape (x, t) y = Neg (r)",
        "int64 i = {0}, int64 j = {1}, int64[1] z = {0}, int64[1] three = {-1}",
        sizes=(1, 3),
    ),
    _view("flatten at 0", "a = Flatten <axis = 0> (x) y = Neg (a)"),
    _view("flatten at -1", "a = Flatten <axis = -1> (x) y = Neg (a)"),
    _view("flatten of a matrix", "r = Reshape (x, s) a = Flatten (r) y = Neg (a)", "int64[2] s = {0, 6}"),
    _view("squeeze without axes of a free size", "s = Squeeze (x) y = Neg (s)", header="(float[N,1,3] x) => (y)"),
    _view(
        "squeeze and unsqueeze of a free size",
        "s = Squeeze (x) u = Unsqueeze (s, a) y = Neg (u)",
        "int64[1] a = {1}",
        "(float[N,1,3] x) => (y)",
        sizes=(2, 3),
    ),
    _view(
        "squeeze and unsqueeze of other axes",
        "s = Squeeze (x, a) u = Unsqueeze (s, b) y = Neg (u)",
        "int64[1] a = {1}, int64[1] b = {0}",
        "(float[N,1,3] x) => (y)",
    ),
    _view(
        "unsqueeze and squeeze of another axis",
        "u = Unsqueeze (x, a) s = Squeeze (u, b) y = Neg (s)",
        "int64[1] a = {0}, int64[1] b = {2}",
        "(float[N,1,3] x) => (y)",
    ),
    _view("unsqueeze twice", "u = Unsqueeze (x, a) v = Unsqueeze (u, b) y = Neg (v)", "int64[1] a = {1}, int64[1] b = {0}"),
    _view("unsqueeze twice from the end", "u = Unsqueeze (x, a) v = Unsqueeze (u, a) y = Neg (v)", "int64[1] a = {-2}"),
    _view("unsqueeze at two axes, unsorted", "u = Unsqueeze (x, a) y = Neg (u)", "int64[2] a = {3, 0}"),
    _view("squeeze by attribute", "u = Unsqueeze <axes = [0, 3]> (x) s = Squeeze <axes = [3]> (u) y = Neg (s)", opset=11),
    _view("transpose without perm", "t = Transpose (x) y = Neg (t)"),
    _view("transpose of a transpose without perm", "t = Transpose (x) u = Transpose <perm = [1,2,0]> (t) y = Neg (u)"),
    _view("transposes that rotate", "t = Transpose <perm = [1,2,0]> (x) u = Transpose <perm = [1,2,0]> (t) y = Neg (u)"),
    _view("transposes that cancel", "t = Transpose <perm = [1,2,0]> (x) u = Transpose <perm = [2,0,1]> (t) y = Neg (u)"),
    _view(
        "transposes of an unknown rank",
        "r = Reshape (x, s) t = Transpose (r) u = Transpose (t) y = Neg (u)",
        header="(float[N,2,3] x, int64[M] s) => (y)",
        special=False,
        feeds=({"x": np.ones((1, 2, 3), np.float32), "s": np.array([2, 3])},),
    ),
    _view(
        "a transpose that moves an axis of one",
        "t = Transpose <perm = [0,2,1]> (x) y = Neg (t)",
        header="(float[N,1,3] x) => (y)",
    ),
    _view(
        "a transpose of the free axis beside one",
        "t = Transpose <perm = [1,0,2]> (x) y = Neg (t)",
        header="(float[N,1,3] x) => (y)",
    ),
    _view(
        "a transpose through an Add that broadcasts",
        "t = Transpose <perm = [0,2,1]> (x) a = Add (t, k) y = Transpose <perm = [0,2,1]> (a)",
        "float[2] k = {1, 2}",
    ),
    _view(
        "a transpose through a Concat of the axis",
        "t = Transpose <perm = [0,2,1]> (x) c = Concat <axis = -1> (t, t) y = Transpose <perm = [0,2,1]> (c)",
    ),
    _view(
        "a transpose through a reduction that drops an axis",
        "t = Transpose <perm = [0,2,1]> (x) r = ReduceMax <axes = [1], keepdims = 0> (t) y = Transpose (r)",
    ),
    _view(
        "a transpose through a Softmax",
        "t = Transpose <perm = [2,1,0]> (x) s = Softmax <axis = 1> (t) y = Transpose <perm = [2,1,0]> (s)",
        sizes=(1, 3),
    ),
    _view("expand to smaller sizes", "e = Expand (x, s) y = Neg (e)", "int64[3] s = {1, 1, 1}"),
    _view("expand that raises the rank", "e = Expand (x, s) y = Neg (e)", "int64[4] s = {1, 1, 1, 1}"),
    _view("expand of one axis", "e = Expand (x, s) y = Neg (e)", "int64[2] s = {2, 1}", "(float[N,1,3] x) => (y)"),
    _view("expand of the free axis", "e = Expand (x, s) y = Neg (e)", "int64[3] s = {3, 1, 1}", sizes=(1, 3), special=False),
    _view("expand to its own shape", "s = Shape (x) e = Expand (x, s) y = Neg (e)"),
    _view(
        "expand before an Add",
        "e = Expand (x, s) y = Add (e, k)",
        "int64[3] s = {1, 4, 1}, float[1,1,3] k = {1,2,3}",
        "(float[N,1,3] x) => (y)",
    ),
    _view(
        "expand before an Add that does not broadcast",
        "e = Expand (x, s) n = Neg (x) y = Add (n, e)",
        "int64[3] s = {2, 2, 3}",
        sizes=(1, 2),
        special=False,
    ),
    _view("tile by one", "t = Tile (x, s) y = Neg (t)", "int64[3] s = {1, 1, 1}"),
    _view("tile by none", "t = Tile (x, s) y = Neg (t)", "int64[3] s = {1, 0, 1}"),
    _view("concat at a negative axis", "c = Concat <axis = -2> (x, x) y = Neg (c)"),
    _view("concat of one", "c = Concat <axis = 1> (x) y = Neg (c)"),
    _view("concat of concats", "c = Concat <axis = 1> (x, x) d = Concat <axis = -2> (c, x) y = Neg (d)"),
    _view("concat of concats of other axes", "c = Concat <axis = 1> (x, x) d = Concat <axis = 2> (c, c) y = Neg (d)"),
    _view(
        "concat with an empty one",
        "c = Concat <axis = 1> (x, e) y = Neg (c)",
        "float[1,0,3] e = {}",
        "(float[1,2,3] x) => (y)",
    ),
    _view("split and concat in the other order", "a, b, c = Split <axis = -1> (x) d = Concat <axis = 2> (c, b, a) y = Neg (d)"),
    _view("split and concat of part", "a, b, c = Split <axis = -1> (x) d = Concat <axis = 2> (a, b) y = Neg (d)"),
    _view("split and concat of another axis", "a, b = Split <axis = 1> (x) d = Concat <axis = 2> (a, b) y = Neg (d)"),
    _view("an uneven split", "a, b = Split <axis = 2, num_outputs = 2> (x) n = Neg (b) y = Concat <axis = 2> (n, a)", opset=18),
    _view(
        "a split with a part of none",
        "a, b = Split <axis = 1> (x, s) n = Neg (b) y = Concat <axis = 1> (n, a)",
        "int64[2] s = {0, 2}",
    ),
    _view("gather of a negative index", "g = Gather <axis = 2> (x, i) y = Neg (g)", "int64[2] i = {-1, -3}"),
    _view("gather of a scalar drops the axis", "g = Gather <axis = 1> (x, i) y = Neg (g)", "int64 i = {-1}"),
    _view("gather of all in order", "g = Gather <axis = 2> (x, i) y = Neg (g)", "int64[3] i = {0, 1, 2}"),
    _view(
        "gather of a gather", "g = Gather <axis = 2> (x, i) h = Gather <axis = 2> (g, i) y = Neg (h)", "int64[3] i = {2, 0, 1}"
    ),
    _view(
        "gather of a constant with a fed index",
        "y = Gather (w, i)",
        "float[3,2] w = {1,2,3,4,5,6}",
        "(int64[N] i) => (y)",
        integers=(-3, 2),
    ),
    _view(
        "space and depth",
        "a = DepthToSpace <blocksize = 2> (x) b = SpaceToDepth <blocksize = 2> (a) y = Neg (b)",
        header="(float[N,4,2,2] x) => (y)",
    ),
    _view(
        "space and depth of another mode",
        'a = DepthToSpace <blocksize = 2, mode = "CRD"> (x) b = SpaceToDepth <blocksize = 2> (a) y = Neg (b)',
        header="(float[N,8,2,2] x) => (y)",
    ),
    _view("Where of a condition that broadcasts up", "y = Where (c, x, x)", "bool[2,1,1,1] c = {1, 0}"),
    _view("Where of a constant condition", "w = Where (c, x, n) y = Neg (w)", "bool[4,1,1,1] c = {1, 1, 1, 1}, float n = {0}"),
    _view(
        "Where of a constant condition of another branch",
        "w = Where (c, n, x) y = Neg (w)",
        "bool[1] c = {0}, float[4,1,1,1] n = {1,2,3,4}",
    ),
    _view("zeros added that broadcast up", "a = Add (x, k) y = Neg (a)", "float[2,1,1,1] k = {0, 0}"),
    _view("ones multiplied that broadcast up", "a = Mul (x, k) y = Neg (a)", "float[1,1,1,1] k = {1}"),
    _view(
        "ones multiplied that broadcast the free axis",
        "a = Mul (x, k) y = Neg (a)",
        "float[3,1,1] k = {1, 1, 1}",
        sizes=(1, 3),
        special=False,
    ),
)

CASES = (*SLICES, *VIEWS)
