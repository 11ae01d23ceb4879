"""A case, the pairing of its two files, and what must hold of a list of cases."""

import dataclasses
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from seg_lib.errors import DataWarning, InputError
from seg_lib.files import sha256_of

SPLITS = ("train", "val", "test")
VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".tif")
IMAGE_SUFFIXES = (*VOLUME_SUFFIXES, ".png", ".jpg")


@dataclasses.dataclass(frozen=True)
class Case:
    """One image with everything known about it; ids stay text, so ``007`` keeps its zeros."""

    case: str
    patient: str
    image: Path
    label: Path | None = None
    split: str = "train"
    note: str = ""
    subtype: str = ""
    spacing_mm: tuple[float, ...] | None = None
    channels: tuple[tuple[str, Path], ...] = ()  # further images on its voxels, such as PET

    @property
    def files(self) -> list[Path]:
        """Image, further channels and, if there is one, label."""
        further = [file for _, file in self.channels]
        return [self.image, *further, *([self.label] if self.label else [])]


def first_few(names: Iterable[object], limit: int = 5) -> str:
    """Join names for a message, sorted and shortened: ``a, b and 3 more``; ``none`` if empty."""
    names = sorted(str(name) for name in names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "none") + more


def mask_name(image: Path) -> str:
    """Of the mask predicted for an image: the same, but other formats of volumes become NIfTI."""
    other = image.name.endswith(VOLUME_SUFFIXES[2:])
    return f"{image.stem}.nii.gz" if other else image.name


def pair_by_name(images_dir: str | Path, labels_dir: str | Path) -> dict[str, tuple[Path, Path]]:
    """Pair two folders by exact file name (without suffix), so that p1 never meets p10.

    Returns ``{name: (image, label)}``, sorted by name.

    Raises:
        InputError: an image without label, or a label without image; lists them.
    """
    images, labels = _by_name(Path(images_dir)), _by_name(Path(labels_dir))
    if images.keys() != labels.keys():
        raise InputError(
            f"{images_dir} and {labels_dir}: images without label: "
            f"{first_few(images.keys() - labels.keys())}; labels without image: "
            f"{first_few(labels.keys() - images.keys())}; give both the same name."
        )
    return {name: (images[name], labels[name]) for name in sorted(images)}


def _by_name(folder: Path) -> dict[str, Path]:
    """Image files of a folder by their name without suffix; hidden files do not count."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; check the path.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        suffix = next((end for end in IMAGE_SUFFIXES if path.name.endswith(end)), None)
        if suffix is None or path.name.startswith("."):
            continue
        name = path.name.removesuffix(suffix)
        if name in found:
            raise InputError(f"{path} and {found[name]}: two files for one case; keep one.")
        found[name] = path
    return found


def check_cases(cases: Sequence[Case], where: str | Path) -> None:
    """Refuse cases that contradict each other; ``where`` is named in the message.

    Raises:
        InputError: no case at all, unusable or duplicate ids, unknown split words, a split that
            mixes cases with and without label, a patient in two splits, a channel that is missing.
    """
    if not cases:
        raise InputError(f"{where}: no case is listed; add at least one line under the header.")
    for case in cases:
        _check_one(case, where)
    name, times = Counter(case.case for case in cases).most_common(1)[0]
    if times > 1:
        raise InputError(f"{where}: case '{name}' is listed twice; keep one of them.")
    _check_patients_apart(cases, where)
    names = list(dict.fromkeys(name for case in cases for name, _ in case.channels))
    for case in cases:
        if names != (found := [name for name, _ in case.channels]):
            raise InputError(
                f"{where}: case '{case.case}' has the channels {['CT', *found]}, where others have "
                f"{['CT', *names]}; add what is missing or take the case out."
            )
    # A split is labelled or it is not; a few absent labels are a mistake, not a choice.
    for split in SPLITS:
        of_split = [case for case in cases if case.split == split]
        without = [case.case for case in of_split if case.label is None]
        if without and len(without) < len(of_split):
            raise InputError(
                f"{where}: cases without label in split '{split}', where others have one: "
                f"{first_few(without)}; add the labels or take these cases out."
            )


def _check_one(case: Case, where: str | Path) -> None:
    name = case.case
    # Ids become file names when masks and copies are written, so they must not lead elsewhere.
    if not name or name != name.strip() or name.startswith(".") or set(name) & set("/\\\0\n\r"):
        raise InputError(
            f"{where}: '{name}' cannot be a case id; use a text without slashes, line breaks, "
            "a leading dot or spaces around it."
        )
    if not case.patient.strip():
        raise InputError(f"{where}: case '{name}' has no patient; repeat the case id if need be.")
    if case.split not in SPLITS:
        raise InputError(f"{where}: case '{name}': split '{case.split}'; use {', '.join(SPLITS)}.")


def _check_patients_apart(cases: Sequence[Case], where: str | Path) -> None:
    """Refuse a patient who is in more than one split: the test would be no test."""
    places = Counter(patient for patient, _ in {(case.patient, case.split) for case in cases})
    crossing = [patient for patient, n_splits in places.items() if n_splits > 1]
    if crossing:
        raise InputError(
            f"{where}: patients in more than one split: {first_few(crossing)}; put all images of "
            "a patient into one split (split_cases does that)."
        )


def check_files(cases: Sequence[Case], where: str | Path) -> None:
    """Refuse absent files; warn if the same image, byte for byte, is in two splits.

    Raises:
        InputError: lists the first absent files.
    """
    files = [path for case in cases for path in case.files]
    absent = [path for path in files if not path.is_file()]
    if absent:
        raise InputError(
            f"{where}: {len(absent)} of {len(files)} files are absent: {first_few(absent)}; "
            "put them there or take their lines out."
        )
    # Files of different size differ, so almost none of a large data set has to be read.
    for same_size in _in_two_splits(cases, lambda case: case.image.stat().st_size):
        for same_bytes in _in_two_splits(same_size, lambda case: sha256_of(case.image)):
            names = first_few(f"{case.case} ({case.split})" for case in same_bytes)
            what = f"the same image is in more than one split: {names}"
            message = f"{where}: {what}; scores on it are too good, so take one out."
            warnings.warn(message, DataWarning, stacklevel=3)


def _in_two_splits(cases: Sequence[Case], key: Callable[[Case], object]) -> Iterator[list[Case]]:
    """Groups of cases with an equal key that span more than one split."""
    groups = defaultdict(list)
    for case in cases:
        groups[key(case)].append(case)
    return (group for group in groups.values() if len({case.split for case in group}) > 1)
