"""Standard operators in the vocabulary of another runtime. `ort-*`: onnxruntime's domain com.microsoft, on its CPU provider."""
