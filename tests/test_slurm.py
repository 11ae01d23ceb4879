"""A real SLURM on this machine: a stopped job goes back into the queue once and resumes by itself.

Wants Debian's slurm-wlm and munge (`.ci/run` installs them) and root: one controller and one node,
in a temporary folder, on free ports, without control groups.
"""

import os
import shutil
import socket
import subprocess
import time

import pytest
import torch
from clusters import ask, assert_same, ended, free_port, submit, until, wait_for_epochs, weights_of

from seg_lib.data.phantom import make_phantom
from seg_lib.run_log import read_history

DAEMONS = ("munged", "slurmctld", "slurmd")
pytestmark = pytest.mark.timeout(600)

CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=sched_interval=1,bf_interval=1
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=1000
PartitionName=main Nodes={host} Default=YES
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A running cluster of one node; its processes end with the tests."""
    missing = [name for name in DAEMONS if not shutil.which(name)]
    if missing or os.geteuid():
        pytest.skip(f"no {', '.join(missing)}" if missing else "SLURM is started by root only")
    folder = tmp_path_factory.mktemp("slurm")
    for part in [folder, *folder.parents][:3]:
        part.chmod(0o755)  # munge wants a socket that everybody can reach
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    host = socket.gethostname().split(".")[0]
    ports = {"controller_port": free_port(), "node_port": free_port()}
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=host, folder=folder, **ports))
    munge = {"key-file": key} | {
        f"{name}-file": folder / f"munge.{name}" for name in ("pid", "log", "seed")
    }
    commands = [
        ["munged", "--foreground", "--force", f"--socket={folder}/munge.sock"]
        + [f"--{name}={path}" for name, path in munge.items()],
        ["slurmctld", "-D", "-i", "-f", str(conf)],
        ["slurmd", "-D", "-f", str(conf), "-N", host],
    ]
    processes = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(conf))
        try:
            for command in commands:
                with open(folder / f"{command[0]}.out", "w") as said:
                    processes.append(subprocess.Popen(command, stdout=said, stderr=said))
                time.sleep(1)
            try:
                until(lambda: "idle" in ask("sinfo", "-h", "-o", "%T"), 60, "an idle node")
            except AssertionError as late:
                said = "".join(path.read_text()[-500:] for path in folder.glob("*.out"))
                pytest.skip(f"SLURM cannot be started here: {late} {said}")
            yield
        finally:
            ask("scancel", "--user", "root")
            ended(processes)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_phantom("lung2d", 24, 64, 0, folder)
    return folder


@pytest.fixture(scope="module")
def submitted(slurm, data, small_profile):
    """A function that submits a job and returns its number."""
    environment = small_profile | {"SLURM_CONF": os.environ["SLURM_CONF"]}
    return lambda out, *words: submit("slurm", environment, data, out, *words)


def state_of(job):
    """Such as {"JobState": "COMPLETED", "Restarts": "1", "ExitCode": "0:0"}."""
    shown = ask("scontrol", "show", "job", job, "--oneliner")
    return dict(word.split("=", 1) for word in shown.split() if "=" in word)


def wait_for_end(job):
    ends = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")
    until(lambda: state_of(job).get("JobState") in ends, 180, f"the end of job {job}")
    return state_of(job)


@pytest.fixture(scope="module")
def array(submitted, tmp_path_factory):
    """Folders of two runs that were never stopped: seeds 0 and 1 as a job array."""
    out = tmp_path_factory.mktemp("array")
    runs = [out / f"slices2d-smoke-seed{seed}" for seed in (0, 1)]
    job = submitted(out, "--array", "--seed", "0,1")
    until(lambda: all((run / "results.csv").is_file() for run in runs), 200, "both results")
    until(lambda: not ask("squeue", "-h", "-j", job), 30, "an empty queue")
    yield runs
    shutil.rmtree(out)  # half a gigabyte


def test_an_array_trains_every_element(array):
    assert [read_history(run)["stopped"] for run in array] == ["epochs", "epochs"]
    assert not torch.equal(*(weights_of(run)["model.encoder.conv1.weight"] for run in array))


STOPS = {
    "time-limit": ["scancel", "--signal=USR1", "--batch"],  # what --signal=B:USR1@120 sends
    "preempted": ["scontrol", "requeue"],  # the operator, or a job of more weight
}


@pytest.mark.parametrize("how", STOPS)
def test_a_stopped_job_goes_back_once_and_ends_the_same(how, array, submitted, tmp_path):
    """Reliability 89. And the name of its folder runs nothing."""
    run = tmp_path / "a b; $(touch hacked) 'q"
    job = submitted(run)
    wait_for_epochs(run, 2)
    subprocess.run([*STOPS[how], job], check=True)
    end = wait_for_end(job)
    assert (end["JobState"], end["ExitCode"], end["Restarts"]) == ("COMPLETED", "0:0", "1")
    said = (run / f"job-{job}.log").read_text()
    assert said.count("stopped in epoch") == said.count("back into the queue") == 1
    assert (
        said.count("epoch  1/12") == said.count("epoch 12/12") == said.count("network: Dice") == 1
    )
    assert_same(weights_of(run), weights_of(array[0]))
    assert not [
        path for path in tmp_path.rglob("*hacked*") if path != run and run not in path.parents
    ]


def test_stopped_twice_it_waits_for_a_person(array, submitted, tmp_path):
    run = tmp_path / "run"
    job = submitted(run)
    for n in (2, 5):
        wait_for_epochs(run, n)
        subprocess.run([*STOPS["time-limit"], job], check=True)
        until(lambda n=n: read_history(run)["stopped"] == "signal", 60, "a saved run")
    end = wait_for_end(job)
    assert (end["JobState"], end["ExitCode"], end["Restarts"]) == ("FAILED", "75:0", "1")
    assert "Interrupted again" in (run / f"job-{job}.log").read_text()
    assert not (run / "results.csv").exists(), "a stopped run is not scored"
    again = submitted(run)  # a new job, and no word about resuming
    assert wait_for_end(again)["ExitCode"] == "0:0"
    assert_same(weights_of(run), weights_of(array[0]))
