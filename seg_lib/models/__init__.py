"""Floor of the networks: tensors become logits. They know no file, no loss and no loop."""

from collections.abc import Callable
from typing import Any

from seg_lib.errors import InputError
from seg_lib.models.monai3d import build_monai_unet, build_segresnet, build_swin_unetr
from seg_lib.models.resnet50_unet import build_resnet18_unet, build_resnet50_unet
from seg_lib.models.swin_unet import build_swin_unet
from seg_lib.models.text_unet3d import build_text_unet3d
from seg_lib.models.unet3d import build_unet3d
from seg_lib.models.unetr import build_unetr
from seg_lib.models.upscaled import Upscaled

MODELS: dict[str, Callable[..., Any]] = {
    "resnet50_unet": build_resnet50_unet,
    "resnet18_unet": build_resnet18_unet,
    "swin_unet": build_swin_unet,
    "unetr": build_unetr,
    "unet3d": build_unet3d,
    "monai_unet": build_monai_unet,
    "swin_unetr": build_swin_unetr,
    "segresnet": build_segresnet,
    "text_unet3d": build_text_unet3d,
}


def build_model(name: str, upscale: int = 1, **sizes: Any) -> Any:
    """Build the network ``name`` of ``MODELS``.

    Args:
        name: of the network.
        upscale: enlarge the image by this factor on the way in; see ``Upscaled``.
        sizes: go to the builder; with ``upscale`` they are those of the enlarged image.

    Raises:
        InputError: no network has that name, or the sizes do not fit together.
    """
    if name not in MODELS:
        raise InputError(f"There is no network {name!r}; choose one of: {', '.join(MODELS)}.")
    network = MODELS[name](**sizes)
    return network if upscale == 1 else Upscaled(network, upscale)
