"""Manifests: what is known of each real data set and weight file (``data_manifests/*.yaml``).

A manifest says where the data lie, under which licence, how many cases its makers state and how
many were found, which cases are bad and which other sets share patients. What nobody knows is null,
with a note. ``schema.json`` beside them is the rule. Taught in lesson 20.
"""

import json
import mimetypes
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from seg_lib.data.case_rules import first_few
from seg_lib.errors import InputError

MANIFESTS = Path(__file__).parents[2] / "data_manifests"
Manifest = dict[str, Any]
# Whoever uses these parts needs to accept nothing but naming the authors.
FREE = {"Apache-2.0", "BSD-3-Clause", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC0-1.0", "MIT"}


def read_manifest(name: str | Path, folder: Path = MANIFESTS) -> Manifest:
    """One checked manifest, by its id, or by the path of a ``.yaml`` file of your own.

    Raises:
        InputError: no such manifest, no YAML, or it breaks a rule of ``schema.json``; says where.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    path = Path(name) if str(name).endswith(".yaml") else folder / f"{name}.yaml"
    if not path.is_file():
        raise InputError(
            f"data set '{name}': there is no {path.name}; choose one of "
            f"{first_few(names(folder), 99)}, or give the path of a manifest."
        )
    try:
        manifest = yaml.safe_load(path.read_bytes())
        schema = json.loads((MANIFESTS / "schema.json").read_bytes())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read ({error}); mend the file.") from error
    fault = best_match(Draft202012Validator(schema).iter_errors(manifest))
    if fault:
        place = ".".join(map(str, fault.absolute_path)) or "the top"
        raise InputError(f"{path}: at {place}: {fault.message[:300]}; mend it by schema.json.")
    if manifest["id"] != path.stem:
        raise InputError(f"{path}: its id is '{manifest['id']}'; give file and id one name.")
    return manifest


def names(folder: Path = MANIFESTS) -> list[str]:
    """The ids of all manifests of a folder.

    Raises:
        InputError: there is none, as in an installation without the repository.
    """
    found = sorted(path.stem for path in folder.glob("*.yaml"))
    if not found:
        raise InputError(f"{folder}: no manifests; install seg_lib from its repository (pip -e).")
    return found


def parts_to_accept(manifest: Manifest) -> list[str]:
    """A line for each part whose licence restricts its use, or is not known."""
    return [
        f"{part['part']}: {part['spdx'] or part.get('name') or 'licence unknown'}"
        for part in manifest["licence"]
        if part["spdx"] not in FREE or manifest["status"] != "open"
    ]


def check_no_leak(train: Iterable[str], test: Iterable[str], folder: Path = MANIFESTS) -> None:
    """Refuse to test on a set that shares patients with a training set, in either direction.

    Raises:
        InputError: names the first pair, how they overlap and who says so.
    """
    train, test = ([read_manifest(name, folder) for name in names] for names in (train, test))
    for learnt in train:
        for tested in test:
            pair = (learnt, tested), (tested, learnt)
            shared = [o for a, b in pair for o in a.get("overlaps", []) if o["with"] == b["id"]]
            if learnt["id"] == tested["id"] or shared:
                why = f"{shared[0]['how']} ({shared[0]['source']})" if shared else "the same set"
                raise InputError(
                    f"train on {learnt['id']}, test on {tested['id']}: {why}; the score would be "
                    "too good: test on another set, or take the shared patients out of one."
                )


def to_croissant(manifest: Manifest) -> dict[str, Any]:
    """Croissant 1.0 metadata (JSON-LD), http://mlcommons.org/croissant/1.0.

    Croissant asks for a checksum of each file, so files without a published one are left out.
    """
    licences = [part["spdx"] or part.get("name") for part in manifest["licence"]]
    about = {
        "@context": json.loads((MANIFESTS / "croissant_context.json").read_bytes()),
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": manifest["id"],
        "description": manifest["name"],
        "url": manifest["landing_page"],
        "version": manifest.get("version"),
        "citeAs": manifest["citation"]["text"],
        "license": sorted({licence for licence in licences if licence}),
        "distribution": [
            _file_object(file) for file in manifest["access"].get("files", []) if file["hash"]
        ],
    }
    return {key: value for key, value in about.items() if value or key == "distribution"}


def _file_object(file: dict[str, str]) -> dict[str, str]:
    algorithm, _, digest = file["hash"].partition(":")
    return {
        "@type": "cr:FileObject",
        "@id": file["name"],
        "name": file["name"],
        "contentUrl": file["url"],
        "encodingFormat": mimetypes.guess_type(file["name"])[0] or "application/octet-stream",
        algorithm: digest,
    }
