"""Files that are either whole or not there: atomic writing, one run per folder, checksums."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from seg_lib.errors import InputError


@contextlib.contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and move it into place only if the block succeeds.

    The temporary name keeps the suffix, so writers that look at it (``.nii.gz``) work. A process
    killed halfway leaves at most a hidden ``.part-…`` file and never a damaged ``path``.

    Raises:
        InputError: the folder is read-only or the disk is full; names ``path``.
    """
    path = Path(path)
    part = path.with_name(f".part-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with open(part, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(part, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_written_whole(folder: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``folder`` that takes its place only if the block succeeds.

    Raises:
        InputError: ``folder`` holds something already, or cannot be written.
    """
    folder = Path(folder).resolve()
    part = folder.with_name(f".part-{os.getpid()}-{folder.name}")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder}: there is something in it already; choose a new folder.")
        part.mkdir(parents=True)
        yield part
        os.replace(part, folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unwritable(path: Path, error: OSError) -> InputError:
    why = f"cannot be written ({error.strerror or error}); free some space or choose a folder"
    return InputError(f"{path}: {why} you may write to.")


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def folder_lock(folder: str | Path) -> Iterator[None]:
    """Hold ``folder/.lock`` while the block runs, so that two runs never share a folder.

    A lock whose process is gone (killed, machine restarted) does not count.

    Raises:
        InputError: a running process holds the lock, or the folder cannot be written.
    """
    import fcntl  # POSIX only; the lock goes with the process, however it ends

    with contextlib.ExitStack() as stack:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            stream = stack.enter_context(open(Path(folder, ".lock"), "w"))
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            why = f"cannot be written ({error.strerror or error}); choose"
            if isinstance(error, BlockingIOError):
                why = "another run is writing here; wait for it or choose"
            raise InputError(f"{folder}: {why} another folder.") from error
        yield
