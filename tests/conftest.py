"""What every test may use: two threads, no network, the folder of real samples if present."""

import os
import socket
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import pytest

REPOSITORY = Path(__file__).parents[1]


def _real_folder() -> Path | None:
    """The folder named by SEG_LIB_REAL_DATA, else ``shared/real`` beside the repository."""
    named = os.environ.get("SEG_LIB_REAL_DATA")
    for folder in [Path(named)] if named else [REPOSITORY.parent / "shared" / "real"]:
        if (folder / "lidc_nodules" / "nodules.csv").is_file():
            return folder
    return None


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = _real_folder()
    if folder is None:
        pytest.skip("no real samples: set SEG_LIB_REAL_DATA to the folder that holds lidc_nodules/")
    return folder


@pytest.fixture(scope="session")
def lidc_nodules(real_data) -> Path:
    return real_data / "lidc_nodules"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Every test passes offline: a connection that leaves this machine is an error."""
    connect = socket.socket.connect

    def guarded(self, address):
        host = address[0] if isinstance(address, tuple) else "local"
        if host not in ("local", "127.0.0.1", "::1", "localhost", "0.0.0.0"):
            raise OSError(f"tests do not use the network: {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def sent(monkeypatch):
    """Every tensor says in ``sent_to`` where ``.to`` sent it: tests have no second device."""
    import torch

    to = torch.Tensor.to

    def send(tensor, *where, **how):
        moved = to(tensor, *where, **how)
        moved.sent_to = where[0] if where else None
        return moved

    monkeypatch.setattr(torch.Tensor, "to", send)


@pytest.fixture(scope="session")
def small_profile() -> dict[str, str]:
    """An environment in which ``seg-lib train slices2d --profile smoke`` is a matter of seconds."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent / "small_profile"), *_path()]),
        "SEG_LIB_TEST_EPOCHS": "2",
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }


def _path() -> list[str]:
    return [folder for folder in [os.environ.get("PYTHONPATH")] if folder]
