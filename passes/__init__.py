"""Passes, one a file, grouped by what they do. This table is all there is to register: name -> where it is."""

PASSES = {
    "infer-shapes": "optc.passes.cleanup.infer_shapes:InferShapes",
    "canonicalize": "optc.passes.cleanup.canonicalize:Canonicalize",
    "fold-constants": "optc.passes.cleanup.fold_constants:FoldConstants",
    "inline-if": "optc.passes.cleanup.inline_if:InlineIf",
    "sink-into-if": "optc.passes.cleanup.sink_into_if:SinkIntoIf",
    "eliminate-dead": "optc.passes.cleanup.eliminate_dead:EliminateDead",
    "share-subexpressions": "optc.passes.cleanup.share_subexpressions:ShareSubexpressions",
    "fuse-pad-conv": "optc.passes.fusion.pad_conv:FusePadConv",
    "fuse-conv-bn": "optc.passes.fusion.conv_bn:FuseConvBatchNorm",
    "fuse-conv-add": "optc.passes.fusion.conv_add:FuseConvAdd",
    "fuse-matmul-add": "optc.passes.fusion.matmul_add:FuseMatMulAdd",
    "fuse-hard-swish": "optc.passes.fusion.hard_swish:FuseHardSwish",
    "fuse-gelu": "optc.passes.fusion.gelu:FuseGelu",
    "fuse-attention": "optc.passes.fusion.attention:FuseAttention",
    "inline-functions": "optc.passes.lowering.inline_functions:InlineFunctions",
    "quantize-weights": "optc.passes.precision.quantize_weights:QuantizeWeights",
    "prune-weights": "optc.passes.pruning.prune_weights:PruneWeights",
    "share-weights": "optc.passes.sharing.share_weights:ShareWeights",
    "count-results": "optc.passes.layout.count_results:CountResults",
    "channels-last": "optc.passes.layout.channels_last:ChannelsLast",
}
