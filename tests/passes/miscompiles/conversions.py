"""Casts that lose precision, pads that crop, resizes by one."""

from __future__ import annotations

from .case import Case

FLOAT, UINT8, INT8, INT32, INT64, BOOL, HALF, DOUBLE = 1, 2, 3, 6, 7, 9, 10, 11
NAMES = {
    FLOAT: "float",
    UINT8: "uint8",
    INT8: "int8",
    INT32: "int32",
    INT64: "int64",
    BOOL: "bool",
    HALF: "float16",
    DOUBLE: "double",
}


def _casts(start: int, *rest: int, within: float = 100.0, integers: tuple[int, int] = (-100, 100), special: bool = False) -> Case:
    names = "abcdefg"
    body = " ".join(f"{b} = Cast <to = {to}> ({a})" for a, b, to in zip(names, names[1:], rest, strict=False))
    last = names[len(rest)]
    name = " -> ".join(NAMES[t] for t in (start, *rest))
    return Case(
        f"cast: {name}{' of large numbers' if max(integers) > 100 else ''}",
        f"({NAMES[start]}[N,4] a) => ({NAMES[rest[-1]]}[N,4] y)",
        f"{body} y = Identity ({last})",
        within=within,
        integers=integers,
        special=special,
    )


HUGE = ((1 << 62) + 1, (1 << 62) + 99)

CASTS = (
    _casts(FLOAT, INT32, FLOAT),
    _casts(FLOAT, INT64, FLOAT),
    _casts(FLOAT, INT64, INT32, FLOAT),
    _casts(FLOAT, BOOL, FLOAT, special=True),
    _casts(FLOAT, HALF, FLOAT, special=True),
    _casts(FLOAT, HALF, FLOAT, HALF, FLOAT, within=1e6),
    _casts(FLOAT, DOUBLE, FLOAT, special=True),
    _casts(FLOAT, FLOAT, FLOAT, special=True),
    _casts(FLOAT, INT8, INT32),
    _casts(DOUBLE, FLOAT, DOUBLE),
    _casts(DOUBLE, FLOAT, HALF, within=1e4),
    _casts(DOUBLE, INT64, DOUBLE),
    _casts(HALF, FLOAT, HALF, special=True),
    _casts(HALF, FLOAT, DOUBLE, HALF, special=True),
    _casts(HALF, INT32, HALF),
    _casts(INT64, FLOAT, INT64, integers=((1 << 24) + 1, (1 << 24) + 99)),
    _casts(INT64, DOUBLE, INT64, integers=((1 << 53) + 1, (1 << 53) + 99)),
    _casts(INT64, INT32, INT64, integers=HUGE),
    _casts(INT64, INT32, FLOAT, integers=HUGE),
    _casts(INT64, BOOL, INT64, integers=(0, 3)),
    _casts(INT64, UINT8, INT64, integers=(-300, 300)),
    _casts(INT32, INT64, INT32, integers=(-(1 << 31), (1 << 31) - 1)),
    _casts(INT32, INT64, FLOAT, integers=(-(1 << 31), (1 << 31) - 1)),
    _casts(INT32, FLOAT, INT32, integers=((1 << 24) + 1, (1 << 24) + 99)),
    _casts(INT32, DOUBLE, INT32, integers=(-(1 << 31), (1 << 31) - 1)),
    _casts(INT32, INT8, INT32, integers=(-200, 200)),
    _casts(INT32, BOOL, INT32, integers=(0, 3)),
    _casts(INT8, UINT8, INT32),
    _casts(UINT8, INT8, INT32, integers=(0, 255)),
    _casts(UINT8, INT32, FLOAT, UINT8, integers=(0, 255)),
    _casts(BOOL, FLOAT, BOOL),
    _casts(BOOL, INT64, FLOAT),
    Case(
        "cast: the comparison of a rounded number",
        "(double[N,4] a) => (bool[N,4] y)",
        "b = Cast <to = 1> (a) c = Cast <to = 11> (b) y = Equal (a, c)",
    ),
    Case(
        "cast: like another",
        "(float[N,4] a, double[N,4] b) => (double[N,4] y)",
        "c = CastLike (a, b) d = CastLike (c, a) e = Cast <to = 6> (d) y = CastLike (e, b)",
        special=False,
    ),
)

IMAGE = "(float[N,2,3,4] x) => (y)"


def _image(name: str, body: str, weights: str = "", opset: int = 17) -> Case:
    return Case(name, IMAGE, body, weights, opset)


PADS = (
    *(
        _image(f"pad: {pads} with {mode}", f'p = Pad <mode = "{mode}"> (x, pads) y = Neg (p)', f"int64[8] pads = {{{pads}}}")
        for pads, mode in (
            ("0,0,-1,0,0,0,0,-1", "constant"),
            ("0,0,-1,2,0,0,1,-1", "constant"),
            ("0,0,0,0,0,0,0,0", "constant"),
            ("0,0,0,0,0,0,0,0", "reflect"),
            ("0,0,1,1,0,0,1,1", "reflect"),
            ("0,0,1,2,0,0,2,1", "edge"),
            ("0,-1,0,0,0,0,0,0", "constant"),
        )
    ),
    _image(
        "pad: a crop and the pad that undoes it",
        "p = Pad (x, a) q = Pad (p, b) y = Neg (q)",
        "int64[8] a = {0,0,-1,0,0,0,-1,0}, int64[8] b = {0,0,1,0,0,0,1,0}",
    ),
    _image(
        "pad: two pads of other values",
        "p = Pad (x, a, one) q = Pad (p, a) y = Neg (q)",
        "int64[8] a = {0,0,1,0,0,0,1,0}, float one = {1}",
    ),
    _image(
        "pad: a reflection of a pad",
        'p = Pad (x, a) q = Pad <mode = "reflect"> (p, a) y = Neg (q)',
        "int64[8] a = {0,0,1,0,0,0,1,0}",
    ),
)

_SAME = "float[0] roi = {}, float[4] one = {1, 1, 1, 1}, float[4] scales = {1, 1, 2, 1.5}, int64[4] sizes = {2, 2, 3, 4}"

RESIZES = (
    *(
        Case(
            f"resize: {mode}, {transform}, {nearest}, by {scales}",
            "(float[2,2,3,4] x) => (y)",
            f'r = Resize <mode = "{mode}", coordinate_transformation_mode = "{transform}", nearest_mode = "{nearest}"> '
            f"(x, roi, {scales}) y = Neg (r)",
            _SAME,
        )
        for mode, nearest in (
            ("nearest", "floor"),
            ("nearest", "ceil"),
            ("nearest", "round_prefer_ceil"),
            ("linear", "floor"),
            ("cubic", "floor"),
        )
        for transform in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel")
        for scales in ("one", "scales", ", sizes")
    ),
    Case(
        "resize: a crop at scale 1",
        "(float[2,2,3,4] x) => (y)",
        'r = Resize <mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize"> (x, roi, one) y = Neg (r)',
        "float[8] roi = {0, 0, 0.5, 0.25, 1, 1, 1, 0.75}, float[4] one = {1, 1, 1, 1}",
        special=False,
        evaluator=True,
    ),
    Case(
        "resize: one, then two",
        "(float[2,2,3,4] x) => (y)",
        'a = Resize <mode = "nearest"> (x, roi, scales) b = Resize <mode = "linear"> (a, roi, one) '
        'y = Resize <mode = "nearest"> (b, roi, scales)',
        _SAME,
    ),
)

CASES = (*CASTS, *PADS, *RESIZES)
