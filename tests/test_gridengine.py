"""A real (Son of) Grid Engine on this machine: exit 99 once, and the job resumes by itself.

Wants Debian's gridengine-master, -exec and -client (`.ci/run` installs them) and root: one host is
master and worker, in a temporary folder, on free ports.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import torch
from clusters import ask, assert_same, ended, free_port, submit, until, wait_for_epochs, weights_of

from seg_lib.data.phantom import make_phantom
from seg_lib.run_log import read_history

DAEMONS = ("sge_qmaster", "sge_execd", "qsub", "qconf")
BINARIES, SHARED = Path("/usr/lib/gridengine"), Path("/usr/share/gridengine")
pytestmark = pytest.mark.timeout(600)

BOOTSTRAP = """\
admin_user none
default_domain none
ignore_fqdn true
spooling_method classic
spooling_lib libspoolc
spooling_params {common};{spool}/qmaster
binary_path /usr/sbin
qmaster_spool_dir {spool}/qmaster
security_mode none
listener_threads 2
worker_threads 2
scheduler_threads 1
"""
HOST = """\
hostname localhost
load_scaling NONE
complex_values NONE
user_lists NONE
xuser_lists NONE
projects NONE
xprojects NONE
usage_scaling NONE
report_variables NONE
"""
QUEUE = {
    "qname": "all.q",
    "hostlist": "localhost",
    "slots": "4",
    "pe_list": "NONE",
    "load_thresholds": "NONE",
    "notify": "00:01:00",  # from the warning to the end
    "shell": "/bin/bash",
}
QUICKLY = {"schedule_interval": "0:0:1", "flush_submit_sec": "1", "flush_finish_sec": "1"}


def changed(text, values):
    """A configuration of lines "name value" with other values."""
    lines = [line.split(None, 1) for line in text.splitlines() if line and line[0] != "#"]
    return "".join(f"{name} {values.get(name, value)}\n" for name, value in lines)


def said_to(folder, option, text):
    """Hand a configuration to ``qconf`` in a file."""
    file = folder / "handed_in"
    file.write_text(text)
    return ask("qconf", option, str(file))


@pytest.fixture(scope="module")
def gridengine(tmp_path_factory):
    """A running cluster of one host; returns its folder."""
    missing = [name for name in DAEMONS if not shutil.which(name)]
    if missing or os.geteuid():
        pytest.skip(
            f"no {', '.join(missing)}" if missing else "Grid Engine is started by root only"
        )
    folder = tmp_path_factory.mktemp("gridengine")
    processes = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SGE_ROOT", str(folder))
        patch.setenv("SGE_CELL", "default")
        patch.setenv("SGE_ND", "1")  # stay in the foreground
        patch.setenv("SGE_QMASTER_PORT", str(free_port()))
        patch.setenv("SGE_EXECD_PORT", str(free_port()))
        try:
            new_cell(folder)
            processes.append(daemon(folder, "sge_qmaster"))
            until(lambda: "all.q" in configured(folder), 30, "a queue")
            processes.append(daemon(folder, "sge_execd"))
            until(lambda: " lx-" in ask("qstat", "-f"), 60, "a host in the queue")
        except (AssertionError, OSError, subprocess.CalledProcessError) as late:
            ended(processes)
            said = "".join(path.read_text()[-500:] for path in folder.glob("*.out"))
            pytest.skip(f"Grid Engine cannot be started here: {late} {said}")
        yield folder
        ask("qdel", "-u", "root")
        ended(processes)


def new_cell(folder):
    """The folders of a cell and its first configuration."""
    common, spool = folder / "default" / "common", folder / "spool"
    for path in (common, spool / "qmaster", spool / "execd", folder / "utilbin", folder / "bin"):
        path.mkdir(parents=True)
    (folder / "util").symlink_to(SHARED / "util")
    kind = ask(str(SHARED / "util" / "arch")).strip()
    for part in ("bin", "utilbin"):
        (folder / part / kind).symlink_to(BINARIES)
    (common / "bootstrap").write_text(BOOTSTRAP.format(common=common, spool=spool))
    (common / "act_qmaster").write_text("localhost\n")
    (common / "host_aliases").write_text(f"localhost {socket.gethostname()}\n")
    ours = {"execd_spool_dir": spool / "execd", "min_uid": 0, "min_gid": 0}
    text = (SHARED / "default-configuration").read_text()
    (folder / "conf").write_text(changed(text, ours | {"load_report_time": "00:00:02"}))
    resources = SHARED / "util" / "resources"
    for command in (
        ["spoolinit", "classic", "libspoolc", f"{common};{spool}/qmaster", "init"],
        ["spooldefaults", "configuration", folder / "conf"],
        ["spooldefaults", "complexes", resources / "centry"],
        ["spooldefaults", "usersets", resources / "usersets"],
        ["spooldefaults", "managers", "root"],
    ):
        subprocess.run([BINARIES / command[0], *command[1:]], check=True, capture_output=True)


def configured(folder):
    """One host that submits and executes, one queue; returns the names of the queues."""
    ask("qconf", "-as", "localhost")
    if "localhost" not in ask("qconf", "-ss"):
        return ""  # the master is not yet listening
    said_to(folder, "-Ae", HOST)
    said_to(folder, "-Msconf", changed(ask("qconf", "-ssconf"), QUICKLY))
    said_to(folder, "-Aq", changed(ask("qconf", "-sq"), QUEUE))
    time.sleep(0.5)
    return ask("qconf", "-sql")


def daemon(folder, name):
    with open(folder / f"{name}.out", "w") as said:
        return subprocess.Popen([name], stdout=said, stderr=said)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_phantom("lung2d", 24, 64, 0, folder)
    return folder


@pytest.fixture(scope="module")
def submitted(gridengine, data, small_profile):
    """A function that submits a job and returns its number."""
    environment = small_profile | {k: v for k, v in os.environ.items() if k.startswith("SGE_")}
    return lambda out, *words: submit("sge", environment, data, out, *words)


@pytest.fixture(scope="module")
def array(submitted, tmp_path_factory):
    """Folders of two runs that are never stopped: seeds 0 and 1 as a job array."""
    out = tmp_path_factory.mktemp("array")
    runs = [out / f"slices2d-smoke-seed{seed}" for seed in (0, 1)]
    job = submitted(out, "--array", "--seed", "0,1")
    until(lambda: all((run / "results.csv").is_file() for run in runs), 200, "both results")
    wait_for_end(job)
    yield runs
    shutil.rmtree(out)  # half a gigabyte


def wait_for_end(job):
    until(lambda: job not in ask("qstat"), 180, f"the end of job {job}")


def warn(folder, job):
    """SIGUSR2 to all processes of a job, as ``#$ -notify`` has it sent before the end (h_rt)."""
    (pid,) = (folder / "spool" / "execd").glob(f"*/active_jobs/{job}.1/job_pid")
    os.killpg(int(pid.read_text()), signal.SIGUSR2)


def test_an_array_trains_every_element(array):
    assert [read_history(run)["stopped"] for run in array] == ["epochs", "epochs"]
    assert not torch.equal(*(weights_of(run)["model.encoder.conv1.weight"] for run in array))


def test_rescheduled_by_the_operator_it_ends_the_same(array, submitted, tmp_path):
    """Reliability 89. And the name of its folder runs nothing."""
    run = tmp_path / "a b; $(touch hacked) 'q"
    job = submitted(run)
    wait_for_epochs(run, 2)
    ask("qmod", "-rj", job)
    wait_for_end(job)
    said = (run / f"job-{job}.log").read_text()
    assert said.count("stopped in epoch") == said.count("network: Dice") == 1
    assert said.count("epoch  1/12") == said.count("epoch 12/12") == 1
    assert_same(weights_of(run), weights_of(array[0]))
    assert not list(tmp_path.rglob("hacked"))


def test_stopped_twice_it_waits_for_a_person(gridengine, array, submitted, tmp_path):
    run = tmp_path / "run"
    job = submitted(run)
    for n in (2, 5):
        wait_for_epochs(run, n)
        warn(gridengine, job)
        until(lambda: read_history(run)["stopped"] == "signal", 60, "a saved run")
    wait_for_end(job)
    said = (run / f"job-{job}.log").read_text()
    assert said.count("back into the queue") == said.count("Interrupted again (code 75)") == 1
    assert not (run / "results.csv").exists(), "a stopped run is not scored"
    wait_for_end(submitted(run))  # a new job, and no word about resuming
    assert_same(weights_of(run), weights_of(array[0]))
