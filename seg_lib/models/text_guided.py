"""Image and note in, logits out: a 3D U-Net with a text encoder beside it. Taught in notebook 15.

The note goes through the tokenizer and the text encoder (a frozen Llama with learned prompts) and
becomes (B, P, width); with it the network looks at the image. All notes of a data set share most
of what a language model makes of them; ``standardise`` leaves what differs.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seg_lib.models.text_encoder import NoteCache, NoteTokens, TextEncoder, tokenize_notes


class TextGuided(nn.Module):
    """The network that source 000 calls multimodal.

    Its ``state_dict`` holds what is trained and nothing of the language model.

    Args:
        unet: of `seg_lib.models.text_unet3d`.
        encoder: whose width is the ``text_width`` of the network.
        tokenizer: of the language model.
        budget: longest note in tokens; what is cut off is counted in ``n_cut``.
    """

    def __init__(self, unet: nn.Module, encoder: TextEncoder, tokenizer: Any, budget: int = 120):
        super().__init__()
        self.unet, self.encoder = unet, encoder
        self.tokenizer, self.budget = tokenizer, budget
        shape = encoder.prompts.shape[0], encoder.width
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("spread", torch.ones(shape))
        self.n_cut: dict[str, int] = {}  # note -> tokens that were too many
        self.remembered: dict[str, tuple[Tensor, Tensor]] = {}  # with order="note_first"

    def forward(
        self, image: Tensor, notes: Sequence[str] | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Logits of images with their notes.

        Args:
            image: (B, C, X, Y, Z).
            notes: B texts; None leaves text out of the network altogether, "" is an empty note.
            positions: (B, 3, X, Y, Z) in [-1, 1], see `seg_lib.data.patches.positions_of`.

        Returns:
            (B, K, X, Y, Z).
        """
        if notes is None:
            return self.unet(image)
        return self.unet(image, self.states(notes), positions)

    def states(self, notes: Sequence[str]) -> Tensor:
        """What the language model makes of the notes, standardised: (B, P, width)."""
        return (self._read(notes) - self.mean) / self.spread

    @torch.no_grad()
    def standardise(self, notes: Sequence[str]) -> None:
        """From now on ``states`` has mean 0 and spread 1 over these notes of the training."""
        found = torch.cat([self._read([note]) for note in sorted(set(notes))])
        self.mean.copy_(found.mean(0))
        self.spread.copy_(found.std(0, correction=0).clamp(min=1e-3))

    def _read(self, notes: Sequence[str]) -> Tensor:
        if self.encoder.order == "prompts_first":
            return self.encoder(self.tokens(notes))
        new = sorted(set(notes) - self.remembered.keys())
        if new:
            found = self.encoder.remember(self.tokens(new))
            pairs = zip(found.keys_values, found.states, strict=True)
            self.remembered |= dict(zip(new, pairs, strict=True))
        keys_values, states = zip(*(self.remembered[note] for note in notes), strict=True)
        return self.encoder(NoteCache(list(keys_values), list(states)))

    def tokens(self, notes: Sequence[str]) -> NoteTokens:
        """Token ids on the device of the encoder."""
        tokens, cut = tokenize_notes(self.tokenizer, list(notes), self.budget)
        self.n_cut |= dict(zip(notes, cut, strict=True))
        return tokens.to(self.encoder.seg.device)
