"""Contrastive pretraining of source 001: which note belongs to which tumour?

    patch with a tumour ─ encoder of the U-Net ─ mean, and where it lies ─ project ─> (B, E) ┐
                                                                                        InfoNCE
    its note ─ frozen language model and learned prompts ──────────────── project ─> (B, E) ┘

In a batch every image must find its own note and every note its own image. The encoder and the
prompts are kept: segmentation starts from them. Taught in notebook 15.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_lib.data.patches import NotedPatches, greys
from seg_lib.data.volumes import Prepared
from seg_lib.errors import InputError
from seg_lib.losses import contrastive_alignment_loss
from seg_lib.models.text_guided import TextGuided
from seg_lib.processes import n_processes
from seg_lib.training import TrainConfig, fit


class Aligner(nn.Module):
    """Images and notes as points of one space.

    Args:
        guided: whose image encoder and prompts learn.
        size: E, features of a point.
    """

    def __init__(self, guided: TextGuided, size: int = 32):
        super().__init__()
        self.guided = guided
        n_image = guided.unet.decoder[0].up.in_channels + 3
        n_text = guided.mean.numel()
        self.project_image = nn.Sequential(nn.Linear(n_image, 64), nn.ReLU(), nn.Linear(64, size))
        self.project_text = nn.Sequential(nn.Linear(n_text, 64), nn.ReLU(), nn.Linear(64, size))

    def forward(
        self, image: Tensor, notes: Sequence[str], positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(B, 1, X, Y, Z), B texts, (B, 3, X, Y, Z) -> points of the images and notes, (B, E)."""
        seen = self.guided.unet.encode(image)[-1].mean(dim=(2, 3, 4))
        where = positions.mean(dim=(2, 3, 4))
        read = self.guided.states(notes).flatten(1)
        return self.project_image(torch.cat([seen, where], 1)), self.project_text(read)


def alignment_step(model: Aligner, batch: dict[str, Any]) -> dict[str, Tensor]:
    """InfoNCE over a batch of `NotedPatches`."""
    points = model(batch["image"], batch["note"], batch["positions"])
    return {"loss": contrastive_alignment_loss(*points)}


def pairs_of(
    volumes: Sequence[Prepared], patch: Sequence[int], batch_size: int, **how: Any
) -> NotedPatches:
    """A patch with a tumour in its middle of every patient with a note, and that note.

    One a patient, so that no note stands twice in a batch, where each would be wrong for the other.

    Raises:
        InputError: fewer than two volumes with a note; there is nothing to confuse.
    """
    noted = [volume for volume in volumes if volume.case.note]
    if len(noted) < 2:
        raise InputError(f"{len(noted)} volumes with a note; contrastive pretraining needs two.")
    own = {"positives": 1.0, "other_note": 0.0, "without_note": 0.0}
    return NotedPatches(noted, patch, batch_size=batch_size, patches=1, **own, **how)


def pretrain_aligned(
    guided: TextGuided,
    volumes: Sequence[Prepared],
    patch: Sequence[int],
    config: TrainConfig,
    out_dir: str | Path,
    batch_size: int = 48,
) -> Aligner:
    """Train encoder and prompts on pairs in float32; ``guided`` has them afterwards.

    With bfloat16 on a CPU the encoder gave NaN for some batches; why is not known.

    Args:
        guided: changed; ``standardise`` should have been called on it.
        volumes: of the training, with labels and notes.
        patch: voxels along x, y and z.
        config: of the training; ``epochs`` passes with a patch of every volume.
        out_dir: gets the run.
        batch_size: a note has so many images to choose from.

    Raises:
        InputError: more than one process; each would see the pairs of its own share only.

    Taught in notebook 15.
    """
    if n_processes() > 1:
        raise InputError("contrastive pretraining compares all pairs of a batch: one process only.")
    model = Aligner(guided)
    batches = pairs_of(volumes, patch, batch_size, augment=greys, seed=config.seed)
    config = dataclasses.replace(config, precision="no")
    fit(model, alignment_step, batches, config, out_dir, about={"task": "contrastive"})
    return model


@torch.no_grad()
def retrieval(
    model: Aligner, volumes: Sequence[Prepared], patch: Sequence[int], seed: int = 0
) -> dict[str, float]:
    """How often the nearest note is the right one, and the nearest image.

    Args:
        model: of ``pretrain_aligned``.
        volumes: held out, with labels and notes.
        patch: as in the training.
        seed: of where in the tumour the patches have their middle.

    Returns:
        {"image_to_text": R@1, "text_to_image": R@1, "n": pairs, "chance": 1 / n}.
    """
    device, found = next(model.eval().parameters()).device, []
    for batch in pairs_of(volumes, patch, 16, seed=seed):
        image, positions = (batch[name].to(device) for name in ("image", "positions"))
        found.append(model(image, batch["note"], positions))
    image, text = (F.normalize(torch.cat(part), dim=1).cpu() for part in zip(*found, strict=True))
    alike, own = image @ text.T, torch.arange(len(image))
    return {
        "image_to_text": float((alike.argmax(1) == own).float().mean()),
        "text_to_image": float((alike.argmax(0) == own).float().mean()),
        "n": len(own),
        "chance": 1 / len(own),
    }
