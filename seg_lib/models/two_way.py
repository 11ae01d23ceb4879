"""Two-way attention: a few text vectors and many voxels tell each other things.

    text (B, N, C)                          image (B, T, C)
      │ 1  the text vectors look at each other
      │ 2  the text looks at all voxels  <────────┤
      │ 3  a small network on each text vector    │
      ├──────── 4  every voxel looks at the text ─> + ── norm
      ↓                                           ↓

A voxel takes the messages of the N text vectors, weighted by how well they answer its question. So
with N = 1 every voxel hears the same; where it is heard most is decided by the norm alone.

The text has N = 2 vectors, the image millions of voxels: time and memory grow with T, not with T².

Sources: Kirillov et al. 2023 (SAM), https://arxiv.org/abs/2304.02643, appendix A, mask decoder.
Taught in notebook 15.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from seg_lib.errors import InputError
from seg_lib.models.attention import attention_weights


@dataclass(frozen=True)
class Fusion:
    """How the image listens; see the top of this file.

    Args:
        heads: of each attention; must divide half the features of each stage that listens.
        align: "after" or "during".
        skips: "aligned" or "raw".
        fused_stages: which stages listen, 0 the finest; None is all whose outcome is used. The
            finest has seven times the voxels of all others together.
        positions: ``forward`` also takes where in the body each voxel lies.
        registers: learned vectors beside those of the text, 0 as released. A voxel must listen to
            somebody; with a register it can turn away from a note that does not mean it. SAM has
            such vectors too, its output tokens.
    """

    heads: int = 8
    align: str = "after"
    skips: str = "aligned"
    fused_stages: Sequence[int] | None = None
    positions: bool = False
    registers: int = 0

    def stages(self, features: Sequence[int]) -> list[int]:
        """The stages that listen, checked against the features of the network.

        Raises:
            InputError: a word or number that does not fit, and which would.
        """
        if self.align not in ("after", "during") or self.skips not in ("aligned", "raw"):
            raise InputError(
                f"TextUNet3d: align={self.align!r}, skips={self.skips!r}; align is 'after' or "
                "'during', skips 'aligned' or 'raw'."
            )
        deepest = len(features) - 1
        only_deepest = (self.align, self.skips) == ("after", "raw")
        used = [deepest] if only_deepest else list(range(deepest + 1))
        stages = used if self.fused_stages is None else sorted(set(self.fused_stages))
        if not set(stages) <= set(used):
            raise InputError(
                f"TextUNet3d: fused_stages {stages}, but with align={self.align!r} and "
                f"skips={self.skips!r} only {used} can change the logits: choose among them."
            )
        halves = [features[stage] / 2 for stage in stages]
        fitting = [n for n in range(1, 65) if not any(half % n for half in halves)]
        if self.heads not in fitting:
            raise InputError(
                f"TextUNet3d: {self.heads} heads do not divide {[f'{half:g}' for half in halves]}, "
                f"half the features of the stages {stages}; take heads among {fitting}, or even "
                "features."
            )
        return stages


class AttentionMaps(NamedTuple):
    """Who looked at whom, the mean over heads, each (B, N, x, y, z).

    N counts the text vectors and, behind them, the registers.
    """

    voxel_to_text: Tensor  # share of text vector n in what a voxel hears; sums to 1 over N
    text_to_voxel: Tensor  # where text vector n looks; sums to 1 over the voxels


class CrossAttention(nn.Module):
    """T tokens ask S others; inside, ``inner`` features instead of ``dim`` save memory."""

    def __init__(self, dim: int, heads: int, inner: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(dim, inner) for _ in range(3))
        self.proj = nn.Linear(inner, dim)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B, T, dim), (B, S, dim), (B, S, dim) -> (B, T, dim)."""
        parts = self._split(self.query(query)), self._split(self.key(key))
        mixed = F.scaled_dot_product_attention(*parts, self._split(self.value(value)))
        return self.proj(rearrange(mixed, "b h t d -> b t (h d)"))

    def weights(self, query: Tensor, key: Tensor) -> Tensor:
        """Who looks at whom, the mean over heads: (B, T, S); for figures."""
        parts = self._split(self.query(query)), self._split(self.key(key))
        return attention_weights(*parts).mean(dim=1)

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b t (h d) -> b h t d", h=self.heads)


class TwoWayLayer(nn.Module):
    """The four steps of the drawing; each adds to what was there, then normalises."""

    def __init__(self, dim: int, heads: int, hidden: int):
        super().__init__()
        self.among_text = CrossAttention(dim, heads, dim)
        self.text_to_voxel = CrossAttention(dim, heads, dim // 2)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))
        self.voxel_to_text = CrossAttention(dim, heads, dim // 2)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(4))

    def forward(
        self, text: Tensor, image: Tensor, name: Tensor | None, place: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """One exchange.

        Args:
            text: (B, N, dim), the text as it is by now.
            image: (B, T, dim), the voxels as they are by now.
            name: (B, N, dim), the text as it came in, which tells one vector from the other
                whatever happened to it since; None in the first layer, where ``text`` is that.
            place: (B, T, dim), where each voxel is, or None.

        Returns:
            ``text`` and ``image``, changed.
        """
        among, look, think, hear = self.norms
        if name is None:
            name, text = text, among(self.among_text(text, text, text))
        else:
            named = text + name
            text = among(text + self.among_text(named, named, text))
        placed = image if place is None else image + place
        text = look(text + self.text_to_voxel(text + name, placed, image))
        text = think(text + self.mlp(text))
        return text, hear(image + self.voxel_to_text(placed, text + name, text))


class Listen(nn.Module):
    """One stage and the text: two exchanges, of which the image is kept."""

    def __init__(self, text_width: int, width: int, hidden: int, how: Fusion):
        super().__init__()
        heads, positions = how.heads, how.positions
        self.project = nn.Linear(text_width, width)
        self.registers = nn.Parameter(torch.randn(how.registers, width)) if how.registers else None
        self.place = nn.Linear(9, width) if positions else None
        if positions:
            nn.init.normal_(self.place.weight)  # the usual, smaller start is hardly heard
        self.layers = nn.ModuleList(TwoWayLayer(width, heads, hidden) for _ in range(2))

    def forward(self, image: Tensor, text: Tensor, positions: Tensor | None = None) -> Tensor:
        """(B, width, x, y, z), (B, N, text_width), (B, 3, X, Y, Z) -> (B, width, x, y, z)."""
        name = self.project(text.to(self.project.weight.dtype))
        if self.registers is not None:
            name = torch.cat([name, self.registers.expand(len(name), -1, -1).to(name.dtype)], 1)
        place = None if self.place is None else self._place(positions, image)
        text, tokens = self.layers[0](name, image.flatten(2).transpose(1, 2), None, place)
        for layer in self.layers[1:]:
            text, tokens = layer(text, tokens, name, place)
        return tokens.transpose(1, 2).reshape(image.shape)

    def _place(self, positions: Tensor, image: Tensor) -> Tensor:
        """(B, 3, X, Y, Z) -> (B, T, width): each voxel of the stage is where its middle is."""
        shrunk = F.avg_pool3d(positions, positions.shape[2] // image.shape[2])
        where = shrunk.flatten(2).transpose(1, 2)
        waves = torch.sin(math.pi * where), torch.cos(math.pi * where)
        return self.place(torch.cat([where, *waves], dim=-1))
