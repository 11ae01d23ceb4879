"""Text-guided 3D segmentation of sources 000 and 001, for ``seg-lib train text3d`` and the lessons.

    1  image only   patches, half of them on the tumour
    2  look again   what the network takes for the tumour and is none gets patches of its own
    3  with notes   the same patches with their notes, some of them with the note of somebody else;
                    its rival goes on without notes, with the same patches

Without the third line's "somebody else" a network learns by heart which nodule is the tumour in
each of its few patients, and never needs to read. And without ``jitter`` of the patches it learns
that the tumour is what lies in the middle of a patch: of several nodules there is no other sign.
Taught in notebook 15.
"""

import contextlib
import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seg_lib.course.profiles import Settings
from seg_lib.data.nifti import read_image
from seg_lib.data.patches import NotedPatches, greys
from seg_lib.data.volumes import Prepared
from seg_lib.errors import Interrupted
from seg_lib.files import written_whole
from seg_lib.inference import foreground_of
from seg_lib.models import build_model
from seg_lib.models.language_model import load_language_model
from seg_lib.models.presets import fast_layout, sizes_for
from seg_lib.models.text_encoder import TextEncoder
from seg_lib.models.text_guided import TextGuided
from seg_lib.processes import batch_per_process, main_process_first, n_processes
from seg_lib.run_log import read_history
from seg_lib.runs import can_go_on
from seg_lib.small_llama import train_small_llama
from seg_lib.steps import text_segmentation_step
from seg_lib.text_inference import no_note, own_note, predict_noted, warn_of_cut
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
HARD = "false_alarms.npz"  # file beside the weights of the image-only network
LLAMA = "from seg_lib.small_llama import train_small_llama; train_small_llama({!r}, {}, {})"
PLACES = {"RANK", "LOCAL_RANK", "WORLD_SIZE"}  # what a launcher tells each of its processes


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
    unet = unet.to(memory_format=fast_layout("text_unet3d"))
    return TextGuided(unet, reader, tokenizer).to(reader.seg.device)  # that of the Llama


def build_as_trained(about: dict[str, Any], run_dir: Path) -> TextGuided:
    """The network of a run, whose small Llama lies beside its weights."""
    name = about["language_model"]
    if name == LANGUAGE_MODEL:
        name = str(run_dir / name)
    return text_guided(name, about["encoder"], about["sizes"])


def language_model_for(out: Path, sizes: Settings, seed: int) -> str:
    """The name in the sizes, or else the folder of a small Llama, trained if it is not there.

    Of several processes the first trains it, in a process of its own that knows of no others.
    """
    if sizes.language_model:
        return sizes.language_model
    folder = str(out / LANGUAGE_MODEL)
    with main_process_first():
        if not (out / LANGUAGE_MODEL / "config.json").exists():
            if n_processes() == 1:
                train_small_llama(folder, sizes.llama_steps, seed)
            else:
                alone = {name: value for name, value in os.environ.items() if name not in PLACES}
                code = LLAMA.format(folder, sizes.llama_steps, seed)
                subprocess.run([sys.executable, "-c", code], env=alone, check=True)
    return folder


def untrained(out: Path, sizes: Settings, seed: int) -> TextGuided:
    """The network of a lesson before its training, with its language model."""
    name = language_model_for(out, sizes, seed)
    seed_everything(seed)  # now: the weights do not depend on whether a Llama was trained here
    return text_guided(name, sizes.encoder, sizes_for("text_unet3d", 0, sizes.preset))


def train_text(parts: Parts, out: str | Path, sizes: Settings, seed: int, **how: Any) -> TextGuided:
    """Train in the three steps above and return the network with its best weights.

    Args:
        parts: train, val and test volumes with notes; the test is not looked at.
        out: folder of the run; the image-only network is kept in its folder ``image_only``.
        sizes: see lesson 15 in `seg_lib.course.sizes`.
        seed: of weights, patches and notes.
        how: ``minutes`` of each step, ``resume``, ``with_notes`` (False: no text in step 3),
            ``model`` to start from, such as one of `seg_lib.contrastive`; else ``untrained``.

    Raises:
        InputError: several processes cannot share the batch.
        Interrupted: by a signal or by ``minutes``.
    """
    (train, val, _), drawn = parts, _drawn(sizes, seed)
    out, with_notes, resume = Path(out), how.get("with_notes", True), how.get("resume", False)
    seed_everything(seed)
    model = how.get("model") or untrained(out, sizes, seed)
    about = {"with_notes": with_notes} | _about(sizes)

    def run(folder: Path, notes: bool, epochs: int, minutes=None, **hard: Any) -> None:
        """One training; afterwards the model has its best weights."""
        other = {"other_note": sizes.other_note if notes else 0.0}
        batches = NotedPatches(train, sizes.patch, **drawn, **other, **hard)
        config = dataclasses.replace(sizes.train_config(seed, minutes), epochs=epochs)
        step = partial(text_segmentation_step, loss=LOSSES[sizes.loss], with_notes=notes)
        validate = volume_validation(val, sliding_of(sizes), own_note if notes else no_note)
        goes_on = resume and can_go_on(folder)
        with _frozen_text(model, notes):
            fit(model, step, batches, config, folder, validate, resume=goes_on, about=about)
        if (stopped := read_history(folder)["stopped"]) in ("minutes", "signal"):
            raise Interrupted(f"{folder}: stopped ({stopped}) and saved; --resume goes on.")
        load_weights(model, folder / "best.safetensors")

    if not resume:
        (out / "image_only" / HARD).unlink(missing_ok=True)
    run(out / "image_only", False, sizes.image_epochs, how.get("minutes"))
    model.standardise([volume.case.note for volume in train])
    for case in (volume.case for volume in train):
        warn_of_cut(model, case.case, case.note)
    with main_process_first():  # the first looks again, the others read what it found
        hard = _hard_places(model, train, sizes, out / "image_only" / HARD)
    run(out, with_notes, sizes.epochs, how.get("minutes"), hard=hard)
    return model


@contextlib.contextmanager
def _frozen_text(model: TextGuided, notes: bool) -> Iterator[None]:
    """Without notes, what listens does not learn: several processes wait for every gradient."""
    frozen = [] if notes else [*model.encoder.parameters(), *model.unet.listen.parameters()]
    frozen = [weight for weight in frozen if weight.requires_grad]
    for weight in frozen:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in frozen:
            weight.requires_grad_(True)


def _drawn(sizes: Settings, seed: int) -> dict[str, Any]:
    drawn = {name: sizes.sizes[name] for name in ("patches", "positives", "jitter")}
    drawn |= {"batch_size": batch_per_process(sizes.batch_size)}
    return drawn | {"augment": greys, "seed": seed}


def _about(sizes: Settings) -> dict[str, Any]:
    about = {"task": "text3d", "network": "text_unet3d", "patch": list(sizes.patch)}
    about |= {"sizes": sizes_for("text_unet3d", 0, sizes.preset)}
    about |= {"language_model": sizes.language_model or LANGUAGE_MODEL, "encoder": sizes.encoder}
    return about | {"preparation": dataclasses.asdict(preparation_of(sizes))}


def false_alarms(model: TextGuided, volume: Prepared, sizes: Settings) -> np.ndarray:
    """Flat indices of voxels that the image-only network takes for the tumour and that are none."""
    found = foreground_of(no_note(model, volume, sliding_of(sizes))) >= 0.25
    return np.flatnonzero(found & (volume.label == 0))


def _hard_places(
    model: TextGuided, volumes: Sequence[Prepared], sizes: Settings, kept: Path
) -> list[np.ndarray]:
    """False alarms in every volume; ``kept`` beside the network that raised them, by case."""
    found = dict(np.load(kept)) if kept.is_file() else {}
    new = {v.case.case: v for v in volumes if v.case.case not in found}
    found |= {name: false_alarms(model, volume, sizes) for name, volume in new.items()}
    if new:
        with written_whole(kept) as part:
            np.savez_compressed(part, **found)
    return [found[volume.case.case] for volume in volumes]


def score_noted(
    model: TextGuided, volumes: Sequence[Prepared], notes: Sequence[str | None], sizes: Settings
) -> list[dict[str, Any]]:
    """Every metric of every case, predicted from its file with the given notes."""
    how, sliding = preparation_of(sizes), sliding_of(sizes)
    masks = (
        predict_noted(model, read_image(v.case.image), note, how, sliding)
        for v, note in zip(volumes, notes, strict=True)
    )
    return score_masks(volumes, masks)


def score_on_noted(model: TextGuided, parts: Parts, sizes: Settings) -> dict[str, list]:
    """Rows of the test with the notes and, where it has several patients, with those of others."""
    test, cases = parts[2], [volume.case for volume in parts[2]]
    rows = {"network": score_noted(model, test, [case.note for case in cases], sizes)}
    if len({case.patient for case in cases}) > 1:
        others = [
            next(c.note for c in cases[n:] + cases[:n] if c.patient != case.patient)
            for n, case in enumerate(cases)
        ]
        rows["note of another patient"] = score_noted(model, test, others, sizes)
    return rows
