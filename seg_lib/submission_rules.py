"""The rules of a hackathon in a small file, ``rules.yml``, and what a submission must declare.

    pretrained_weights: forbidden     # or allowed
    max_submissions: 3                # a team's fourth is refused
    deadline: 2026-11-20 18:00        # by the time stamp of the file, local time

With ``forbidden``, a submission holds ``declaration.yml`` with ``pretrained_weights: none``. That
is a word given, not a proof: nobody can see from a mask how the network behind it began. Who must
be sure asks the winners for their code and trains it again. Taught in notebook 18.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from seg_lib.errors import InputError
from seg_lib.submission_archive import DECLARATION, Files

MAX_BYTES = 10_000
NAMES = ("pretrained_weights", "max_submissions", "deadline")


def read_rules(path: str | Path | None) -> dict[str, Any]:
    """The rules of a file; none without a file. ``deadline`` comes back with its time zone.

    Raises:
        InputError: not YAML, an unknown rule, or a value that is not one of those above.
    """
    if path is None:
        return {}
    rules = _mapping(Path(path))
    if unknown := rules.keys() - set(NAMES):
        raise InputError(f"{path}: unknown rules {sorted(map(str, unknown))}; there are {NAMES}.")
    if rules.get("pretrained_weights", "allowed") not in ("allowed", "forbidden"):
        raise InputError(f"{path}: pretrained_weights is either allowed or forbidden.")
    most = rules.get("max_submissions", 1)
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise InputError(f"{path}: max_submissions is {most!r}; write a whole number from 1 on.")
    if "deadline" in rules:
        try:
            rules["deadline"] = datetime.fromisoformat(str(rules["deadline"])).astimezone()
        except ValueError as error:
            raise InputError(f"{path}: deadline is written as 2026-11-20 18:00.") from error
    return rules


def declaration_fault(files: Files, rules: Mapping[str, Any]) -> str:
    """What is wrong with the declaration of a submission; empty if it is what the rules ask."""
    if rules.get("pretrained_weights") != "forbidden":
        return ""
    ask = f"the rules ask for {DECLARATION} with the line 'pretrained_weights: none'"
    found = [path for name, path in files.items() if PurePosixPath(name).name == DECLARATION]
    if len(found) != 1:
        return f"{ask}; there are {len(found)} in the submission (a bare CSV goes into a ZIP)."
    try:
        declared = _mapping(found[0]).get("pretrained_weights", "")
    except InputError:
        return f"{ask}; the one handed in cannot be read."
    return "" if str(declared).lower() == "none" else f"{ask}; it says {str(declared)[:40]!a}."


def _mapping(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as stream:
            content = yaml.safe_load(stream.read(MAX_BYTES))
    except (OSError, yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as YAML ({type(error).__name__}).") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: must hold lines like 'pretrained_weights: forbidden'.")
    return content
