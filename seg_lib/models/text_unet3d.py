"""A 3D U-Net that listens to text: LLMSeg, also called MM-LLM-RO. Taught in notebook 15.

    image (B, C, X, Y, Z)        text (B, N, text_width) of a language model
      │                                   │
      stage 0 @ 1/2    48 ── listen <─ linear ── skip ──────────────────────┐
      stage 1 @ 1/4    48 ── listen <─ linear ── skip ───────────────┐      │
      stage 2 @ 1/8    96 ── listen <─ linear ── skip ────────┐      │      │
      stage 3 @ 1/16  192 ── listen <─ linear ── skip ─┐      │      │      │
      stage 4 @ 1/32  384 ── listen <─ linear ──── up ─┴─ up ─┴─ up ─┴─ up ─┴─ up x2 ── logits

A contour on CT is not only what is seen: which of two lesions is to be treated stands in the note.
A language model has made N vectors of the note; at each stage they and the voxels attend to each
other (``two_way``), and what the voxels became goes on. Descriptions (source 000) and the released
code differ in *when*, so both can be had:

    align="after"   the encoder runs to the bottom without the text, then all stages listen (code)
    align="during"  each stage listens before the next one begins (described)
    skips="aligned" the decoder gets the maps that have listened (code), "raw" those before

As released, the first stage already halves the image, so contours are steps of 2 voxels (but with
``output="full"``); nothing but the zeros beyond the border tells *where in the body* a patch lies
(``positions=True`` does); and the last attention never learned, so here it is not built.

Sources: Oh et al. 2024, https://arxiv.org/abs/2311.01908 and github.com/tvseg/MM-LLM-RO.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from seg_lib.errors import InputError
from seg_lib.models.two_way import AttentionMaps, Fusion, Listen
from seg_lib.models.unet3d import conv_block

CUBE = (3, 3, 3)


class Block(nn.Module):
    """Two convolutions; with ``residual`` beside a short cut of one that mixes channels only."""

    def __init__(self, n_in: int, n_out: int, stride: int = 1, residual: bool = True):
        super().__init__()
        self.first = conv_block(n_in, n_out, CUBE, stride, affine=False)
        self.second = conv_block(n_out, n_out, CUBE, affine=False)[:2]
        short = conv_block(n_in, n_out, (1, 1, 1), stride, affine=False)[:2]
        self.short = short if residual else None
        self.relu = nn.LeakyReLU(0.01, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, X, Y, Z) -> (B, n_out, X / stride, …)."""
        out = self.second(self.first(x))
        return self.relu(out if self.short is None else out + self.short(x))


class UpStep(nn.Module):
    """Enlarge a map twofold, put the skip beside it, convolve."""

    def __init__(self, n_deep: int, n_skip: int, n_out: int, residual: bool = False):
        super().__init__()
        self.up = nn.ConvTranspose3d(n_deep, n_out, 2, 2, bias=False)
        self.mix = Block(n_out + n_skip, n_out, residual=residual)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """(B, n_deep, X / 2, …) and (B, n_skip, X, …) -> (B, n_out, X, …)."""
        return self.mix(torch.cat([self.up(deep), skip], dim=1))


class TextUNet3d(nn.Module):
    """The network; see the drawing at the top of this file.

    Args:
        text_width: features of a text vector, as the language model has them.
        in_channels: channels of the image.
        classes: channels of the logits; 1 means a sigmoid, more a softmax.
        features: channels of each stage; the first has half the resolution of the image.
        output: "half" as released, or "full".
        fusion: how the image listens.
        norm: "instance" as released, or "batch" for training on patches. What a note says of a
            patch is often one number for all of its voxels; an instance norm takes that out again.
        recompute: in training, compute the inside of a block again on the way back: a third more
            time; not with batch norms, which would count each patch twice. A step of 64 x 352 x
            352 voxels needs 7 GB of float32, 4 GB with it, a prediction 3 GB.
    """

    def __init__(
        self,
        *,
        text_width: int,
        in_channels: int = 1,
        classes: int = 2,
        features: Sequence[int] = (48, 48, 96, 192, 384),
        output: str = "half",
        fusion: Fusion | None = None,
        norm: str = "instance",
        recompute: bool = False,
    ):
        super().__init__()
        self.fusion, self.recompute = fusion or Fusion(), recompute
        self.text_width, self.divisor = text_width, 2 ** len(features)
        known = output in ("half", "full") and norm in ("instance", "batch")
        if not known or len(features) < 2 or (recompute and norm == "batch"):
            raise InputError(
                f"TextUNet3d: output={output!r}, norm={norm!r}, {recompute=}, {len(features)} "
                "features; output is 'half' or 'full', norm 'instance' or, without recompute, "
                "'batch', and there are at least 2 features, one a stage."
            )
        steps = list(zip([in_channels, *features], features, strict=False))
        self.encoder = nn.ModuleList(Block(n_in, n_out, stride=2) for n_in, n_out in steps)
        self.listen = nn.ModuleDict()
        for stage in self.fusion.stages(features):
            sizes = text_width, features[stage], features[0] * 2**stage
            self.listen[str(stage)] = Listen(*sizes, self.fusion)
        self.decoder = nn.ModuleList()
        for n_out, n_deep in reversed(steps[1:]):
            self.decoder.append(UpStep(n_deep, n_out, n_out, residual=not self.decoder))
        self.fine, self.head = None, nn.ConvTranspose3d(features[0], classes, 2, 2, bias=False)
        if output == "full":
            n_fine = max(8, features[0] // 4)
            self.fine = UpStep(features[0], in_channels, n_fine)
            self.head = nn.Conv3d(n_fine, classes, 1)
        if norm == "batch":
            take_batch_norms(self)

    def encode(
        self, image: Tensor, text: Tensor | None = None, positions: Tensor | None = None
    ) -> list[Tensor]:
        """(B, C, X, Y, Z) -> what the decoder gets of each stage, the finest first."""
        self._check(image, text, positions)
        skips, now = [], image
        for stage, block in enumerate(self.encoder):
            now = heard = self._run(block, now)
            if text is not None and str(stage) in self.listen:
                heard = self._run(self.listen[str(stage)], now, text, positions)
            skips.append(heard if self.fusion.skips == "aligned" else now)
            if self.fusion.align == "during":
                now = heard
        return [*skips[:-1], heard]

    def decode(self, maps: Sequence[Tensor], image: Tensor) -> Tensor:
        """The maps of ``encode``, and the image for ``output="full"`` -> logits (B, K, X, Y, Z)."""
        *skips, now = maps
        for step, skip in zip(self.decoder, reversed(skips), strict=True):
            now = self._run(step, now, skip)
        return self.head(now if self.fine is None else self._run(self.fine, now, image))

    def forward(
        self, image: Tensor, text: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Logits (B, K, X, Y, Z).

        Args:
            image: (B, C, X, Y, Z); the sides divide by 2 to the power of the stages.
            text: (B, N, text_width), N >= 1, in any order; None leaves out all that listens, and
                what remains is the image-only network.
            positions: (B, 3, X, Y, Z), where in the body each voxel lies, in [-1, 1] along each
                axis; only for, and needed by, a network with ``positions=True`` that has a text.

        Raises:
            InputError: a shape that does not fit.
        """
        return self.decode(self.encode(image, text, positions), image)

    @torch.no_grad()
    def attention_maps(
        self, image: Tensor, text: Tensor, positions: Tensor | None = None
    ) -> dict[int, AttentionMaps]:
        """Who looks at whom in the last exchange of each stage that listens; for figures."""
        weights: dict[nn.Module, Tensor] = {}

        def watch(attention: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
            weights[attention] = attention.weights(*inputs[:2])

        last = {int(stage): listen.layers[-1] for stage, listen in self.listen.items()}
        watched = [a for layer in last.values() for a in (layer.voxel_to_text, layer.text_to_voxel)]
        hooks = [attention.register_forward_hook(watch) for attention in watched]
        try:
            self.encode(image, text, positions)
        finally:
            for hook in hooks:
                hook.remove()
        maps = {}
        for stage, layer in last.items():
            shape = (len(text), -1, *(n // 2 ** (stage + 1) for n in image.shape[2:]))
            by_voxel, by_text = weights[layer.voxel_to_text].mT, weights[layer.text_to_voxel]
            maps[stage] = AttentionMaps(by_voxel.reshape(shape), by_text.reshape(shape))
        return maps

    def _run(self, block: nn.Module, *inputs: Tensor | None) -> Tensor:
        if self.recompute and self.training and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    def _check(self, image: Tensor, text: Tensor | None, positions: Tensor | None) -> None:
        sides, step = tuple(image.shape[2:]), self.divisor
        if any(n % step or not n for n in sides) or max(sides) == step:
            near = tuple(max(1, -(-n // step)) * step for n in sides)
            near = near if max(near) > step else (2 * step, *near[1:])
            raise InputError(
                f"TextUNet3d: {sides} voxels; each side must divide by {step} and one must be "
                f"longer than that, such as {near}: choose such a patch."
            )
        if text is None:
            return
        n_images, width = len(image), self.text_width
        if text.ndim != 3 or len(text) != n_images or not text.shape[1] or text.shape[2] != width:
            raise InputError(
                f"TextUNet3d: text {tuple(text.shape)}; it needs ({n_images}, N, {width}): "
                "N vectors of the language model's width for each image (text_width)."
            )
        expected = (n_images, 3, *sides) if self.fusion.positions else None
        if expected != (None if positions is None else tuple(positions.shape)):
            got = "none" if positions is None else tuple(positions.shape)
            raise InputError(
                f"TextUNet3d: positions {got}, but this network was built with "
                f"positions={self.fusion.positions} and needs {expected or 'none'}."
            )


def take_batch_norms(network: nn.Module) -> None:
    """Put a batch norm in the place of every instance norm."""
    for block in list(network.modules()):
        for name, child in block.named_children():
            if isinstance(child, nn.InstanceNorm3d):
                setattr(block, name, nn.BatchNorm3d(child.num_features))


def build_text_unet3d(*, text_width: int = 4096, **sizes: Any) -> TextUNet3d:
    """Build the text-guided 3D U-Net; 21,021,408 parameters as released, for Llama-2-7B.

    The release counts 21,486,688: 65,536 more are the learned prompts, which belong to the text
    encoder here, and 399,744 are in attention that never learned. ``sizes`` go to ``TextUNet3d``,
    and to ``Fusion`` those that are fields of it.

    Taught in notebook 15.
    """
    fusion = {field.name: sizes.pop(field.name) for field in fields(Fusion) if field.name in sizes}
    return TextUNet3d(text_width=text_width, fusion=Fusion(**fusion), **sizes)
