"""Notes as a language model reads them: token ids, and keys and values that are remembered.

Legend: B notes, T tokens of the longest of them, W width of the language model. Taught in
notebook 15.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seg_lib.errors import InputError

BUDGET = 120  # tokens of a note that are read, as in LLMSeg


@dataclass(frozen=True)
class NoteTokens:
    """A batch of notes: [BOS] and the tokens of the note, padded on the right.

    Args:
        ids: (B, T) int64; padding is 0.
        mask: (B, T) bool, False where there is padding. Every row starts with True.
    """

    ids: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, cases: Sequence[int]) -> "NoteTokens":
        """The notes with these numbers, no wider than the longest of them."""
        mask = self.mask[cases]
        longest = int(mask.sum(1).max())
        return NoteTokens(self.ids[cases][:, :longest], mask[:, :longest])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "NoteTokens":
        """The same on another device."""
        moved = [tensor.to(device, non_blocking=non_blocking) for tensor in (self.ids, self.mask)]
        return NoteTokens(*moved)


def tokenize_notes(
    tokenizer: Any, notes: Sequence[str], budget: int = BUDGET
) -> tuple[NoteTokens, list[int]]:
    """Turn notes into token ids.

    Nothing in a note is a command: "</s>" or "<SEG>" typed into it stay the characters they are.
    What cannot be written as UTF-8 (half a surrogate pair) becomes "?".

    Args:
        tokenizer: of `language_model.load_language_model`.
        notes: an empty one is allowed and becomes [BOS] alone: the control without text.
        budget: most tokens of a note, without [BOS]; what is longer loses its end.

    Returns:
        (tokens, how many tokens of each note were cut).

    Raises:
        InputError: no notes, a note that is no text, or a tokenizer without a first token.

    Taught in notebook 15.
    """
    if isinstance(notes, str) or not len(notes):
        raise InputError("tokenize_notes takes a list of notes, at least one; put it in brackets.")
    for number, note in enumerate(notes):
        if not isinstance(note, str):
            raise InputError(f"note {number} is {note!r}, not text; write '' where there is none.")
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if first is None:
        raise InputError("this tokenizer has neither a BOS nor an EOS token to begin a note with.")
    plain = [note.strip().encode("utf-8", "replace").decode() for note in notes]
    # split_special_tokens: what looks like a control token in a note is read as plain characters
    read = tokenizer(plain, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    kept = [[first, *ids[:budget]] for ids in read]
    ids = torch.zeros(len(kept), max(map(len, kept)), dtype=torch.int64)
    mask = torch.zeros(ids.shape, dtype=torch.bool)
    for row, known in enumerate(kept):
        ids[row, : len(known)] = torch.tensor(known)
        mask[row, : len(known)] = True
    return NoteTokens(ids, mask), [max(0, len(found) - budget) for found in read]


@dataclass(frozen=True)
class NoteCache:
    """What a frozen causal language model remembers of each note, ready to be gone on from.

    A token of a causal model looks only back. So nothing that comes after a note changes the keys
    and values of the note; they are computed once.

    Args:
        keys_values: a tensor a note, (layers, 2, heads, tokens, head width); as many heads as the
            model has for keys.
        states: a tensor a note, (tokens, W), the final hidden states.
    """

    keys_values: list[Tensor]
    states: list[Tensor]

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, cases: Sequence[int]) -> "NoteCache":
        """The notes with these numbers; no tensor is copied."""
        numbers = [int(case) for case in cases]
        return NoteCache(*([part[n] for n in numbers] for part in (self.keys_values, self.states)))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "NoteCache":
        """The same on another device."""
        move = {"device": device, "non_blocking": non_blocking}
        parts = (self.keys_values, self.states)
        return NoteCache(*([tensor.to(**move) for tensor in part] for part in parts))

    def padded(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values (layers, 2, B, heads, T, head width), states (B, T, W), mask (B, T)."""
        longest = max(len(state) for state in self.states)
        layers, two, heads, _, width = self.keys_values[0].shape
        first = self.states[0]
        both = first.new_zeros((layers, two, len(self), heads, longest, width), dtype=dtype)
        states = first.new_zeros((len(self), longest, first.shape[1]), dtype=dtype)
        mask = first.new_zeros(states.shape[:2], dtype=torch.bool)
        for row, (known, state) in enumerate(zip(self.keys_values, self.states, strict=True)):
            both[:, :, row, :, : len(state)] = known
            states[row, : len(state)] = state
            mask[row, : len(state)] = True
        return both, states, mask

    @property
    def megabytes(self) -> float:
        """10^6 bytes that all notes take."""
        tensors = [*self.keys_values, *self.states]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6
