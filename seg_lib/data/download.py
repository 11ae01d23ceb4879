"""Getting what a manifest names: by http (pooch), from the IDC, from the Hugging Face hub.

By http, a file appears under its name only after its checksum was right. Whatever was interrupted
goes on when the same command is given again.
"""

import contextlib
import functools
import hashlib
import json
import os
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from seg_lib.data.archives import unpack
from seg_lib.data.case_rules import first_few
from seg_lib.data.manifests import Manifest, parts_to_accept
from seg_lib.data.transfer import download
from seg_lib.errors import DataWarning, InputError
from seg_lib.files import folder_lock, sha256_of, write_text

CHECKSUMS = "checksums.json"  # of files that have no published one, from the first download
IDC_HOST = "idc-open-data.s3.amazonaws.com"


def fetch(
    manifest: Manifest,
    folder: str | Path,
    accept_licence: bool = False,
    trust_first: bool = False,
    only: Sequence[str] = (),
) -> None:
    """Download (and unpack) what a manifest names into ``folder``; what is there is kept.

    Args:
        manifest: see `read_manifest`.
        folder: such as ``data/msd_task06_lung``.
        accept_licence: needed where a licence restricts the use or is unknown.
        trust_first: take what has no published checksum or revision. Its SHA-256 is noted in
            ``checksums.json``, and every later download has to match.
        only: some files (http, hub) or patients (IDC); all if empty.

    Raises:
        InputError: behind a form, licence not accepted, no checksum, no network, or what arrived
            is not what was named.
    """
    access, folder = manifest["access"], Path(folder)
    if access["backend"] == "manual":
        steps = " ".join(f"({n}) {step}" for n, step in enumerate(access["steps"], 1))
        raise InputError(
            f"{manifest['id']}: {manifest['status']}, so nobody can fetch it for you: {steps} "
            f"Then: seg-lib data verify {manifest['id']} DIR."
        )
    to_accept = parts_to_accept(manifest)
    if to_accept and not accept_licence:
        raise InputError(
            f"{manifest['id']}: {'; '.join(to_accept)}; read {manifest['landing_page']}, and if "
            "you agree, add --accept-licence."
        )
    try:
        with folder_lock(folder):
            BACKENDS[access["backend"]](manifest, folder, trust_first, list(only))
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{folder}: cannot be written ({why}); free some space there.") from error


def _from_http(manifest: Manifest, folder: Path, trust_first: bool, only: list[str]) -> None:
    files = {file["name"]: file for file in manifest["access"]["files"]}
    if strangers := set(only) - set(files):
        raise InputError(f"no file {first_few(strangers)}; there are {first_few(files, 20)}.")
    for name in only or files:
        _fetch_file(files[name], folder, trust_first)


def _noted(folder: Path) -> dict[str, str]:
    """The checksums of earlier first downloads into this folder."""
    path = folder / CHECKSUMS
    try:
        return dict(json.loads(path.read_bytes())) if path.is_file() else {}
    except ValueError as error:
        raise InputError(f"{path}: no JSON; delete it, and the files are trusted anew.") from error


def known_hash(file: dict[str, str], folder: Path) -> str | None:
    """``algorithm:digits`` of a file: as published, else as noted at its first download."""
    return file["hash"] or _noted(folder).get(file["name"])


def wrong_hash(path: Path, known: str | None) -> str:
    """What is wrong with a file's checksum, empty if nothing is or none is known."""
    algorithm, _, expected = (known or "").partition(":")
    if not expected:
        return ""
    with open(path, "rb") as stream:
        found = hashlib.file_digest(stream, algorithm).hexdigest()
    return "" if found == expected else f"{algorithm} {found} instead of {expected}"


def _fetch_file(file: dict[str, str], folder: Path, trust_first: bool) -> None:
    name, target, known = file["name"], folder / file["name"], known_hash(file, folder)
    if not known and not trust_first:
        raise InputError(
            f"{name}: no checksum is published, so nobody can tell whether what arrives is right; "
            "to trust this first download and compare later ones with it, add --trust-first."
        )
    if known and known.startswith("md5:"):
        warnings.warn(f"{name}: md5 finds damage, not forgery.", DataWarning, stacklevel=4)
    if not target.is_file() or wrong_hash(target, known):
        _retrieve(file["url"], known, target)
    if not known:
        _note(folder, [name])
    if file.get("unpack"):
        unpack(target, folder / target.stem)


def _note(folder: Path, names: Sequence[str]) -> None:
    noted = _noted(folder) | {name: f"sha256:{sha256_of(folder / name)}" for name in names}
    write_text(folder / CHECKSUMS, json.dumps(noted, indent=1) + "\n")


def _retrieve(url: str, known: str | None, target: Path) -> None:
    """Download beside ``target``, which is replaced only if the checksum is right."""
    import pooch

    pooch.get_logger().setLevel("WARNING")
    parts = target.parent / ".part"
    parts.mkdir(exist_ok=True)
    downloader = functools.partial(download, part=parts / f"{target.name}.part")
    try:
        pooch.retrieve(url, known, fname=target.name, path=parts, downloader=downloader)
    except InputError:
        raise
    except ValueError as error:  # what arrived is gone
        what = str(error).partition(" Deleted")[0].rstrip(".")
        raise InputError(f"{target}: {what}; download it again, or ask its makers.") from error
    os.replace(parts / target.name, target)
    for litter in parts.glob("tmp*"):  # what pooch leaves behind when it is killed
        litter.unlink()


@contextlib.contextmanager
def _client(manifest: Manifest, install: str) -> Iterator[None]:
    """What a client library says, in one sentence.

    Raises:
        InputError: not installed, or its own refusal.
    """
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        raise InputError(f"{manifest['id']}: {error}; install it: {install}") from error
    except Exception as error:  # the libraries raise errors of their own, and those of others
        what = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(
            f"{manifest['id']}: {what}; check the network and your rights at "
            f"{manifest['landing_page']}, then run the same command again."
        ) from error


def _reach(host: str, port: int = 443) -> None:
    """Refuse within 8 s if there is no connection: the clients would try for minutes."""
    if os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"):
        return  # behind a proxy only the client can tell
    try:
        socket.create_connection((host, port), timeout=8).close()
    except OSError as error:
        raise InputError(f"no connection to {host} ({error}); check the network.") from error


def _from_idc(manifest: Manifest, folder: Path, _trust_first: bool, only: list[str]) -> None:
    access = manifest["access"]
    with _client(manifest, 'pip install -e ".[tcia]"'):
        from idc_index import IDCClient

        _reach(IDC_HOST)
        IDCClient.client().download_from_selection(
            downloadDir=str(folder),
            collection_id=access["collection"],
            patientId=only or None,
            analysis_results=access["analysis_results"],
            use_s5cmd_sync=True,  # what is there already is not fetched again
        )


def _from_hub(manifest: Manifest, folder: Path, trust_first: bool, only: list[str]) -> None:
    access = manifest["access"]
    if not access["revision"] and not trust_first:
        raise InputError(
            f"{manifest['id']}: no revision is pinned, so the newest would come, whatever it is; "
            "to trust it, add --trust-first."
        )
    with _client(manifest, "pip install huggingface_hub"):
        from huggingface_hub import HfApi, constants, snapshot_download
        from huggingface_hub.utils import filter_repo_objects

        hub = urlsplit(constants.ENDPOINT)
        _reach(hub.hostname, hub.port or 443)
        repo, wanted = access["repo"], only or access["patterns"]
        revision = {"revision": access["revision"]}
        # Where access is refused, snapshot_download returns a folder that is there as if all were
        # well; asking for the list first is what makes it an error.
        listed = HfApi().list_repo_files(repo, **revision)
        snapshot_download(repo, local_dir=folder, allow_patterns=wanted, **revision)
        files = list(filter_repo_objects(listed, allow_patterns=wanted))
        absent = [name for name in files if not (folder / name).is_file()]
        if absent or not files:
            raise ValueError(f"{first_few(absent or wanted)} did not come")
    noted = {} if access["revision"] else _noted(folder)
    checked = [(file["name"], file["hash"]) for file in access.get("files", [])]
    for name, known in checked + [(name, noted.get(name)) for name in files]:
        path = folder / name
        if path.is_file() and (fault := wrong_hash(path, known)):
            path.unlink()
            raise InputError(f"{path}: {fault}; download it again, or ask its makers.")
    if not access["revision"]:
        _note(folder, files)


BACKENDS: dict[str, Callable] = {"pooch": _from_http, "idc": _from_idc, "hf": _from_hub}
