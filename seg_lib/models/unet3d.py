"""A 3D U-Net with a residual encoder, written out. Taught in notebook 10.

    image (B, C, X, Y, Z)
      stage 0 @ full          ──skip──────────────────────────────┐
      stage 1 @ 1/2           ──skip───────────────────────┐      │
      stage 2 @ 1/4           ──skip────────────────┐      │      │
      stage 3 @ 1/8 (deepest) ── up ── concatenate ─┴─ up ─┴─ up ─┴── logits

Each stage of the encoder is a chain of residual blocks, of which the first shrinks the map; each
step of the decoder enlarges it, sets the skip beside it and has two convolutions. In training with
deep supervision every step of the decoder gives logits, so that the deep layers are told early what
is wanted of them.

``encode`` and ``decode`` can be called one by one: text meets the maps between them in notebook 15.

Sources: Çiçek et al. 2016, https://arxiv.org/abs/1606.06650 (3D U-Net); Isensee et al. 2024,
https://arxiv.org/abs/2404.09556 (residual encoder, deep supervision).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seg_lib.errors import InputError

Triple = tuple[int, int, int]


def conv_block(
    n_in: int,
    n_out: int,
    kernel: Triple,
    stride: int | Triple = 1,
    affine: bool = True,
    bias: bool = False,
) -> nn.Sequential:
    """Convolution, instance normalisation, leaky ReLU; (B, n_in, …) -> (B, n_out, …)."""
    half = tuple(k // 2 for k in kernel)
    return nn.Sequential(
        nn.Conv3d(n_in, n_out, kernel, stride, half, bias=bias),
        nn.InstanceNorm3d(n_out, affine=affine),
        nn.LeakyReLU(0.01, inplace=True),
    )


class ResidualBlock(nn.Module):
    """Two convolutions beside a short cut, as in ResNet."""

    def __init__(self, n_in: int, n_out: int, kernel: Triple, stride: Triple, bias: bool = False):
        super().__init__()
        self.first = conv_block(n_in, n_out, kernel, stride, bias=bias)
        self.second = conv_block(n_out, n_out, kernel, bias=bias)[:2]  # the ReLU is after the sum
        short: list[nn.Module] = []
        if stride != (1, 1, 1):
            short.append(nn.AvgPool3d(stride, stride))
        if n_in != n_out:
            short += [nn.Conv3d(n_in, n_out, 1, bias=False), nn.InstanceNorm3d(n_out, affine=True)]
        self.short = nn.Sequential(*short)
        self.relu = nn.LeakyReLU(0.01, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, X, Y, Z) -> (B, n_out, X / stride, …)."""
        return self.relu(self.second(self.first(x)) + self.short(x))


def check_sides(name: str, sides: Sequence[int], divisor: Triple) -> None:
    """Refuse a patch with a side that does not divide, and name one near it that does."""
    if any(n % d or n == 0 for n, d in zip(sides, divisor, strict=True)):
        near = tuple(max(1, -(-n // d)) * d for n, d in zip(sides, divisor, strict=True))
        raise InputError(
            f"{name}: {tuple(sides)} voxels; each side must divide by {divisor}, such as {near}: "
            "choose such a patch."
        )


class UpStep(nn.Module):
    """Enlarge a map, put the skip beside it, ``n`` convolutions."""

    def __init__(self, n_in: int, n_skip: int, kernel: Triple, stride: Triple, n: int, bias: bool):
        super().__init__()
        self.up = nn.ConvTranspose3d(n_in, n_skip, stride, stride)
        widths = [2 * n_skip, *[n_skip] * (n - 1)]
        self.mix = nn.Sequential(*(conv_block(w, n_skip, kernel, bias=bias) for w in widths))

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """(B, n_in, X / stride, …) and (B, n_skip, X, …) -> (B, n_skip, X, …)."""
        return self.mix(torch.cat([self.up(deep), skip], dim=1))


class UNet3d(nn.Module):
    """The network; see the drawing at the top of this file.

    Args:
        in_channels: channels of the image.
        classes: channels of the logits; 1 means a sigmoid, more a softmax.
        features: channels of each stage, the full resolution first.
        blocks: residual blocks of each stage.
        strides: by how much each stage after the first shrinks x, y and z; 1 along z keeps thick
            slices apart. None halves everything.
        kernels: of each stage; None is 3 x 3 x 3.
        deep_supervision: in training mode, give the logits of every step of the decoder.
        resenc: nnU-Net's ResEnc to the weight: a convolution before the first stage, one instead of
            two in each step of the decoder, and biases.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        classes: int = 1,
        features: Sequence[int] = (32, 64, 128, 256, 320),
        blocks: Sequence[int] | None = None,
        strides: Sequence[Triple] | None = None,
        kernels: Sequence[Triple] | None = None,
        deep_supervision: bool = False,
        resenc: bool = False,
    ):
        super().__init__()
        n_stages = len(features)
        blocks = blocks or (1, *[2] * (n_stages - 1))
        strides = [(1, 1, 1), *[tuple(s) for s in strides or [(2, 2, 2)] * (n_stages - 1)]]
        kernels = [tuple(k) for k in kernels or [(3, 3, 3)] * n_stages]
        if not (n_stages == len(blocks) == len(strides) == len(kernels) >= 2):
            raise InputError(
                f"UNet3d: {n_stages} features, {len(blocks)} blocks, {len(strides) - 1} strides, "
                f"{len(kernels)} kernels; give as many blocks and kernels as features (at least 2) "
                "and one stride less."
            )
        self.deep_supervision = deep_supervision
        self.divisor = tuple(math.prod(along) for along in zip(*strides, strict=True))
        self.encoder = nn.ModuleList()
        n_in = features[0] if resenc else in_channels
        for n_out, n_blocks, kernel, stride in zip(features, blocks, kernels, strides, strict=True):
            chain = [ResidualBlock(n_in, n_out, kernel, stride, resenc)]
            for _ in range(n_blocks - 1):
                chain.append(ResidualBlock(n_out, n_out, kernel, (1, 1, 1), resenc))
            if resenc and not self.encoder:
                chain.insert(0, conv_block(in_channels, n_in, kernel, bias=True))
            self.encoder.append(nn.Sequential(*chain))
            n_in = n_out
        self.decoder, self.heads = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(n_stages - 1)):
            sizes = features[level + 1], features[level], kernels[level], strides[level + 1]
            self.decoder.append(UpStep(*sizes, n=1 if resenc else 2, bias=resenc))
            asked = level == 0 or deep_supervision  # an unused head would get no gradient
            self.heads.append(nn.Conv3d(features[level], classes, 1) if asked else nn.Identity())

    def encode(self, image: Tensor) -> list[Tensor]:
        """(B, C, X, Y, Z) -> the maps of all stages, full resolution first.

        Raises:
            InputError: a side that does not divide.
        """
        check_sides("UNet3d", image.shape[2:], self.divisor)
        maps = []
        for stage in self.encoder:
            image = stage(image)
            maps.append(image)
        return maps

    def decode(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The maps of ``encode`` -> logits of every step, full resolution first."""
        *skips, now = maps
        logits = []
        for step, head, skip in zip(self.decoder, self.heads, reversed(skips), strict=True):
            now = step(now, skip)
            last = skip is skips[0]
            if last or (self.training and self.deep_supervision):
                logits.append(head(now))
        return logits[::-1]

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """(B, C, X, Y, Z) -> logits (B, K, X, Y, Z); with deep supervision in training, a list."""
        logits = self.decode(self.encode(image))
        return logits if self.training and self.deep_supervision else logits[0]
