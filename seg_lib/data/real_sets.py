"""Folders of real data sets, as their makers pack them: verified, and prepared for training.

A manifest's ``layout`` names the files: ``imagesTr/{case}.nii.gz`` finds images anywhere below the
folder, and the label of each beside them. Taught in lesson 20.
"""

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from seg_lib.data.archives import ignored
from seg_lib.data.case_rules import Case, first_few
from seg_lib.data.cases import split_cases
from seg_lib.data.check_data import Problem
from seg_lib.data.download import known_hash, wrong_hash
from seg_lib.data.manifests import Manifest
from seg_lib.data.nifti import read_mask, write_mask
from seg_lib.data.nnunet_layout import write_dataset
from seg_lib.data.pickles import pickle_to_npz
from seg_lib.data.slices import pickle_to_png
from seg_lib.errors import InputError


def verify(manifest: Manifest, folder: str | Path) -> list[Problem]:
    """Compare a folder with what its manifest says; what must be fixed comes first.

    Raises:
        InputError: no such folder, or nothing of the set lies in it.
    """
    folder = Path(folder)
    names = _names(folder)
    parts = list(_parts(manifest, folder, names))
    files = manifest["access"].get("files", [])
    here = {PurePosixPath(name).name: folder / name for name in names}
    if not any(n for _, n in parts) and not any(file["name"] in here for file in files):
        raise InputError(f"{folder}: nothing of {manifest['id']} lies here; check the folder.")
    problems = [_count(part, n, manifest["cases"][part]) for part, n in parts]
    problems += [_file_fault(file, here, folder, manifest["kind"]) for file in files]
    lost = [case.case for case in _cases(manifest, folder, names) if _lost(case)]
    if lost:
        what = f"{len(lost)} images without label: {first_few(lost)}"
        problems.append(Problem("all", what, "copy or download the labels", True))
    problems += [
        Problem(case, pitfall["text"], "leave it out" if pitfall.get("leave_out") else "-", False)
        for pitfall in manifest["pitfalls"]
        for case in pitfall.get("cases", [])
        if any(case in name for name in names)
    ]
    return sorted(filter(None, problems), key=lambda problem: not problem.must_fix)


def _file_fault(file: dict, here: dict[str, Path], folder: Path, kind: str) -> Problem | None:
    path = here.get(file["name"])
    if path is None:
        absent = Problem(file["name"], "is absent", "download it", True)
        return absent if kind == "weights" else None  # an archive may be gone once unpacked
    fault = wrong_hash(path, known_hash(file, folder))
    return Problem(file["name"], fault, "download it again", True) if fault else None


def prepare(
    manifest: Manifest, folder: str | Path, out_dir: str | Path, npz: bool = False
) -> list[Case]:
    """Write a data folder with ``cases.csv`` from a set as its makers packed it.

    NIfTI sets become nnU-Net's raw layout, pickled slices become PNG (and, with ``npz``, NPZ).
    Where the test labels are hidden, the labelled patients are dealt out anew with seed 0. Cases
    that the manifest says to leave out are left out. Where it merges labels, the new ones count
    from 1 in its order, and all others become background.

    Raises:
        InputError: the set needs another command first (says which), nothing fits its layout, an
            image has no label, or ``out_dir`` lies in ``folder``.
    """
    folder, out_dir, how = Path(folder), Path(out_dir), manifest["prepare"]
    if out_dir.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{out_dir}: lies in {folder}; choose a folder outside.")
    names = _names(folder)
    if "pickles" in how:
        return _prepare_pickles(how["pickles"], [folder / name for name in names], out_dir, npz)
    bad = {c for p in manifest["pitfalls"] if p.get("leave_out") for c in p["cases"]}
    cases = [case for case in _cases(manifest, folder, names) if case.case not in bad]
    if not cases:
        images = first_few((row["image"] for row in manifest.get("layout", [])), 9)
        remedy = how.get("instead", "check the folder.")
        raise InputError(f"{folder}: no images to prepare (by name: {images}); {remedy}")
    if lost := [case.case for case in cases if _lost(case)]:
        raise InputError(f"{folder}: images without label: {first_few(lost)}; copy the labels.")
    if how.get("deal"):
        cases = split_cases([case for case in cases if case.label])
    if "merge" not in how:
        return write_dataset(cases, out_dir, manifest["labels"])
    new = {name: number for number, name in enumerate(["background", *how["merge"]])}
    numbers = np.zeros(max(manifest["labels"].values()) + 1, np.uint8)
    for name, parts in how["merge"].items():
        numbers[[manifest["labels"][part] for part in parts]] = new[name]
    return write_dataset(cases, out_dir, new, partial(renumber, numbers=numbers))


def renumber(source: Path, target: Path, numbers: np.ndarray) -> None:
    """Write a label map anew, every label ``k`` as ``numbers[k]``, on the same grid."""
    mask = read_mask(source, n_classes=len(numbers))
    write_mask(target, numbers[mask.array], like=mask)


def _prepare_pickles(wanted: dict, files: list[Path], out_dir: Path, npz: bool) -> list[Case]:
    found = {split: [f for f in files if f.name == name] for split, name in wanted.items()}
    for split, name in wanted.items():
        if len(found[split]) != 1:
            raise InputError(f"{name}: there {len(found[split])} times; it has to be there once.")
    cases = []
    for split, [path] in found.items():
        cases += pickle_to_png(path, out_dir, split=split)
        if npz:
            pickle_to_npz(path, out_dir / f"{path.stem}.npz")
    return cases


def _names(folder: Path) -> list[str]:
    """The files below a folder, relative, without hidden ones and litter."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; check the path.")
    paths = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    plain = (p for p in paths if not any(part.startswith(".") for part in p.parts))
    return [path.as_posix() for path in plain if not ignored(path.as_posix())]


def _cases(manifest: Manifest, folder: Path, names: list[str]) -> Iterator[Case]:
    """The cases of a layout; ``label`` is where the label should be, None if there is none."""
    for row in manifest.get("layout", []):
        pattern = _pattern(row["image"])
        for name in names:
            if fields := pattern.fullmatch(name):
                known = fields.groupdict()
                stem = PurePosixPath(name).name.partition(".")[0].removesuffix("_0000")
                case = known.get("case", stem)
                label = row["label"] and folder / (known["above"] + row["label"].format(**known))
                patient, subtype = known.get("patient", case), known.get("subtype", "")
                yield Case(case, patient, folder / name, label, row["split"], subtype=subtype)


def _pattern(template: str) -> re.Pattern:
    """``imagesTr/{case}.nii.gz`` at any depth; a field that comes twice has the same text twice."""
    pattern, seen = "(?P<above>(?:.*/)?)", set()
    for i, part in enumerate(re.split(r"\{(\w+)\}", template)):
        if i % 2 == 0:
            pattern += re.escape(part)
        else:
            pattern += f"(?P={part})" if part in seen else f"(?P<{part}>[^/]+)"
            seen.add(part)
    return re.compile(pattern)


def _lost(case: Case) -> bool:
    return case.label is not None and not case.label.is_file()


def _parts(manifest: Manifest, folder: Path, names: list[str]) -> Iterator[tuple[str, int]]:
    """How many of each countable part of ``cases`` lie here."""
    splits = [case.split for case in _cases(manifest, folder, names)]
    rows = {row["split"] for row in manifest.get("layout", [])}
    folders = {part for name in names for part in PurePosixPath(name).parts[:-1]}
    for part, about in manifest["cases"].items():
        if "folders" in about:
            yield part, sum(fnmatch(name, about["folders"]) for name in folders)
        elif "files" in about:
            yield part, sum(fnmatch(PurePosixPath(name).name, about["files"]) for name in names)
        elif part in rows:
            yield part, splits.count(part)


def _count(part: str, n: int, about: dict) -> Problem | None:
    stated, found = about.get("stated"), about.get("found")
    expected = stated if found is None else found
    if n == 0 and about.get("optional"):
        return None
    if expected is None:
        return Problem(part, f"{n} here, and nobody says how many there should be", "count", False)
    if n != expected:
        what = f"{n} here instead of {expected} ({stated} stated, {found} found before)"
        return Problem(part, what, "copy or download what is absent", True)
    if stated not in (None, found, n):
        return Problem(part, f"{n} as found before; its makers state {stated}", "cite both", False)
    return None
