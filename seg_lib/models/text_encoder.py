"""A frozen Llama that reads the note, and a few learned vectors that tell it what to look for.

    prompts_first   [BOS] p1 … p8  note  <SEG>      as released with LLMSeg
    note_first      [BOS] note  p1 … p8  <SEG>      the note is read once and remembered
                                          └─> hidden state: what the image network is told

Prompt tuning (Lester et al. 2021, https://arxiv.org/abs/2104.08691): the billions of weights of the
language model stay as they are; p1 … p8 are trained. A causal model looks only back, so learned
vectors *before* the note change all that is computed for the note, in every step; *after* it they
change nothing of it, and its keys and values can be computed once. LLMSeg: Oh et al. 2024,
https://doi.org/10.1038/s41467-024-53387-y. Taught in notebook 15.

Legend: B notes, P sequences (prompts) a note, L learned vectors, T tokens with [BOS], W width.
"""

import contextlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_lib.errors import InputError
from seg_lib.models.note_tokens import NoteCache, NoteTokens, tokenize_notes

__all__ = ["NoteCache", "NoteTokens", "TextEncoder", "tokenize_notes"]

ORDERS, POOLED = ("prompts_first", "note_first"), ("seg", "tokens")
AT_ONCE = 16  # notes that are read together by ``remember``


def own_precision(device: torch.device) -> Any:
    """No autocast in this block: the language model computes as it was loaded."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


class Frozen:
    """Holds the language model where torch finds no module: not trained, not saved, not copied."""

    def __init__(self, model: Any):
        self.model = model.requires_grad_(False).eval()

    def __deepcopy__(self, memo: dict) -> "Frozen":
        return self


class TextEncoder(nn.Module):
    """Notes -> what a frozen language model makes of them, steered by learned prompt vectors.

    ``parameters()`` and ``state_dict()`` hold the learned vectors only, so a checkpoint has
    kilobytes where the release has 13 GB. The language model follows ``.to(device)``, keeps the
    precision it was loaded in (autocast is off inside), and is shared by deep copies.

    Args:
        language_model: of `language_model.load_language_model`; is frozen in place.
        prompts: P, sequences a note, each with learned vectors of its own.
        prompt_length: L, learned vectors in a sequence; 0 leaves the note and <SEG> alone.
        order: where they stand, "prompts_first" or "note_first".
        pooled: "seg" gives the final hidden state at <SEG>, "tokens" those of all tokens.
        learn_seg: True: <SEG> starts as the token that ends a text, and learns. False: it is drawn
            at random and stays so, as in the release.
        prompt_std: spread of the learned vectors at the start; the release has 1.

    Raises:
        InputError: another family than Llama, or a size or word that there is not.

    Taught in notebook 15.
    """

    def __init__(
        self,
        language_model: Any,
        *,
        prompts: int = 2,
        prompt_length: int = 8,
        order: str = "prompts_first",
        pooled: str = "seg",
        learn_seg: bool = True,
        prompt_std: float = 1.0,
    ):
        super().__init__()
        config = language_model.config
        if config.model_type != "llama":
            raise InputError(f"a language model of the family '{config.model_type}'; take a Llama.")
        if order not in ORDERS or pooled not in POOLED:
            raise InputError(f"order is one of {ORDERS} and pooled one of {POOLED}.")
        if prompts < 1 or prompt_length < 0:
            raise InputError("a note needs at least one sequence (prompts) and prompt_length >= 0.")
        self.order, self.pooled, self.width = order, pooled, config.hidden_size
        self.longest = config.max_position_embeddings
        self.frozen = Frozen(language_model.base_model)  # without the head that predicts words
        start = prompt_std * torch.randn(prompts, prompt_length, self.width)
        self.prompts = nn.Parameter(start, requires_grad=prompt_length > 0)
        seg = config.initializer_range * torch.randn(self.width)
        end = getattr(config, "eos_token_id", None)
        if learn_seg and end is not None:
            end = end[0] if isinstance(end, list) else end
            seg = self.language_model.embed_tokens.weight[end].detach().float().clone()
        self.seg = nn.Parameter(seg, requires_grad=learn_seg)
        self.to(self.language_model.device)

    @property
    def language_model(self) -> Any:
        """The frozen Llama."""
        return self.frozen.model

    def forward(self, notes: NoteTokens | NoteCache) -> Tensor | tuple[Tensor, Tensor]:
        """What the notes say.

        Args:
            notes: on the device of the encoder. With ``note_first`` also what ``remember`` gave;
                it may lie anywhere.

        Returns:
            "seg": (B, P, W). "tokens": states (B, S, W) and mask (B, S), False at padding; S counts
            [BOS], the note, the learned vectors and <SEG> of all P sequences, with ``note_first``
            [BOS] and note once.

        Raises:
            InputError: a NoteCache with ``prompts_first``, or more tokens than the model can read.
        """
        known = isinstance(notes, NoteCache)
        longest = max(map(len, notes.states)) if known else notes.ids.shape[1]
        if longest + self.prompts.shape[1] + 1 > self.longest:
            raise InputError(f"{longest} tokens and the prompts: the model reads {self.longest}.")
        with own_precision(self.seg.device):
            if self.order == "note_first":
                return self._after(notes if known else self.remember(notes))
            if known:
                raise InputError(
                    "with order='prompts_first' the note is computed anew in every step; "
                    "take order='note_first' to remember notes."
                )
            return self._before(notes)

    @torch.no_grad()
    def remember(
        self,
        notes: NoteTokens,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> NoteCache:
        """Read the notes once; ``forward`` goes on from there.

        Args:
            notes: of any number.
            device: where to keep what is remembered; None is that of the language model.
            dtype: to keep it in; None is that of the language model.
        """
        model = self.language_model
        keep = {"device": device or model.device, "dtype": dtype or model.dtype}
        known, states = [], []
        for start in range(0, len(notes), AT_ONCE):
            part = notes[list(range(start, min(start + AT_ONCE, len(notes))))].to(model.device)
            with own_precision(model.device):
                found = model(part.ids, attention_mask=part.mask, use_cache=True)
            layers = [torch.stack([x.keys, x.values]) for x in found.past_key_values.layers]
            both = torch.stack(layers)  # (layers, 2, B, heads, T, head width)
            for row, length in enumerate(part.mask.sum(1).tolist()):
                known.append(both[:, :, row, :, :length].to(**keep, copy=True))
                states.append(found.last_hidden_state[row, :length].to(**keep, copy=True))
        return NoteCache(known, states)

    def _before(self, notes: NoteTokens) -> Tensor | tuple[Tensor, Tensor]:
        """[BOS] p1 … pL note <SEG>, padding behind it, where a causal model does not look."""
        batch, (sequences, length, _) = len(notes), self.prompts.shape
        words = self.language_model.embed_tokens(notes.ids)  # (B, T, W)
        words = words[:, None].expand(-1, sequences, -1, -1)
        learned = self.prompts.to(words.dtype).expand(batch, -1, -1, -1)
        line = torch.cat([words[:, :, :1], learned, words[:, :, 1:]], 2)
        line = F.pad(line, (0, 0, 0, 1))  # (B, P, T + L + 1, W), a place more for <SEG>
        place = torch.arange(line.shape[2], device=line.device)
        last = (length + notes.mask.sum(1))[:, None]  # (B, 1), where <SEG> belongs
        line = torch.where((place == last)[:, None, :, None], self.seg.to(line.dtype), line)
        found = self.language_model(inputs_embeds=line.flatten(0, 1), use_cache=False)
        states = found.last_hidden_state.unflatten(0, (batch, sequences)).to(self.seg.dtype)
        if self.pooled == "seg":
            return states[torch.arange(batch, device=last.device), :, last[:, 0]]
        mask = (place <= last)[:, None].expand(-1, sequences, -1)
        return states.flatten(1, 2), mask.flatten(1, 2)

    def _after(self, cache: NoteCache) -> Tensor | tuple[Tensor, Tensor]:
        """Go on from the remembered note with p1 … pL <SEG>."""
        from transformers import DynamicCache

        model, (sequences, length, width) = self.language_model, self.prompts.shape
        both, note, mask = cache.to(model.device).padded(model.dtype)
        end = self.seg.expand(sequences, 1, width)
        line = torch.cat([self.prompts, end], 1).to(model.dtype).repeat(len(cache), 1, 1)
        both = both.repeat_interleave(sequences, dim=2)  # (layers, 2, B * P, heads, T, head width)
        seen = mask.repeat_interleave(sequences, dim=0)  # (B * P, T)
        new = torch.arange(length + 1, device=line.device)
        found = model(
            inputs_embeds=line,
            attention_mask=torch.cat([seen, seen.new_ones(len(line), length + 1)], 1),
            position_ids=seen.sum(1, keepdim=True) + new,  # as if there were no padding
            past_key_values=DynamicCache([(layer[0], layer[1]) for layer in both]),
        )
        states = found.last_hidden_state.unflatten(0, (-1, sequences)).to(self.seg.dtype)
        if self.pooled == "seg":
            return states[:, :, -1]
        states = torch.cat([note.to(states.dtype), states.flatten(1, 2)], 1)
        return states, torch.cat([mask, mask.new_ones(len(mask), sequences * (length + 1))], 1)

    def _apply(self, fn: Any, recurse: bool = True) -> "TextEncoder":
        """Take the language model along to another device, in its own precision."""
        super()._apply(fn, recurse)
        device, model = self.seg.device, self.language_model
        if device.type == "meta" != model.device.type:  # shapes only: leave the weights to others
            with torch.device("meta"):
                self.frozen = Frozen(type(model)(model.config))
        elif device != model.device:
            model.to(device)
        return self
