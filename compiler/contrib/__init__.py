"""Operators of onnxruntime (`com.microsoft`) as standard operators: (domain, operator) -> what builds the replacement.

Semantics: onnxruntime's docs/ContribOperators.md and its CPU kernels. A builder returns a value for each output of the node
(None for one that it does not make), or a Refuse with the reason. The replacements need opset 13.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from optc.compiler import ir
from optc.compiler.contrib import attention, fused, grouped, normalization, rotary, standard
from optc.compiler.rewrite import Builder

DOMAIN = "com.microsoft"
OPSET = 13

Build = Callable[[Builder, ir.Node], Any]

TABLE: dict[tuple[str, str], Build] = {
    ("", "SimplifiedLayerNormalization"): normalization.simplified,
    (DOMAIN, "Attention"): attention.attention,
    (DOMAIN, "BiasGelu"): fused.bias_gelu,
    (DOMAIN, "EmbedLayerNormalization"): normalization.embed,
    (DOMAIN, "FastGelu"): fused.fast_gelu,
    (DOMAIN, "FusedConv"): fused.conv,
    (DOMAIN, "FusedGemm"): fused.gemm,
    (DOMAIN, "FusedMatMul"): fused.matmul,
    (DOMAIN, "Gelu"): fused.bias_gelu,
    (DOMAIN, "GroupQueryAttention"): grouped.group_query_attention,
    (DOMAIN, "MultiHeadAttention"): attention.multi_head,
    (DOMAIN, "QuickGelu"): fused.quick_gelu,
    (DOMAIN, "RotaryEmbedding"): rotary.rotary_embedding,
    (DOMAIN, "SkipLayerNormalization"): normalization.skip,
    (DOMAIN, "SkipSimplifiedLayerNormalization"): normalization.skip_simplified,
}


STANDARD: dict[str, Build] = {
    "Attention": standard.attention,
    "RMSNormalization": standard.rms_normalization,
    "RotaryEmbedding": standard.rotary_embedding,
    "Softplus": standard.softplus,
}
"""Standard operators with a leaner or more precise form than ONNX's definition, which stands where a builder returns None."""


def names() -> frozenset[str]:
    """The operators as options spell them: those of other domains with their domain."""
    return frozenset(spelled(*key) for key in TABLE)


def spelled(domain: str, op_type: str) -> str:
    return f"{domain}.{op_type}" if domain else op_type
