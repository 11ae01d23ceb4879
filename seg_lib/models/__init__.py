"""Floor of the networks: tensors become logits. They know no file, no loss and no loop."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from seg_lib.errors import InputError
from seg_lib.models.monai3d import build_monai_unet, build_segresnet, build_swin_unetr
from seg_lib.models.multitask_unet3d import MultitaskUNet3d
from seg_lib.models.resnet50_unet import build_resnet50_unet
from seg_lib.models.swin_unet import build_swin_unet
from seg_lib.models.text_unet3d import build_text_unet3d
from seg_lib.models.unet3d import UNet3d
from seg_lib.models.unetr import build_unetr
from seg_lib.models.upscaled import Upscaled

MODELS: dict[str, Callable[..., Any]] = {
    "resnet50_unet": build_resnet50_unet,
    "resnet18_unet": partial(build_resnet50_unet, encoder="resnet18"),  # 14.3 M, for CPU lessons
    "swin_unet": build_swin_unet,
    "unetr": build_unetr,
    "unet3d": UNet3d,
    "monai_unet": build_monai_unet,
    "swin_unetr": build_swin_unetr,
    "segresnet": build_segresnet,
    "text_unet3d": build_text_unet3d,
    "multitask_unet3d": MultitaskUNet3d,
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
    network = network if upscale == 1 else Upscaled(network, upscale)
    network.register_forward_pre_hook(check_image)  # a wrapper would rename all weights
    return network


def check_image(network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Before ``forward``: raise InputError unless the first convolution can take the image."""
    image, *_ = inputs
    first = next(m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d))
    channels, sides = first.in_channels, ", H, W" if first.weight.ndim == 4 else ", X, Y, Z"
    fits = image.ndim == first.weight.ndim and image.shape[1] == channels
    if not (fits and image.is_floating_point() and min(image.shape[2:])):
        raise InputError(
            f"An image of shape {tuple(image.shape)} and {image.dtype}: this network takes floats "
            f"(B, {channels}{sides}); change the image or build it with in_channels of the image."
        )
