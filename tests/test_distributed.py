"""Two processes train the network that one would have trained, and end together."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import two_processes

from seg_lib.checkpoints import load_checkpoint
from seg_lib.data.phantom import make_phantom
from seg_lib.errors import InputError
from seg_lib.processes import batch_per_process, main_process_first
from seg_lib.run_log import read_history

TESTS = Path(__file__).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
pytestmark = pytest.mark.timeout(300)


def start(*words, launcher=TORCHRUN):
    """A scenario of two_processes.py under torchrun."""
    return subprocess.Popen(
        [*launcher, "two_processes.py", *map(str, words)],
        cwd=TESTS,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process):
    """Its exit code, after it has said everything."""
    said = process.communicate()[0]
    print(said)  # pytest shows it if the test fails
    return process.returncode


def weights_of(folder, name="last"):
    return load_checkpoint(folder / f"{name}.safetensors")[0]


def assert_close(first, second, atol):
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=0, atol=atol, msg=name)


def without_seconds(folder):
    rows = read_history(folder)["history"]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The same scenario under torchrun twice, at the same time on this machine."""
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    processes = [start("several", folder) for folder in folders]
    assert [ended(process) for process in processes] == [0, 0]
    return folders


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same scenario in one process: batches of 8 instead of 4 and 4."""
    folder = tmp_path_factory.mktemp("alone")
    assert ended(start("several", folder, launcher=[sys.executable])) == 0
    return folder


@pytest.mark.parametrize(("run", "atol"), [("sgd", 1e-6), ("straight", 1e-5), ("average", 1e-5)])
def test_two_processes_equal_one(pair, alone, run, atol):
    """Same pictures a step, mean loss, no batch statistics, no dropout: equal but for rounding."""
    for name in ("last", "best"):
        assert_close(weights_of(pair[0] / run, name), weights_of(alone / run, name), atol)
    for two, one in zip(*(without_seconds(f / run) for f in (pair[0], alone)), strict=True):
        assert two == pytest.approx(one, abs=1e-5)


def test_two_runs_at_a_time_do_not_meet(pair):
    """No fixed port: both went through, and to the same last bit."""
    for run in ("sgd", "average", "straight", "stopped"):
        assert_close(weights_of(pair[0] / run), weights_of(pair[1] / run), 0)


def test_weights_have_plain_names(pair):
    """No ``module.`` of DDP, not once and not twice, in files and in the model."""
    names = {*weights_of(pair[0] / "sgd", "best"), *weights_of(pair[0] / "sgd")}
    ranks = [torch.load(pair[0] / f"rank{r}.pt", weights_only=True) for r in (0, 1)]
    names |= set(ranks[0]["weights"])
    assert "0.weight" in names and not [name for name in names if "module" in name]
    assert_close(ranks[0]["weights"], ranks[1]["weights"], 0)


def test_each_validation_case_is_scored_once(pair):
    """No case twice because two processes had to get equally many: they are odd in number."""
    assert two_processes.N_JUDGED % 2
    ranks = [torch.load(pair[0] / f"rank{r}.pt", weights_only=True) for r in (0, 1)]
    once = sorted(f"case{i}" for i in range(two_processes.N_JUDGED))
    for training in range(2):
        scored = ranks[0]["scored"][training] + ranks[1]["scored"][training]
        assert sorted(scored) == sorted(once * 3)  # in each of three epochs


@pytest.mark.parametrize("how", ["alone", "pair"])
def test_a_signal_to_one_process_stops_all_and_resuming_is_exact(how, request):
    folder = request.getfixturevalue(how)
    folder = folder if how == "alone" else folder[0]
    assert_close(weights_of(folder / "stopped"), weights_of(folder / "straight"), 0)
    assert without_seconds(folder / "stopped") == without_seconds(folder / "straight")


def test_a_process_that_crashes_ends_all(tmp_path):
    """Reliability 96: not with 0, and the one that would wait for its partner is ended."""
    process = start("crash", tmp_path)
    said = process.communicate(timeout=120)[0]  # of all: they share one pipe
    assert process.returncode != 0, said
    assert "this process has lost its GPU" in said
    assert re.search(r"Sending process \d+ closing signal SIGTERM", said), said


def test_sigterm_to_torchrun_saves_and_resumes(tmp_path):
    process = start("slowly", tmp_path / "stopped")
    history = tmp_path / "stopped" / "history.json"
    while not (history.is_file() and len(json.loads(history.read_text())["history"]) >= 2):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert ended(process) != 0
    stopped = read_history(history.parent)
    assert stopped["stopped"] == "signal" and len(stopped["history"]) < 12
    assert ended(start("slowly", tmp_path / "stopped")) == 0
    assert ended(start("quickly", tmp_path / "straight")) == 0
    assert_close(*(weights_of(tmp_path / run) for run in ("stopped", "straight")), 0)


def test_two_processes_from_a_notebook(tmp_path, pair):
    """`notebook_launcher` does what torchrun does."""
    assert ended(start("launcher", tmp_path, launcher=[sys.executable])) == 0
    for run in ("sgd", "stopped"):
        assert_close(weights_of(tmp_path / run), weights_of(pair[0] / run), 0)


def test_the_command_trains_under_torchrun(tmp_path, small_profile):
    """One process converts, speaks and scores; both have trained."""
    make_phantom("lung2d", 24, 64, 0, tmp_path / "data")
    words = ["train", "slices2d", "--data", tmp_path / "data", "--out", tmp_path / "run"]
    command = [*TORCHRUN, "-m", "seg_lib", *words, "--profile", "smoke"]
    done = subprocess.run(
        list(map(str, command)), env=small_profile, cwd=TESTS, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 1/2") == done.stdout.count("network: Dice") == 1
    assert "Traceback" not in done.stderr and "destroy_process_group" not in done.stderr
    assert (tmp_path / "run" / "results.csv").is_file()
    assert not [name for name in weights_of(tmp_path / "run", "best") if "module" in name]


def test_a_batch_is_shared_equally_or_not_at_all(monkeypatch):
    assert batch_per_process(8) == 8
    with main_process_first() as main:
        assert main
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert batch_per_process(8) == 2
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(InputError, match="1 or 2 or 4 or 8"):
        batch_per_process(8)
