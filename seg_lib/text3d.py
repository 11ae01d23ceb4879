"""Text-guided 3D segmentation of sources 000 and 001, for ``seg-lib train text3d`` and the lessons.

    1  image only   patches, half of them on the tumour
    2  look again   what the network takes for the tumour and is none gets patches of its own
    3  with notes   the same patches with their notes, some of them with the note of somebody else

Without the third line's "somebody else" a network learns by heart which nodule is the tumour in
each of its few patients, and never needs to read. Taught in notebook 15.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seg_lib.course.profiles import Settings
from seg_lib.data.nifti import Volume, read_image
from seg_lib.data.patches import NotedPatches, greys, positions_of
from seg_lib.data.volumes import Preparation, Prepared, prepare
from seg_lib.errors import InputError, Interrupted
from seg_lib.inference import SlidingWindow, foreground_of, mask_of, sliding_window
from seg_lib.memory import keep_memory
from seg_lib.models import build_model
from seg_lib.models.language_model import load_language_model
from seg_lib.models.presets import sizes_for
from seg_lib.models.text_encoder import TextEncoder
from seg_lib.models.text_guided import TextGuided
from seg_lib.processes import n_processes
from seg_lib.run_log import read_history
from seg_lib.small_llama import train_small_llama
from seg_lib.steps import text_segmentation_step
from seg_lib.training import fit, load_weights, seed_everything
from seg_lib.volumes3d import (
    LOSSES,
    Parts,
    preparation_of,
    score_masks,
    sliding_of,
    volume_validation,
)

LANGUAGE_MODEL = "language_model"  # folder beside the weights, where a small Llama was trained


class Told(nn.Module):
    """A text-guided network that has read one note, as a network of windows.

    Args:
        model: to be told.
        note: None leaves text out.
    """

    def __init__(self, model: TextGuided, note: str | None):
        super().__init__()
        self.model = model
        with torch.no_grad():
            self.text = None if note is None else model.states([note])

    def forward(self, windows: Tensor) -> Tensor:
        """(B, 4, X, Y, Z), image and positions -> logits (B, K, X, Y, Z)."""
        image, positions = windows[:, :1], windows[:, 1:]
        if self.text is None:
            return self.model.unet(image)
        return self.model.unet(image, self.text.expand(len(image), -1, -1), positions)


def logits_of(model: TextGuided, volume: Prepared, note: str | None, how: SlidingWindow) -> Tensor:
    """Logits (1, K, X, Y, Z) of a prepared volume with a note."""
    image = torch.from_numpy(volume.image)[None]
    whole = torch.cat([image, positions_of(volume.image.shape)])[None]
    return sliding_window(Told(model, note), whole, how)


def own_note(model: TextGuided, volume: Prepared, how: SlidingWindow) -> Tensor:
    """Logits of a volume with the note that came with it."""
    return logits_of(model, volume, volume.case.note, how)


def no_note(model: TextGuided, volume: Prepared, how: SlidingWindow) -> Tensor:
    """Logits of a volume by the image alone."""
    return logits_of(model, volume, None, how)


def predict_noted(
    model: TextGuided,
    volume: Volume,
    note: str | None,
    prepared_as: Preparation,
    how: SlidingWindow,
) -> np.ndarray:
    """Mask (X, Y, Z) uint8 of a volume with its note, on the grid of the volume."""
    ready = prepare(volume, prepared_as)
    return mask_of(logits_of(model, ready, note, how), ready.place)


def text_guided(
    language_model: str | Path, encoder: dict[str, Any], sizes: dict[str, Any]
) -> TextGuided:
    """Build the network without trained weights.

    Args:
        language_model: folder or hub name; see `load_language_model`.
        encoder: see `TextEncoder`.
        sizes: see `build_text_unet3d`; the width of the text comes from the language model.
    """
    tokenizer, llama = load_language_model(language_model)
    reader = TextEncoder(llama, **encoder)
    unet = build_model("text_unet3d", **sizes | {"text_width": reader.width})
    return TextGuided(unet, reader, tokenizer).to(reader.seg.device)  # that of the Llama


def build_as_trained(about: dict[str, Any], run_dir: Path) -> TextGuided:
    """The network of a run, whose small Llama lies beside its weights."""
    name = about["language_model"]
    if name == LANGUAGE_MODEL:
        name = str(run_dir / name)
    return text_guided(name, about["encoder"], about["sizes"])


def language_model_for(out: Path, sizes: Settings, seed: int) -> str:
    """The name in the sizes, or else the folder of a small Llama, trained if it is not there."""
    if sizes.language_model:
        return sizes.language_model
    folder = out / LANGUAGE_MODEL
    if not (folder / "config.json").exists():
        train_small_llama(folder, sizes.llama_steps, seed)
    return str(folder)


def train_text(parts: Parts, out: str | Path, sizes: Settings, seed: int, **how: Any) -> TextGuided:
    """Train in the three steps above and return the network with its best weights.

    Args:
        parts: train, val and test volumes with notes; the test is not looked at.
        out: folder of the run; the image-only network is kept in its folder ``image_only``.
        sizes: see lesson 15 in `seg_lib.course.sizes`.
        seed: of weights, patches and notes.
        how: ``minutes`` of each step, ``resume``, ``with_notes`` (False: no text in step 3).

    Raises:
        InputError: several processes; in step 1 a part of the network has no gradient.
        Interrupted: by a signal or by ``minutes``.
    """
    if n_processes() > 1:
        raise InputError("text3d trains in one process; start it without torchrun and --gpus 1.")
    train, val, _ = parts
    out, with_notes, resume = Path(out), how.get("with_notes", True), how.get("resume", False)
    keep_memory()
    seed_everything(seed)
    numbers = sizes_for("text_unet3d", 0, sizes.preset)
    model = text_guided(language_model_for(out, sizes, seed), sizes.encoder, numbers)
    about = {"with_notes": with_notes, "sizes": numbers} | _about(sizes)

    def run(folder: Path, notes: bool, epochs: int, minutes=None, **hard: Any) -> None:
        """One training; afterwards the model has its best weights."""
        drawn = {"patches": sizes.patches, "positives": sizes.positives, "augment": greys}
        drawn |= {"batch_size": sizes.batch_size, "seed": seed}
        batches = NotedPatches(
            train, sizes.patch, other_note=sizes.other_note if notes else 0.0, **drawn, **hard
        )
        config = dataclasses.replace(sizes.train_config(seed, minutes), epochs=epochs)
        step = partial(text_segmentation_step, loss=LOSSES[sizes.loss], with_notes=notes)
        validate = volume_validation(val, sliding_of(sizes), own_note if notes else no_note)
        goes_on = resume and (folder / "last.safetensors").exists()
        fit(model, step, batches, config, folder, validate, resume=goes_on, about=about)
        if (stopped := read_history(folder)["stopped"]) in ("minutes", "signal"):
            raise Interrupted(f"{folder}: stopped ({stopped}) and saved; --resume goes on.")
        load_weights(model, folder / "best.safetensors")

    run(out / "image_only", False, sizes.image_epochs, how.get("minutes"))
    model.standardise([volume.case.note for volume in train])
    hard = [false_alarms(model, volume, sizes) for volume in train] if with_notes else None
    run(out, with_notes, sizes.epochs, how.get("minutes"), hard=hard)
    return model


def _about(sizes: Settings) -> dict[str, Any]:
    about = {"task": "text3d", "network": "text_unet3d", "patch": list(sizes.patch)}
    about |= {"language_model": sizes.language_model or LANGUAGE_MODEL, "encoder": sizes.encoder}
    return about | {"preparation": dataclasses.asdict(preparation_of(sizes))}


def false_alarms(model: TextGuided, volume: Prepared, sizes: Settings) -> np.ndarray:
    """Flat indices of voxels that the image-only network takes for the tumour and that are none."""
    found = foreground_of(no_note(model, volume, sliding_of(sizes))) >= 0.25
    return np.flatnonzero(found & (volume.label == 0))


def score_noted(
    model: TextGuided,
    volumes: Sequence[Prepared],
    notes: Sequence[str | None],
    sizes: Settings,
) -> list[dict[str, Any]]:
    """Every metric of every case, predicted from its file with the given notes."""
    how, sliding = preparation_of(sizes), sliding_of(sizes)
    masks = (
        predict_noted(model, read_image(v.case.image), note, how, sliding)
        for v, note in zip(volumes, notes, strict=True)
    )
    return score_masks(volumes, masks)


def score_on_noted(model: TextGuided, parts: Parts, sizes: Settings) -> dict[str, list]:
    """Rows of the network with the notes, and with none, on the test volumes."""
    test = parts[2]
    return {
        "network": score_noted(model, test, [v.case.note for v in test], sizes),
        "without text": score_noted(model, test, [None] * len(test), sizes),
    }
