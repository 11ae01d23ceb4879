"""The sizes of the networks: as in the papers, and small ones that a CPU can train."""

from typing import Any

import torch

from seg_lib.errors import InputError
from seg_lib.memory import has_bf16
from seg_lib.models.swin_unet import fits

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "resnet50_unet": {"paper": {}, "small": {}},
    "resnet18_unet": {"paper": {}, "small": {}},
    "swin_unet": {"paper": {}, "small": {"width": 48, "heads": (2, 4, 8, 16), "drop_path": 0.0}},
    "unetr": {"paper": {}, "small": {"hidden": 192, "heads": 3}},
    "unet3d": {
        "paper": {"deep_supervision": True},
        "small": {"features": (8, 16, 32, 64), "blocks": (1, 1, 1, 1)},
    },
    "monai_unet": {"paper": {}, "small": {"features": (8, 16, 32, 64), "dropout": 0.0}},
    "swin_unetr": {"paper": {"dropout": 0.2}, "small": {"features": 12}},
    "segresnet": {"paper": {"features": 32}, "small": {"features": 8}},
    "text_unet3d": {
        "paper": {},
        "small": {"features": (16, 32, 64, 96), "heads": 1, "norm": "batch", "output": "full"}
        | {"positions": True, "registers": 2, "classes": 1},
    },
    "multitask_unet3d": {
        "paper": {},  # ResEnc M, as nnU-Net planned it for source 004
        "small": {"features": (8, 16, 32, 64), "blocks": (1, 1, 2, 2)}
        | {"strides": ((1, 1, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2))}
        | {"kernels": ((3, 3, 1), (3, 3, 3), (3, 3, 3), (3, 3, 3))},
    },
}


CHANNELS_LAST_3D = ("unet3d", "text_unet3d", "multitask_unet3d", "segresnet")


def sizes_for(network: str, image_size: int, preset: str = "paper") -> dict[str, Any]:
    """What ``build_model(network, **sizes)`` needs for images of ``image_size`` a side.

    3D networks take any patch whose sides divide, and do not ask for the size.

    Raises:
        InputError: no such preset, or the size does not fit the network.
    """
    if network not in PRESETS or preset not in PRESETS[network]:
        known = ", ".join(PRESETS)
        raise InputError(f"No preset {preset!r} of {network!r}; 'paper' and 'small' of {known}.")
    sizes = dict(PRESETS[network][preset])
    if network in ("swin_unet", "unetr"):
        sizes["image_size"] = image_size
        windows = [window for window in range(8, 1, -1) if fits(image_size, window)]
        # UNETR could do with multiples of 16, were slices not padded to 32 to be predicted.
        if image_size < 32 or image_size % 32 or (network == "swin_unet" and not windows):
            raise InputError(
                f"{network}: {image_size} pixels a side do not fit; take a multiple of 32 such as "
                "64, 96, 128, 224 or 256."
            )
        if network == "swin_unet":
            sizes["window"] = windows[0]
    return sizes


def fast_layout(network: str) -> torch.memory_format:
    """Order of the weights in memory that trains fastest: measured in benchmarks/layout_speed.py.

    Channels last for the 2D convolutional networks; it slows transformers. In 3D for those of
    ``CHANNELS_LAST_3D`` too, on a CPU without bfloat16: elsewhere the usual order stays.
    """
    if network.startswith("resnet"):
        return torch.channels_last
    float32_on_cpu = not torch.cuda.is_available() and not has_bf16("cpu")
    if network in CHANNELS_LAST_3D and float32_on_cpu:
        return torch.channels_last_3d
    return torch.contiguous_format
