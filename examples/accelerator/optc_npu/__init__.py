"""The `npu` target: an accelerator of 8-bit convolutions and matrix products in tiles of 16, executed by a simulator."""

from optc_npu.target import Npu

__all__ = ["Npu"]
