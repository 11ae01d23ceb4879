"""A trained network in one line, from the folder of a run or from the Hugging Face hub.

    load_trained("runs/first").predict("scan.nii.gz", "mask.nii.gz")
    load_trained("hf:owner/name")                     what ``push_to_hub`` put there

Taught in notebook 06.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from seg_lib.data.case_rules import mask_name
from seg_lib.data.notes import read_notes
from seg_lib.errors import InputError
from seg_lib.model_card import CARD, RESULTS, WEIGHTS
from seg_lib.tasks import TASKS, Task
from seg_lib.text3d import LANGUAGE_MODEL
from seg_lib.training import load_checkpoint, load_weights

HUB = "hf:"
LOOK_FIRST = ("volumes3d", "pancreas")  # tasks whose networks need nothing but the image
FILES = [WEIGHTS, CARD, RESULTS, f"{LANGUAGE_MODEL}/*"]


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network with its weights, and what its checkpoint says of it."""

    model: nn.Module
    about: dict[str, Any]
    task: Task
    folder: Path  # with its card and results

    def predict(self, image: str | Path, out: str | Path) -> None:
        """Write the mask of one volume (HU) or PNG slice on its grid.

        Raises:
            InputError: the image cannot be used.
        """
        self.task.predict(self.model, self.about, Path(image), Path(out))


def load_trained(
    run: str | Path,
    notes: Path | None = None,
    coarse: str | Path | None = None,
    margin_mm: float = 15.0,
) -> Trained:
    """Load what ``seg-lib train`` wrote.

    Args:
        run: its folder, or ``hf:owner/name``, if need be with ``@revision``.
        notes: table with a note for each image, for a network that reads; see `read_notes`.
        coarse: run of a 3D network that looks first; see `coarse_box`.
        margin_mm: around what it finds.

    Raises:
        InputError: no run, one that cannot be used, or the hub is out of reach.
    """
    folder = from_hub(str(run).removeprefix(HUB)) if str(run).startswith(HUB) else Path(run)
    weights = folder / WEIGHTS
    _, about = load_checkpoint(weights)
    task = TASKS.get(about.get("task", "slices2d"))
    missing = [name for name in task.needs if name not in about] if task else ["a known task"]
    if missing:
        raise InputError(f"{weights}: lacks {', '.join(missing)}; give a run of 'seg-lib train'.")
    try:
        model = task.build(about, folder)
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        told = f"{weights}: its sizes do not build {about['network']!r} ({error})"
        raise InputError(f"{told}; give a run of 'seg-lib train' as it was written.") from error
    load_weights(model, weights)
    about["notes"] = read_notes(notes) if notes else None
    if coarse:
        about["coarse"] = load_coarse(coarse, about), margin_mm
    return Trained(model.eval(), about, task, folder)


def load_coarse(run: str | Path, about: dict[str, Any]) -> Trained:
    """The network that looks first for the one of ``about``.

    Raises:
        InputError: one of them is 2D, this one reads notes, or their images have other channels.
    """
    first = load_trained(run)
    ours, its = (each.get("task", "slices2d") for each in (about, first.about))
    if its not in LOOK_FIRST or ours == "slices2d":
        raise InputError(
            f"{run}: {its} cannot look first for {ours}; --coarse takes a run of "
            f"{' or '.join(LOOK_FIRST)}, for a network that is 3D too."
        )
    ours, its = (each.get("sizes", {}).get("in_channels", 1) for each in (about, first.about))
    if max(its, ours) > 1:
        raise InputError(
            f"{run}: its images have {its} channels, those of the network after it {ours}; "
            "--coarse is for images of one channel."
        )
    return first


def predict_files(
    run: str | Path, images: Sequence[Path], out: Path, **beside: Any
) -> list[tuple[Path, str | None]]:
    """Segment files with the best network of a run; one fault does not stop the others.

    Args:
        run: as for ``load_trained``.
        images: volumes in HU, or PNG slices.
        out: gets a mask with the name of each image, on its grid.
        beside: as for ``load_trained``.

    Returns:
        (image, None or what was wrong with it) each.

    Raises:
        InputError: the run cannot be used, or two images have the same name.
    """
    names = [mask_name(Path(image)) for image in images]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"Two images are called {sorted(twice)[0]}; predict them one by one.")
    trained, outcomes = load_trained(run, **beside), []
    for image in images:
        try:
            trained.predict(image, out / mask_name(Path(image)))
            outcomes.append((image, None))
        except InputError as fault:
            told = str(fault) if str(image) in str(fault) else f"{image}: {fault}"
            outcomes.append((image, told))
    return outcomes


def from_hub(name: str) -> Path:
    """The folder with the files of ``owner/name[@revision]``, downloaded or from the cache.

    Raises:
        InputError: the hub does not answer, or has no such network.
    """
    from huggingface_hub import snapshot_download

    repo, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=FILES))
    except Exception as error:  # its client raises errors of its own, and those of others
        raise InputError(_told(f"{HUB}{name}", error)) from error


def push_to_hub(run_dir: str | Path, repo: str, private: bool = True) -> str:
    """Put weights, card and results of a run on the hub, as ``owner/name``; returns the address.

    Only ``FILES`` go there. ``hf auth login`` comes first, once.

    Raises:
        InputError: no run with a card, no rights, or the hub does not answer.
    """
    from huggingface_hub import HfApi

    absent = [name for name in (WEIGHTS, CARD) if not (Path(run_dir) / name).is_file()]
    if absent:
        raise InputError(f"{run_dir}: lacks {', '.join(absent)}; give a run of 'seg-lib train'.")
    try:
        api = HfApi()
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=run_dir, allow_patterns=FILES)
    except Exception as error:
        raise InputError(_told(f"{HUB}{repo}", error)) from error
    return str(address)


def _told(what: str, error: Exception) -> str:
    why = " ".join(str(error).split())[:300] or type(error).__name__
    return f"{what}: {why}; check name, network and rights ('hf auth login')."
