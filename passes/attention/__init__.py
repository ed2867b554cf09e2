"""Attention as exporters write it, recognised: what the fusions into standard operators and into onnxruntime's share."""
