"""What the tests of both clusters share: submitting a short training and watching it."""

import json
import re
import socket
import subprocess
import sys
import time

import torch

from seg_lib.checkpoints import load_checkpoint


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition, seconds, what):
    """Wait for a truth and return it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.2)
    return found


def ask(*words):
    """What a command of the scheduler answers."""
    return subprocess.run(words, capture_output=True, text=True).stdout


def ended(processes):
    """End daemons, the youngest first."""
    for process in reversed(processes):
        process.terminate()
    for process in reversed(processes):
        process.wait(timeout=30)


def submit(scheduler, environment, data, out, *words):
    """``seg-lib job … --submit``; returns the job's number."""
    command = [sys.executable, "-m", "seg_lib", "job", "slices2d", "--scheduler", scheduler]
    command += ["--data", data, "--out", out, "--profile", "smoke", "--cpus", "1", "--submit"]
    done = subprocess.run(
        [*map(str, command), *words],
        env=environment | {"SEG_LIB_TEST_EPOCHS": "12"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return re.search(r"(?:batch job|Your job|Your job-array) (\d+)", done.stdout)[1]


def epochs_done(run):
    try:
        return len(json.loads((run / "history.json").read_text())["history"])
    except FileNotFoundError:
        return 0


def wait_for_epochs(run, n):
    until(lambda: epochs_done(run) >= n, 120, f"{n} epochs in {run}")


def weights_of(run):
    return load_checkpoint(run / "last.safetensors")[0]


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
