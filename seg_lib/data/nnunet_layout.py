"""nnU-Net's raw folders, written and read.

    Dataset001_Lung/  dataset.json   channel names, labels, number of cases, file ending
                      imagesTr/p01_0000.nii.gz   labelsTr/p01.nii.gz   imagesTs/p09_0000.nii.gz
                      imagesTr/p01_0001.nii.gz   the next channel (PET) on the same voxels
                      splits_final.json   the patients that validate (for nnUNet_preprocessed)
                      subtype_mapping.json   where cases have a subtype, as source 004 keeps it

nnU-Net knows no patients; `write_dataset` puts our ``cases.csv`` beside, which nnU-Net ignores, and
`read_dataset` takes each case for a patient. Format: nnU-Net documentation/dataset_format.md at
0e495086. Taught in lesson 20.
"""

import dataclasses
import json
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from seg_lib.data.case_rules import VOLUME_SUFFIXES as ENDINGS
from seg_lib.data.case_rules import Case, check_cases, check_files, first_few
from seg_lib.data.cases import DATASET_JSON, read_channels, write_cases
from seg_lib.data.nifti import read_image
from seg_lib.data.volume_formats import spacing_file
from seg_lib.errors import InputError
from seg_lib.files import write_text, written_whole

SPLITS_JSON, SUBTYPES_JSON = "splits_final.json", "subtype_mapping.json"
FOLDERS = {"train": "Tr", "val": "Val", "test": "Ts"}


def write_dataset(
    cases: Iterable[Case],
    folder: str | Path,
    labels: dict[str, int] | None = None,
    copy_label: Callable[[Path, Path], object] = shutil.copyfile,
) -> list[Case]:
    """Copy cases into the raw layout; training and validation cases go into ``imagesTr``.

    Args:
        cases: with volumes, all of the same ending.
        folder: such as ``nnUNet_raw/Dataset001_Lung``; ``dataset.json`` comes last.
        labels: names and numbers, ``{"background": 0, "lesion": 1}`` if not given.
        copy_label: (source, target) -> None, for labels that change their numbers on the way.

    Returns:
        The cases with their new paths.

    Raises:
        InputError: cases that contradict each other, a file ending without a reader or two of them,
            a training case without label, channels with other voxels than their image.
    """
    cases, folder = list(cases), Path(folder)
    check_cases(cases, folder)
    ending, written = _one_ending((path.name for case in cases for path in case.files), folder), []
    for case in cases:
        if case.split != "test" and case.label is None:
            raise InputError(f"{folder}: training case '{case.case}' has no label; add it.")
        if case.channels:
            read_channels(case, read_image(case.image))
        image, label = raw_paths(folder, case.case, case.split, ending)
        label = label if case.label else None
        channels = channel_files(image, [name for name, _ in case.channels])
        written.append(dataclasses.replace(case, image=image, label=label, channels=channels))
        pairs = list(zip(case.files, written[-1].files, strict=True))
        if ending == ".tif":
            pairs += [(spacing_file(s), t.with_name(f"{case.case}.json")) for s, t in pairs]
        for source, target in pairs:
            if not source.is_file():
                raise InputError(f"{source}: is absent; add it.")
            with written_whole(target) as copy:
                (copy_label if target == label else shutil.copyfile)(source, copy)
    write_cases(written, folder)
    describe(written, folder, labels or {"background": 0, "lesion": 1}, ending)
    return written


def raw_paths(folder: Path, case: str, split: str, ending: str) -> tuple[Path, Path]:
    """Where image and label of a case lie; cases that validate lie with those that train."""
    part = "Ts" if split == "test" else "Tr"
    image = folder / f"images{part}" / f"{case}_0000{ending}"
    return image, folder / f"labels{part}" / f"{case}{ending}"


def channel_files(image: Path, names: Sequence[str]) -> tuple[tuple[str, Path], ...]:
    """Names and files of the channels that follow ``CASE_0000``: ``CASE_0001`` and so on."""
    case, _, ending = image.name.rpartition("_0000")
    files = (image.with_name(f"{case}_{n:04d}{ending}") for n, _ in enumerate(names, 1))
    return tuple(zip(names, files, strict=True))


def describe(cases: list[Case], folder: Path, labels: dict[str, int], ending: str) -> None:
    """Write the JSON files that the cases need, ``dataset.json`` last."""
    parts = {split: [c.case for c in cases if c.split == split] for split in FOLDERS}
    if parts["val"]:
        fold = {"train": parts["train"], "val": parts["val"]}
        write_text(folder / SPLITS_JSON, json.dumps([fold], indent=2) + "\n")
    mapping = {
        c.case: {"subtype": int(c.subtype) if c.subtype in list("0123456789") else c.subtype}
        | {"split": c.split}
        for c in cases
        if c.subtype
    }
    if mapping:
        subtypes = {"mapping": mapping, "validation_cases": parts["val"]}
        write_text(folder / SUBTYPES_JSON, json.dumps(subtypes, indent=2) + "\n")
    channels = ["CT", *dict(cases[0].channels)]
    about = {
        "channel_names": {str(n): name for n, name in enumerate(channels)},
        "labels": labels,
        "numTraining": len(parts["train"]) + len(parts["val"]),
        "file_ending": ending,
    }
    write_text(folder / DATASET_JSON, json.dumps(about, indent=2) + "\n")


def _one_ending(names: Iterable[str], where: Path) -> str:
    """The ending that all these file names have."""
    endings = {next((e for e in ENDINGS if n.endswith(e)), Path(n).suffix) for n in names}
    if len(endings) != 1 or not endings <= set(ENDINGS):
        raise InputError(
            f"{where}: file endings {first_few(endings)}; seg_lib reads {' or '.join(ENDINGS)}, "
            "one of them in the whole data set: convert the others."
        )
    return endings.pop()


def dataset_json(folder: str | Path) -> dict:
    """The checked ``dataset.json`` of a raw folder; ``channels`` are their names in order.

    Raises:
        InputError: no JSON, a key is absent, channels or labels not numbered from 0.
    """
    path = Path(folder) / DATASET_JSON
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        labels = {name: int(number) for name, number in about["labels"].items()}
        channels = [str(about["channel_names"][str(n)]) for n in range(len(about["channel_names"]))]
        about["numTraining"] = int(about["numTraining"])
        _one_ending([f"x{about['file_ending']}"], path)
    except (OSError, UnicodeDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: {type(error).__name__} {error}; it needs channel_names, labels (one whole "
            "number each), numTraining and file_ending."
        ) from error
    if not 0 < len(set(channels)) == len(channels):
        raise InputError(f"{path}: channels {channels}; give each a name of its own.")
    if sorted(labels.values()) != list(range(len(labels))):
        raise InputError(f"{path}: labels {labels}; number them 0 (background), 1, 2, … .")
    return about | {"labels": labels, "channels": channels}


def read_dataset(folder: str | Path) -> list[Case]:
    """The cases of a raw folder: Tr trains (``splits_final.json``: or validates), Ts tests.

    Raises:
        InputError: see `dataset_json`; another number of cases or channels than it says, images or
            labels without the other, names without ``_0000``.
    """
    folder = Path(folder)
    about = dataset_json(folder)
    cases = [case for split, part in FOLDERS.items() for case in _part(folder, part, split, about)]
    n_training = sum(case.split == "train" for case in cases)
    if n_training != about["numTraining"]:
        raise InputError(
            f"{folder}: {n_training} cases in imagesTr, but numTraining {about['numTraining']}; "
            f"copy what is absent, or correct {DATASET_JSON}."
        )
    validate = _known(folder / SPLITS_JSON, lambda folds: set(folds[0]["val"]), set())
    subtypes = _known(
        folder / SUBTYPES_JSON,
        lambda about: {case: str(entry["subtype"]) for case, entry in about["mapping"].items()},
        {},
    )
    for i, case in enumerate(cases):
        split, subtype = "val" if case.case in validate else case.split, subtypes.get(case.case, "")
        cases[i] = dataclasses.replace(case, split=split, subtype=subtype)
    check_cases(cases, folder)
    check_files(cases, folder)
    return cases


def _part(folder: Path, part: str, split: str, about: dict) -> Iterator[Case]:
    """The cases of ``imagesTr`` and ``labelsTr``, or of another part."""
    ending, names = about["file_ending"], about["channels"]
    wanted = [f"{n:04d}" for n in range(len(names))]
    images, wrong = defaultdict(dict), []
    for path in sorted((folder / f"images{part}").glob(f"[!.]*{ending}")):
        case, _, number = path.name.removesuffix(ending).rpartition("_")
        if case and re.fullmatch("[0-9]{4}", number):
            images[case][number] = path
        else:
            wrong.append(path.name)
    labels = {p.name: p for p in (folder / f"labels{part}").glob(f"[!.]*{ending}")}
    alone = labels.keys() - {case + ending for case in images}
    if wrong or alone:
        raise InputError(
            f"{folder}: images{part} without channel number: {first_few(wrong)}; labels{part} "
            f"without image: {first_few(alone)}; call them CASE_0000{ending} and CASE{ending}."
        )
    for case, files in images.items():
        if list(files) != wanted:
            absent, unknown = set(wanted) - set(files), set(files) - set(wanted)
            raise InputError(
                f"{folder}: case '{case}' of images{part}: channels {', '.join(names)} are named; "
                f"absent: {first_few(absent)}, too many: {first_few(unknown)}; add or remove "
                f"{case}_{min(absent | unknown)}{ending}, or correct {DATASET_JSON}."
            )
        image, *further = files.values()
        channels = tuple(zip(names[1:], further, strict=True))
        yield Case(case, case, image, labels.get(case + ending), split, channels=channels)


def _known(path: Path, pick: Callable[[Any], Any], absent: Any) -> Any:
    """What ``pick`` takes from a JSON file that may be absent."""
    try:
        return pick(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else absent
    except (UnicodeDecodeError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not in the form that write_dataset gives; delete it.") from error
