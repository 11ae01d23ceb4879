"""Attention, among all tokens and within windows. Taught in notebooks 07 and 08.

Every token asks a question (query), shows a sign (key) and carries a message (value). A token takes
the messages of the others, weighted by how well their signs answer its question:

    Attention(Q, K, V) = softmax(Q Kᵀ / √d + bias) V

Sources: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, equation 1 and section 3.2.2;
windows: Liu et al. 2021, https://arxiv.org/abs/2103.14030.
"""

import functools
import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def attention_weights(query: Tensor, key: Tensor, bias: Tensor | None = None) -> Tensor:
    """Who looks at whom: (..., T, d), (..., S, d) -> (..., T, S); the rows sum to 1.

    Args:
        query: T questions of d numbers.
        key: S signs of d numbers.
        bias: (..., T, S), added before the softmax; minus infinity forbids a look.
    """
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    return (scores if bias is None else scores + bias).softmax(dim=-1)


def scaled_dot_product(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None
) -> Tensor:
    """(..., T, d), (..., S, d), (..., S, e) -> (..., T, e).

    The same numbers as `torch.nn.functional.scaled_dot_product_attention`, which is faster and
    needs less memory because it never holds all T x S weights; networks call that one.
    """
    return attention_weights(query, key, bias) @ value


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each in its own part of the features.

    One softmax can look at one thing; four heads can look at the border, the vessel, the opposite
    lung and the token itself. The weights are laid out as in `torch.nn.MultiheadAttention`.

    Args:
        dim: features of a token.
        heads: must divide ``dim``.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, dim) -> (B, T, dim)."""
        query, key, value = rearrange(
            self.qkv(tokens), "b t (three h d) -> three b h t d", three=3, h=self.heads
        )
        mixed = scaled_dot_product(query, key, value)
        return self.proj(rearrange(mixed, "b h t d -> b t (h d)"))


def window_partition(tokens: Tensor, window: int) -> Tensor:
    """(B, H, W, C) -> (B * windows, window², C); H and W divide by the window."""
    return rearrange(tokens, "b (h i) (w j) c -> (b h w) (i j) c", i=window, j=window)


def window_reverse(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """The inverse: (B * windows, window², C) -> (B, H, W, C)."""
    sizes = {"h": height // window, "w": width // window, "i": window}
    return rearrange(windows, "(b h w) (i j) c -> b (h i) (w j) c", **sizes)


@functools.lru_cache(maxsize=64)
def shift_mask(height: int, width: int, window: int, shift: int) -> Tensor:
    """Which tokens of a shifted window may see each other: (windows, window², window²), 0 or -inf.

    The cyclic shift brings tokens of opposite borders into one window; they are no neighbours.
    Every token gets the number of its region before the shift; only equal numbers see each other.
    """

    def region(n: int) -> Tensor:
        place = torch.arange(n, device="cpu")  # kept, so it must not depend on who asks first
        return (place >= n - window).int() + (place >= n - shift).int()

    regions = 3 * region(height)[:, None] + region(width)
    number = window_partition(regions[None, :, :, None], window)[..., 0]
    strangers = number[:, :, None] != number[:, None, :]
    return torch.zeros(strangers.shape, device="cpu").masked_fill(strangers, float("-inf"))


class WindowAttention(nn.Module):
    """Multi-head attention inside a window, with a learned bias for every relative position."""

    def __init__(self, dim: int, window: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        offsets = (2 * window - 1) ** 2  # from -(M-1) to M-1, down and across
        self.relative_position_bias_table = nn.Parameter(torch.zeros(offsets, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        place = torch.stack(torch.meshgrid(*2 * [torch.arange(window)], indexing="ij"), -1)
        place = place.flatten(0, 1)
        down, across = (place[:, None] - place[None, :] + window - 1).unbind(-1)
        index = down * (2 * window - 1) + across
        self.register_buffer("relative_position_index", index, persistent=False)

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B * windows, T, C) -> the same; ``mask`` (windows, T, T) as of ``shift_mask``."""
        query, key, value = self._heads_of(windows)
        bias = self._bias(windows, mask).to(query.dtype)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(rearrange(mixed, "b h t d -> b t (h d)"))

    def weights(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Who looks at whom: (B * windows, heads, T, T); for figures."""
        query, key, _ = self._heads_of(windows)
        return attention_weights(query, key, self._bias(windows, mask))

    def _heads_of(self, windows: Tensor) -> Tensor:
        how = "b t (three h d) -> three b h t d"
        return rearrange(self.qkv(windows), how, three=3, h=self.heads)

    def _bias(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """(1 or B * windows, heads, T, T)."""
        table = self.relative_position_bias_table[self.relative_position_index]  # (T, T, heads)
        bias = rearrange(table, "t s h -> 1 h t s")
        if mask is None:
            return bias
        images = windows.shape[0] // mask.shape[0]  # not len: an export keeps the batch free
        return bias + mask.to(bias.device)[:, None].repeat(images, 1, 1, 1)
