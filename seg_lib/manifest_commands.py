"""The commands ``seg-lib data list | info | fetch | verify | prepare``."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path


def list_sets() -> int:
    """List the data sets and weights that are described, with their status and licences."""
    from seg_lib.data.manifests import names, read_manifest

    for manifest in map(read_manifest, names()):
        licences = {part["spdx"] or part.get("name") or "unknown" for part in manifest["licence"]}
        how = f"{manifest['kind']:<8} {manifest['status']:<12} {manifest['access']['backend']:<7}"
        print(f"{manifest['id']:<22} {how} {', '.join(sorted(licences))}")
    return 0


def info(name: str, against: str | None, croissant: Path | None) -> int:
    """Print what is known of a set; --against refuses a test set that shares its patients."""
    import yaml

    from seg_lib.data.manifests import check_no_leak, read_manifest, to_croissant
    from seg_lib.files import write_text

    manifest = read_manifest(name)
    if against:
        check_no_leak([name], [against])
        print(f"{name} and {against}: no overlap is known; that is no proof that there is none.")
    elif croissant:
        write_text(croissant, json.dumps(to_croissant(manifest), indent=1) + "\n")
        print(f"{croissant}: written.")
    else:
        print(yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=100).rstrip())
    return 0


def fetch(name: str, out: Path | None, only: str | None, **consent: bool) -> int:
    """Download a set or weights into --out (default data/NAME), and verify what came."""
    from seg_lib.data import download
    from seg_lib.data.manifests import read_manifest

    manifest = read_manifest(name)
    out = out or Path("data") / manifest["id"]
    download.fetch(manifest, out, only=only.split(",") if only else (), **consent)
    print(f"{out}: fetched.")
    return 0 if only else verify(name, out)


def verify(name: str, folder: Path) -> int:
    """Check a folder that you have: counts, checksums, labels, known bad cases."""
    from seg_lib.data import real_sets
    from seg_lib.data.manifests import read_manifest

    problems = real_sets.verify(read_manifest(name), folder)
    for case, problem, fix, must_fix in problems:
        print(f"{'FIX ' if must_fix else 'note'} | {case} | {problem} | {fix}")
    n_faults = sum(problem.must_fix for problem in problems)
    print(f"{folder}: {n_faults} to fix, {len(problems) - n_faults} notes.")
    return 1 if n_faults else 0


def prepare(name: str, folder: Path, out_dir: Path, npz: bool) -> int:
    """Turn a folder that you have into one with cases.csv, for check-data and train."""
    from seg_lib.data import real_sets
    from seg_lib.data.manifests import read_manifest

    cases = real_sets.prepare(read_manifest(name), folder, out_dir, npz)
    print(f"{out_dir}: {len(cases)} cases. Next: seg-lib check-data {out_dir}")
    return 0


def add_manifest_commands(commands: argparse._SubParsersAction) -> None:
    """``data`` and its five actions, for `seg_lib.cli.build_parser`."""
    about = "Real data sets and weights: what is known of them, download, check, preparation."
    actions = commands.add_parser("data", help=about, description=about).add_subparsers(
        required=True, metavar="ACTION"
    )

    def add(action: str, function: Callable[..., int], *files: str) -> Callable:
        words = actions.add_parser(action, help=function.__doc__, description=function.__doc__)
        words.set_defaults(function=function)
        for file in files:
            words.add_argument(file, type=str if file == "name" else Path)
        return words.add_argument

    add("list", list_sets)
    word = add("info", info, "name")
    word("--against", metavar="NAME", help="a set that you want to test on")
    word("--croissant", type=Path, metavar="OUT.json", help="write Croissant 1.0 metadata")
    word = add("fetch", fetch, "name")
    word("--out", type=Path, help="default: data/NAME")
    word("--only", metavar="A,B", help="some files (http, hub) or patients (IDC)")
    word("--accept-licence", action="store_true", help="you have read it, and agree")
    word("--trust-first", action="store_true", help="take what has no published checksum")
    add("verify", verify, "name", "folder")
    add("prepare", prepare, "name", "folder", "out_dir")("--npz", action="store_true")
