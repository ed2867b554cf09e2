"""Metrics by name: how good outputs are by labels, and without labels how near they are to the source model's.

A package offers its own by the entry point group `optc.metrics`: name -> 'module:attribute', a `Metric`.
"""

BY_LABELS = {
    "top1": "optc.compiler.measure.metrics.classes:TOP1",
    "top5": "optc.compiler.measure.metrics.classes:TOP5",
    "accuracy": "optc.compiler.measure.metrics.classes:ACCURACY",
    "f1": "optc.compiler.measure.metrics.classes:F1",
    "auc": "optc.compiler.measure.metrics.classes:AUC",
    "iou": "optc.compiler.measure.metrics.maps:IOU",
    "wer": "optc.compiler.measure.metrics.tokens:WER",
    "cer": "optc.compiler.measure.metrics.tokens:CER",
    "perplexity": "optc.compiler.measure.metrics.tokens:PERPLEXITY",
    "pearson": "optc.compiler.measure.metrics.numbers:PEARSON",
    "spearman": "optc.compiler.measure.metrics.numbers:SPEARMAN",
    "psnr": "optc.compiler.measure.metrics.numbers:PSNR",
    "ssim": "optc.compiler.measure.metrics.images:SSIM",
}
BY_SOURCE = {
    "agreement": "optc.compiler.measure.metrics.fidelity:AGREEMENT",
    "relative-l2": "optc.compiler.measure.metrics.fidelity:RELATIVE_L2",
    "cosine": "optc.compiler.measure.metrics.fidelity:COSINE",
    "kl": "optc.compiler.measure.metrics.fidelity:KL",
    "worst-l2": "optc.compiler.measure.metrics.fidelity:WORST_L2",
}
METRICS = {**BY_LABELS, **BY_SOURCE}
