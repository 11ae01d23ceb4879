"""Floor of the networks: tensors become logits. They know no file, no loss and no loop."""

from collections.abc import Callable
from typing import Any

from seg_lib.errors import InputError
from seg_lib.models.resnet50_unet import build_resnet18_unet, build_resnet50_unet

MODELS: dict[str, Callable[..., Any]] = {
    "resnet50_unet": build_resnet50_unet,
    "resnet18_unet": build_resnet18_unet,
}


def build_model(name: str, **sizes: Any) -> Any:
    """Build the network ``name`` of ``MODELS``; ``sizes`` go to its builder.

    Raises:
        InputError: no network has that name.
    """
    if name not in MODELS:
        raise InputError(f"There is no network {name!r}; choose one of: {', '.join(MODELS)}.")
    return MODELS[name](**sizes)
