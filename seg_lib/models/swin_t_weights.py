"""ImageNet weights of Swin-T for the encoder and, mirrored, the decoder of a Swin-Unet.

The authors of Swin-Unet call this very important. Taught in notebook 07.
"""

import re
from collections.abc import Mapping

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from seg_lib.errors import InputError

# Names of the Swin-Unet and where their tensors stand in timm's Swin-T; \\1 is the stage.
NAMES = (
    (r"patch_embed\.(.*)", r"patch_embed.proj.\1"),
    (r"patch_norm\.(.*)", r"patch_embed.norm.\1"),
    (r"(?:up_)?stages\.(\d)\.(\d)\.mlp\.0\.(.*)", r"layers.\1.blocks.\2.mlp.fc1.\3"),
    (r"(?:up_)?stages\.(\d)\.(\d)\.mlp\.2\.(.*)", r"layers.\1.blocks.\2.mlp.fc2.\3"),
    (r"(?:up_)?stages\.(\d)\.(\d)\.(.*)", r"layers.\1.blocks.\2.\3"),
    (r"norm\.(.*)", r"norm.\1"),
)


def swin_t_name(name: str) -> str | None:
    """Name in timm of a tensor of the Swin-Unet; None if Swin-T has no such thing."""
    merge = re.fullmatch(r"merges\.(\d)\.(.*)", name)
    if merge:  # timm merges at the start of the next stage
        return f"layers.{int(merge[1]) + 1}.downsample.{merge[2]}"
    for pattern, place in NAMES:
        if match := re.fullmatch(pattern, name):
            return match.expand(place)
    return None


def resized_table(table: Tensor, rows: int) -> Tensor:
    """Relative position biases (offsets, heads) of another window, interpolated (bicubic)."""
    old, new = round(table.shape[0] ** 0.5), round(rows**0.5)
    picture = rearrange(table, "(i j) h -> 1 h i j", i=old)
    larger = F.interpolate(picture, size=(new, new), mode="bicubic", align_corners=False)
    return rearrange(larger, "1 h i j -> (i j) h")


def load_swin_t(model: nn.Module, state: Mapping[str, Tensor]) -> int:
    """Copy the weights of timm's Swin-T into the encoder, and mirrored into the decoder.

    The RGB patch embedding is summed for a grey image. Biases of another window are interpolated.

    Args:
        model: of width 96 and depths (2, 2, 2, 2).
        state: of ``timm.create_model("swin_tiny_patch4_window7_224")``; its third stage has six
            blocks, of which the first two are taken, as in the original.

    Returns:
        How many tensors of the network were set.

    Raises:
        InputError: a tensor is missing or has another shape.
    """
    own, found = model.state_dict(), {}
    for name in own:
        source = swin_t_name(name)
        if source is None:
            continue
        if source not in state:
            raise InputError(f"These are not the weights of Swin-T: {source} is missing.")
        tensor = state[source]
        if name == "patch_embed.weight" and own[name].shape[1] == 1:
            tensor = tensor.sum(1, keepdim=True)
        if name.endswith("bias_table") and tensor.shape != own[name].shape:
            tensor = resized_table(tensor, own[name].shape[0])
        if tensor.shape != own[name].shape:
            raise InputError(
                f"{source} is {tuple(tensor.shape)}, this Swin-Unet needs "
                f"{tuple(own[name].shape)}; only width 96 takes the weights of Swin-T."
            )
        found[name] = tensor
    model.load_state_dict(own | found)
    return len(found)
