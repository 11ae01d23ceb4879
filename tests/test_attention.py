"""Attention gives the numbers of torch, and windows that are shifted know their neighbours."""

import pytest
import torch
import torch.nn.functional as F

from seg_lib.models.attention import (
    MultiHeadAttention,
    WindowAttention,
    attention_weights,
    scaled_dot_product,
    shift_mask,
    window_partition,
    window_reverse,
)


def test_two_tokens_by_hand():
    """d = 1: scores 0 and ln 3, so the weights are 1/4 and 3/4."""
    query, key = torch.tensor([[1.0]]), torch.tensor([[0.0], [torch.log(torch.tensor(3.0))]])
    assert torch.allclose(attention_weights(query, key), torch.tensor([[0.25, 0.75]]))
    value = torch.tensor([[4.0], [8.0]])
    assert torch.allclose(scaled_dot_product(query, key, value), torch.tensor([[7.0]]))


def test_scaled_dot_product_is_torchs():
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 4)
    bias = torch.randn(3, 5, 7)
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    assert torch.allclose(scaled_dot_product(query, key, value, bias), expected, atol=1e-6)


def test_multi_head_attention_is_torchs():
    torch.manual_seed(0)
    ours, theirs = MultiHeadAttention(12, 3), torch.nn.MultiheadAttention(12, 3, batch_first=True)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = ours.qkv.weight.data, ours.qkv.bias.data
    theirs.out_proj.load_state_dict(ours.proj.state_dict())
    tokens = torch.randn(2, 9, 12)
    assert torch.allclose(ours(tokens), theirs(tokens, tokens, tokens)[0], atol=1e-6)


def test_partition_and_reverse_are_inverses():
    tokens = torch.randn(2, 6, 9, 5)
    windows = window_partition(tokens, 3)
    assert windows.shape == (2 * 2 * 3, 9, 5)
    assert torch.equal(windows[1, 0], tokens[0, 0, 3])  # the second window begins at column 3
    assert torch.equal(window_reverse(windows, 3, 6, 9), tokens)


def padded_reference(attention, tokens, window, shift):
    """Shifted windows without a cyclic shift: pad the map, and hide the padding from everybody."""
    _, height, width, _ = tokens.shape
    before, after = window - shift, shift
    padded = F.pad(tokens, (0, 0, before, after, before, after))
    real = F.pad(torch.ones(1, height, width, 1), (0, 0, before, after, before, after))
    seen = window_partition(real, window)[..., 0]
    hidden = torch.zeros(len(seen), window**2, window**2)
    hidden = hidden.masked_fill(seen[:, None, :] == 0, -1e9)
    out = attention(window_partition(padded, window), hidden)
    out = window_reverse(out, window, height + window, width + window)
    return out[:, before : before + height, before : before + width]


@pytest.mark.parametrize(("size", "window", "shift"), [(8, 4, 2), (9, 3, 1), (14, 7, 3)])
def test_cyclic_shift_with_mask_equals_a_padded_map(size, window, shift):
    torch.manual_seed(0)
    attention = WindowAttention(8, window, 2)
    tokens = torch.randn(2, size, size, 8)
    rolled = window_partition(tokens.roll((-shift, -shift), (1, 2)), window)
    out = attention(rolled, shift_mask(size, size, window, shift))
    out = window_reverse(out, window, size, size).roll((shift, shift), (1, 2))
    assert torch.allclose(out, padded_reference(attention, tokens, window, shift), atol=1e-5)
    unmasked = window_reverse(attention(rolled), window, size, size).roll((shift, shift), (1, 2))
    assert not torch.allclose(out, unmasked, atol=1e-3), "the mask must matter"


def test_window_attention_weights_are_those_of_its_forward():
    torch.manual_seed(0)
    attention = WindowAttention(8, 4, 2)
    windows = torch.randn(3, 16, 8)
    weights = attention.weights(windows)
    assert torch.allclose(weights.sum(-1), torch.ones(3, 2, 16))
    value = attention.qkv(windows)[..., 16:].reshape(3, 16, 2, 4).transpose(1, 2)
    mixed = (weights @ value).transpose(1, 2).reshape(3, 16, 8)
    assert torch.allclose(attention.proj(mixed), attention(windows), atol=1e-6)


def test_relative_position_bias_depends_on_the_offset_alone():
    attention = WindowAttention(4, 3, 1)
    bias = attention._bias(torch.empty(0), None)[0, 0].detach()
    right = [bias[3 * row + column, 3 * row + column + 1] for row in range(3) for column in (0, 1)]
    assert len({float(b) for b in right}) == 1
    assert bias[0, 1] != bias[1, 0]
