"""A course on a USB stick: wheels, lessons and checksums, installed without a network.

Phantoms are not in it: a lesson makes its own in seconds and always the same.
"""

import platform
from pathlib import Path

from seg_lib.course.handout import write_student_copy
from seg_lib.course.notebooks import course_root
from seg_lib.course.wheels import CONSTRAINTS, gather_wheels
from seg_lib.errors import InputError
from seg_lib.files import folder_written_whole, sha256_of, write_text

SUMS = "SHA256SUMS"
INSTALL = Path(__file__).with_name("bundle_install.md")


def write_bundle(folder: str | Path, root: str | Path | None = None) -> str:
    """Write ``wheels/``, ``course/`` (the students' copy), INSTALL.md and SHA256SUMS.

    The wheels are those that pip takes for this platform and this Python, pinned by
    constraints.txt; where they come from, pip's own settings say.

    Args:
        folder: new or empty; it appears whole or not at all.
        root: of the course; found from the current folder if not given.

    Returns:
        A sentence for the terminal.
    """
    root, folder = course_root(root), Path(folder)
    with folder_written_whole(folder) as part:
        write_student_copy(part / "course", root)
        wheel = next((part / "course").glob("*.whl"))
        gather_wheels(wheel, root / CONSTRAINTS, part / "wheels")
        wheels = list((part / "wheels").iterdir())
        gb = sum(path.stat().st_size for path in wheels) / 1e9
        machine = {"system": platform.system(), "machine": platform.machine()}
        python = ".".join(platform.python_version_tuple()[:2])
        told = machine | {"python": python, "n": len(wheels), "gb": gb}
        write_text(part / "INSTALL.md", INSTALL.read_text(encoding="utf-8").format(**told))
        sums = "".join(f"{sha256_of(part / name)}  {name}\n" for name in _files(part))
        write_text(part / SUMS, sums)
    return f"{folder}: {len(wheels)} wheels, {gb:.1f} GB, for Python {python}; see INSTALL.md."


def verify_bundle(folder: str | Path) -> list[str]:
    """What differs from ``SHA256SUMS``, a sentence a file; nothing if the bundle is whole.

    Files of one's own beside it do no harm, but pip would install a strange wheel.

    Raises:
        InputError: there is no such list, or it is none.
    """
    folder = Path(folder)
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        wanted = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / SUMS}: no list of checksums; copy it anew.") from error
    found = set(_files(folder))
    faults = [f"{name}: missing; copy it anew." for name in sorted(wanted.keys() - found)]
    for name in sorted(found):
        if name in wanted and sha256_of(folder / name) != wanted[name]:
            faults.append(f"{name}: damaged; copy it anew.")
        elif name not in wanted and name.startswith("wheels/"):
            faults.append(f"{name}: not in {SUMS}; remove it.")
    return faults


def _files(folder: Path) -> list[str]:
    """Every file of a bundle but the list itself, relative to it."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in files if path.as_posix() != SUMS)
