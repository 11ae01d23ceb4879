"""One file by http, which goes on where it stopped (Range, If-Range) if the server can.

Otherwise it starts over; two versions of a file are never joined. Stalls, trickles, redirect loops
and endless answers come to an end. RFC 9110, sections 13.1.5 and 14.
"""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import requests
from urllib3.exceptions import HTTPError

from seg_lib.errors import InputError

TRIES, BACKOFF_S, MAX_REDIRECTS = 5, 1.0, 10
TIMEOUT_S = (8, 30)  # to connect; between two pieces
SLOWEST_BYTES_PER_S, PATIENCE_S = 1000, 60
MAX_UNDECLARED_BYTES = 2 * 2**30
BUSY = {429, 500, 502, 503, 504}


class _Again(Exception):
    """The transfer broke, and may be tried again."""


def download(url: str, target: str, _pooch: object = None, *, part: Path) -> None:
    """Fetch ``url``: ``part`` grows, over several calls if need be, and becomes ``target``.

    It has the form of a downloader of pooch, which compares the checksum then.

    Raises:
        InputError: no connection, an answer other than a file (not asked again if it is 4xx), more
            bytes than announced, or a transfer that breaks five times.
    """
    fault: Exception | None = None
    with requests.Session() as session:
        session.max_redirects = MAX_REDIRECTS
        for attempt in range(TRIES):
            time.sleep(BACKOFF_S * 2 ** (attempt - 1) if attempt else 0)
            try:
                _go_on(session, url, part)
                os.replace(part, target)
                _version(part).unlink(missing_ok=True)
                return
            except (_Again, requests.ReadTimeout) as again:
                fault = again
            except requests.ConnectionError as error:
                raise InputError(f"{url}: no connection; check the network, run again.") from error
            except requests.RequestException as error:
                raise InputError(f"{url}: {error}; check the address.") from error
    raise InputError(f"{url}: {fault}, {TRIES} times; run the same command later to go on.")


def _version(part: Path) -> Path:
    """Where the ETag of what lies in ``part`` is kept."""
    return part.with_name(part.name + ".version")


def _go_on(session: requests.Session, url: str, part: Path) -> None:
    """One request for what is missing of ``part``."""
    version = _version(part)
    start = part.stat().st_size if part.is_file() and version.is_file() else 0
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": version.read_text()}
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        _check_answer(answer, url, part)
        if answer.status_code == 200:  # all of it: the server cannot go on, or the file changed
            start = 0
            etag = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            for old in (version, part):  # whoever is killed here leaves no new ETag on old bytes
                old.unlink(missing_ok=True)
            if etag and not etag.startswith("W/"):
                version.write_text(etag)
        elif not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            version.unlink(missing_ok=True)
            raise _Again("another part came than was asked for")
        length = answer.headers.get("Content-Length")
        most = int(length) if length else MAX_UNDECLARED_BYTES
        if length and most > shutil.disk_usage(part.parent).free:
            raise InputError(f"{url}: {most:.3g} bytes do not fit on the disk; free some space.")
        with open(part, "ab" if start else "wb") as sink:
            received = sum(map(sink.write, _pieces(answer, most)))
    if received > most:
        part.unlink()
        version.unlink(missing_ok=True)
        raise InputError(f"{url}: more than {most:.3g} bytes came; it is not the file named.")


def _check_answer(answer: requests.Response, url: str, part: Path) -> None:
    """Is this the file, rather than a refusal or a web page?"""
    status = answer.status_code
    if status == 416:  # more is here than there: it was another file
        part.unlink(missing_ok=True)
    if status in BUSY | {416}:
        raise _Again(f"the server answers {status}")
    if status not in (200, 206):
        raise InputError(f"{url}: the server answers {status}; check the address, or log in there.")
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        raise InputError(f"{url}: a web page came, not a file; open it in a browser, log in there.")


def _pieces(answer: requests.Response, most: int) -> Iterator[bytes]:
    """What arrives, until it ends, exceeds ``most`` bytes or trickles."""
    received, since, before = 0, time.monotonic(), 0
    try:
        while received <= most and (piece := answer.raw.read1(2**20)):
            yield piece
            received += len(piece)
            if time.monotonic() - since > PATIENCE_S:
                if received - before < SLOWEST_BYTES_PER_S * PATIENCE_S:
                    raise _Again("it only trickles")
                since, before = time.monotonic(), received
    except HTTPError as error:
        raise _Again(f"the transfer broke ({type(error).__name__})") from error
