"""Swin-Unet: a U-Net without convolutions, from shifted-window attention. Taught in notebook 07.

    image (B, C, H, W)
      │  patch embedding 4x4     C    @ H/4   ─── skip ───┐  expand x4 ── 1x1 ── logits
      │  2 Swin blocks, merge    2C   @ H/8   ── skip ──┐ │
      │  2 Swin blocks, merge    4C   @ H/16  ─ skip ─┐ │ │
      └─ 2 Swin blocks, merge    8C   @ H/32 ── 2 Swin blocks, then three times:
                                                expand x2, concatenate, linear, 2 Swin blocks

Attention between all pixels of a CT slice is out of reach: its cost grows with the square of their
number. A Swin block lets only the M x M tokens of one window see each other, and every second block
shifts the windows by half, so that what a window saw travels on to its neighbours.

Sources: Cao et al. 2021, https://arxiv.org/abs/2105.05537 and github.com/HuCaoFighting/Swin-Unet;
Liu et al. 2021, https://arxiv.org/abs/2103.14030. Two things that are easily missed: skips are what
a stage *receives*, and the decoder has the depths of the encoder.
"""

import math
from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from seg_lib.errors import InputError
from seg_lib.models.attention import WindowAttention, shift_mask, window_partition, window_reverse
from seg_lib.models.hub import SWIN_T, from_hub
from seg_lib.models.swin_t_weights import load_swin_t


class DropPath(nn.Module):
    """In training, leave a branch out for some images: they take the residual road alone."""

    def __init__(self, probability: float):
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...), some of the B set to 0 and the others enlarged to keep the mean."""
        if not self.training or not self.probability:
            return x
        keep = 1 - self.probability
        return x * (torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) < keep) / keep


class SwinBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); with ``shift`` the windows are moved first."""

    def __init__(self, dim: int, heads: int, window: int, shift: int, drop_path: float):
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, window, heads)
        hidden = [nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)]
        self.mlp = nn.Sequential(*hidden)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = x + self.drop_path(self._attended(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attended(self, x: Tensor) -> Tensor:
        _, height, width, _ = x.shape
        mask = None
        if self.shift:
            x = x.roll((-self.shift, -self.shift), dims=(1, 2))
            mask = shift_mask(height, width, self.window, self.shift)
        windows = self.attn(window_partition(x, self.window), mask)
        x = window_reverse(windows, self.window, height, width)
        return x.roll((self.shift, self.shift), dims=(1, 2)) if self.shift else x


class PatchMerging(nn.Module):
    """Half the height and width, twice the features: the 2 x 2 neighbours side by side, mixed."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H/2, W/2, 2C)."""
        x = rearrange(x, "b (h i) (w j) c -> b h w (j i c)", i=2, j=2)
        return self.reduction(self.norm(x))


class PatchExpanding(nn.Module):
    """The way back: a linear layer makes more features, which are laid out as pixels."""

    def __init__(self, dim: int, factor: int, dim_out: int):
        super().__init__()
        self.factor = factor
        self.expand = nn.Linear(dim, factor**2 * dim_out, bias=False)
        self.norm = nn.LayerNorm(dim_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, dim) -> (B, factor * H, factor * W, dim_out)."""
        sizes = {"i": self.factor, "j": self.factor}
        return self.norm(rearrange(self.expand(x), "b h w (i j c) -> b (h i) (w j) c", **sizes))


class SwinUnet(nn.Module):
    """The network; ``build_swin_unet`` checks its numbers first.

    Args:
        in_channels: channels of the image; the original repeats a grey image three times.
        classes: channels of the logits.
        image_size: pixels a side that decide window and shift of each stage.
        width: features after the patch embedding; they double at each stage.
        depths: Swin blocks of each encoder stage; the decoder mirrors them.
        heads: of each stage.
        window: tokens along a side; a stage with a smaller map takes the whole map.
        drop_path: of the last block of the encoder; earlier ones less, in equal steps.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        classes: int = 1,
        image_size: int = 256,
        width: int = 96,
        depths: tuple[int, ...] = (2, 2, 2, 2),
        heads: tuple[int, ...] = (3, 6, 12, 24),
        window: int = 8,
        drop_path: float = 0.2,
    ):
        super().__init__()
        dims = [width * 2**level for level in range(len(depths))]
        maps = [image_size // 4 // 2**level for level in range(len(depths))]
        self.windows = [min(window, size) for size in maps]
        steps = max(1, sum(depths) - 1)  # drop path grows evenly from block to block

        def stage(level: int) -> nn.Sequential:
            own, before = self.windows[level], sum(depths[:level])
            half = own // 2 if maps[level] > own else 0  # one window alone has nobody to meet
            return nn.Sequential(
                *(
                    SwinBlock(dims[level], heads[level], own, half * (block % 2), rate)
                    for block in range(depths[level])
                    for rate in [drop_path * (before + block) / steps]
                )
            )

        self.patch_embed = nn.Conv2d(in_channels, width, kernel_size=4, stride=4)
        self.patch_norm = nn.LayerNorm(width)
        self.stages = nn.ModuleList(map(stage, range(len(dims))))
        self.merges = nn.ModuleList(map(PatchMerging, dims[:-1]))
        self.norm = nn.LayerNorm(dims[-1])
        self.expands = nn.ModuleList(PatchExpanding(2 * dim, 2, dim) for dim in dims[:-1])
        self.concats = nn.ModuleList(nn.Linear(2 * dim, dim) for dim in dims[:-1])
        self.up_stages = nn.ModuleList(map(stage, range(len(dims) - 1)))
        self.up_norm = nn.LayerNorm(width)
        self.final = PatchExpanding(width, 4, width)
        self.head = nn.Conv2d(width, classes, kernel_size=1, bias=False)
        self.apply(start_weights)

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> logits (B, classes, H, W)."""
        self.check_size(*image.shape[2:])
        x = self.patch_norm(rearrange(self.patch_embed(image), "b c h w -> b h w c"))
        skips = []
        for stage, merge in zip(self.stages, self.merges, strict=False):
            skips.append(x)
            x = merge(stage(x))
        x = self.norm(self.stages[-1](x))
        for level in reversed(range(len(skips))):
            x = torch.cat([self.expands[level](x), skips[level]], dim=-1)
            x = self.up_stages[level](self.concats[level](x))
        x = self.final(self.up_norm(x))
        return self.head(rearrange(x, "b h w c -> b c h w"))

    def check_size(self, height: int, width: int) -> None:
        """Raise InputError unless every window divides the map of its stage."""
        step = math.lcm(*(4 * 2**level * window for level, window in enumerate(self.windows)))
        bad = [n for n in (height, width) if n % step]
        if bad:
            lower = max(step, bad[0] // step * step)
            raise InputError(
                f"An image of {height} x {width} pixels: the windows {self.windows} of this "
                f"Swin-Unet need sides that divide by {step}, such as {lower} or {lower + step}; "
                "pad or resize the image."
            )


def start_weights(module: nn.Module) -> None:
    """Linear layers start small and normal, as in the original."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def fits(image_size: int, window: int, levels: int = 4) -> bool:
    """Whether the window divides the map of every stage that is larger than itself."""
    maps = [image_size / 4 / 2**level for level in range(levels)]
    return all(n >= 1 and n % min(window, n) == 0 and n == int(n) for n in maps)


def build_swin_unet(*, weights: str | None = None, **sizes: Any) -> SwinUnet:
    """Build a Swin-Unet; 27,175,524 parameters for 256 pixels, window 8, 3 channels and one class.

    Args:
        weights: None starts from random numbers; "imagenet" takes those of Swin-T from the hub
            into encoder and decoder, or logs why it cannot.
        sizes: of ``SwinUnet``.

    Raises:
        InputError: the window does not divide the maps, the heads the features; unknown weights.

    Taught in notebook 07.
    """
    size, window = sizes.get("image_size", 256), sizes.get("window", 8)
    depths, heads = sizes.get("depths", (2, 2, 2, 2)), sizes.get("heads", (3, 6, 12, 24))
    width = sizes.get("width", 96)
    if not fits(size, window, len(depths)):
        windows = [str(w) for w in range(2, 17) if fits(size, w, len(depths))]
        step = 4 * 2 ** (len(depths) - 1) * window
        raise InputError(
            f"Swin-Unet: a window of {window} does not divide the maps of {size} pixels "
            f"({size / 4:g} tokens a side and halves of it). Windows that fit {size}: "
            f"{', '.join(windows) or 'none'}; sizes that fit {window}: {step}, {2 * step}."
        )
    if len(heads) != len(depths) or any(width * 2**i % h for i, h in enumerate(heads)):
        raise InputError(
            f"Swin-Unet: heads {heads} must be one for each of the {len(depths)} stages and divide "
            f"their features {[width * 2**i for i in range(len(depths))]}."
        )
    if weights not in (None, "imagenet"):
        raise InputError(f"Swin-Unet: no weights {weights!r}; None or 'imagenet'.")
    model = SwinUnet(**sizes)
    if weights:
        import timm  # 1 s

        build = partial(timm.create_model, f"hf-hub:{SWIN_T}", pretrained=True)
        if source := from_hub(build, "Swin-T weights", SWIN_T):
            load_swin_t(model, source.state_dict())
    return model
