"""Kernels: for each operator worth it, constant weights packed for the machine and a tensor expression that reads them."""

from optc.targets.tvm.compute.conv2d import conv2d
from optc.targets.tvm.compute.gemm import gemm
from optc.targets.tvm.compute.kernel import Kernel
from optc.targets.tvm.compute.pool import average_pool, global_average_pool, max_pool
from optc.targets.tvm.compute.product import product
from optc.targets.tvm.compute.softmax import softmax
from optc.targets.tvm.compute.tile import CANDIDATES

__all__ = ["CANDIDATES", "Kernel", "average_pool", "conv2d", "gemm", "global_average_pool", "max_pool", "product", "softmax"]
