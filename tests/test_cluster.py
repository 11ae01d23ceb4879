"""Job scripts: bash accepts them, the directives say what was asked, hostile names run nothing."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
import test_tasks

from seg_lib import cli, cluster
from seg_lib.cluster import Resources, array_script, job_script
from seg_lib.course.profiles import Settings
from seg_lib.data.phantom import make_phantom
from seg_lib.errors import InputError, Interrupted
from seg_lib.schedulers import SCHEDULERS, SGE_TO_SLURM

HOSTILE = [
    "a b",
    "x;touch hacked",
    "$(touch hacked)",
    "`touch hacked`",
    "q'\"&|>*",
    "--resume",
    "é",
]
ASKED = Resources(gpus=2, cpus=16, hours=10, partition="gpu")


def directives(script):
    """{"--time": "10:00:00", …} or {"-l": ["h_rt=10:00:00", …], …} of the head of a script."""
    found = {}
    for line in script.splitlines():
        if match := re.fullmatch(r"#SBATCH (--[a-z-]+)(?:=(.*))?", line):
            found[match[1]] = match[2]
        elif match := re.fullmatch(r"#\$ (-\w+) ?(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


def test_directives_of_slurm_say_what_was_asked():
    """Source 003: 2 GPUs, 16 cores, 10 hours, one machine."""
    asked = directives(job_script("slices2d", "slurm", "data", "out", ASKED))
    assert asked["--gres"] == "gpu:2" and asked["--cpus-per-task"] == "16"
    assert asked["--time"] == "10:00:00" and asked["--partition"] == "gpu"
    assert asked["--nodes"] == asked["--ntasks"] == "1"
    assert asked["--signal"] == "B:USR1@120" and asked["--open-mode"] == "append"
    assert "--requeue" in asked and "--array" not in asked


def test_directives_of_grid_engine_say_the_same():
    asked = directives(job_script("slices2d", "sge", "data", "out", ASKED))
    assert asked["-l"] == ["h_rt=10:00:00", "gpu=2"] and asked["-pe"] == ["smp 16"]
    assert asked["-q"] == ["gpu"] and asked["-r"] == ["y"] and "-notify" in asked


@pytest.mark.parametrize("hours", [0.01, 0.5, 1.999, 36])
def test_hours_are_rounded_up_to_minutes(hours):
    asked = directives(job_script("slices2d", "slurm", "d", "o", Resources(hours=hours)))
    h, m, s = map(int, asked["--time"].split(":"))
    assert 0 <= 60 * h + m - 60 * hours < 1 and s == 0


def test_every_directive_in_use_is_in_the_table():
    """What the lesson prints is what the scripts say."""
    told = " ".join([*SGE_TO_SLURM, *SGE_TO_SLURM.values()])
    script = array_script(["slices2d"], "sge", "d", "o", ASKED, seeds=[0, 1])
    assert [o for o in directives(script) if f" {o}" not in told and o != "-S"] == []
    script = array_script(["slices2d"], "slurm", "d", "o", ASKED, seeds=[0, 1])
    fixed = {"--nodes", "--ntasks"}
    assert [o for o in directives(script) if o not in told and o not in fixed] == []


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("gpus", [0, 1, 2])
def test_bash_accepts_the_script_and_torchrun_takes_several_processes(scheduler, gpus):
    ask = Resources(gpus=gpus, cpus=8)
    scripts = [
        job_script("slices2d", scheduler, "data", "out", ask, network="unetr", seed=3),
        array_script(["slices2d", "06"], scheduler, "data", "out", ask, seeds=[0, 1]),
        job_script("text3d", scheduler, "data", "out", ask),
    ]
    for script in scripts:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        assert ("--standalone --nproc-per-node 2" in script) == (gpus == 2)
        assert f"OMP_NUM_THREADS={8 // max(gpus, 1)}\n" in script
        assert not re.search(r"master|[-_]port|:[0-9]{4}", script, re.IGNORECASE), "no fixed port"


def test_a_lesson_takes_no_network():
    with pytest.raises(InputError, match="a network of its own; leave --network out"):
        job_script("06", "slurm", "data", "out", ASKED, network="unetr")


def test_an_array_is_the_grid_of_notebooks_profiles_and_seeds():
    grid = {"profiles": ["smoke", "laptop"], "seeds": [0, 1]}
    script = array_script(["06", "08"], "slurm", "data", "out", ASKED, **grid)
    assert directives(script)["--array"] == "0-7"
    commands = re.findall(r"command=\((.*)\) ;;", script)
    words = [shlex.split(command) for command in commands]
    elements = {
        (w[w.index("papermill") + 1].split("/")[-1][:2], w[w.index("PROFILE") + 1], w[-1])
        for w in words
    }
    assert len(commands) == len(elements) == 8
    assert len(set(re.findall(r"out=(.*)", script))) == 8
    assert ("08", "smoke", "1") in elements and all(w[-2] == "SEED" for w in words)


FAKE = """#!/bin/bash
printf '%s\\n' "$PWD" "$@" > {said}
echo 'Submitted batch job 7'
"""
# Instead of the training: says its words, waits for SIGTERM, ends with 75 as `seg-lib train` does.
TRAINER = """#!/bin/bash
printf '%s\\0' "$@" >> {said}
printf 'end\\0' >> {said}
trap 'touch "$out"/last.safetensors; exit 75' TERM
out="${{@: -5:1}}"
{then}
"""


def executable(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_hostile_names_arrive_whole_and_run_nothing(name, scheduler, tmp_path, monkeypatch):
    said = tmp_path / "said"
    python = executable(tmp_path / "python", TRAINER.format(said=said, then="exit 0"))
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.chdir(tmp_path)
    script = job_script("slices2d", scheduler, tmp_path / name, tmp_path / name / "o", Resources())
    subprocess.run(["bash"], input=script, text=True, check=True, cwd=tmp_path)
    words = said.read_text().split("\0")
    assert words[words.index("--data") + 1] == str(tmp_path / name)
    assert words[words.index("--out") + 1] == str(tmp_path / name / "o")
    assert not list(tmp_path.rglob("hacked"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"scheduler": "lsf"}, "slurm or sge"),
        ({"partition": "a\n#SBATCH --uid=0"}, "no name of a partition"),
        ({"cpus": 0}, "cpus >= 1"),
        ({"hours": 0}, "hours above 0"),
        ({"seed": "0,1"}, "--array"),
        ({"seed": "one"}, "whole number"),
        ({"network": "a b"}, "cannot stand in a script"),
        ({"data": "line\nbreak"}, "cannot stand in a script"),
        ({"task": "77"}, "77"),
        ({"task": "slice2d"}, "slices2d"),
        ({"profile": "huge"}, "smoke"),
    ],
)
def test_what_cannot_be_asked_for_is_named(words, told, tmp_path):
    usual = {"task": "slices2d", "scheduler": "slurm", "data": "d", "out": tmp_path / "o"}
    with pytest.raises(InputError, match=told):
        cluster.write_job(**usual | words)
    assert not (tmp_path / "o").exists()


def words_for(out, *more, scheduler="slurm"):
    words = ["job", "slices2d", "--scheduler", scheduler, "--data", "d", "--out", str(out)]
    return [*words, *more]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_command_submits_from_the_folder_of_the_run(scheduler, tmp_path, monkeypatch, capsys):
    bin_dir, out = tmp_path / "bin", tmp_path / "a b"
    bin_dir.mkdir()
    executable(bin_dir / SCHEDULERS[scheduler].submit, FAKE.format(said=tmp_path / "said"))
    monkeypatch.setenv("PATH", f"{bin_dir}:{os.environ['PATH']}")
    assert cli.main(words_for(out, "--submit", scheduler=scheduler)) == 0
    assert (tmp_path / "said").read_text().splitlines() == [str(out), "job.sh"]
    told = capsys.readouterr().out
    assert "Submitted batch job 7" in told and f"cd '{out}'" in told


def test_without_a_cluster_the_script_is_there_and_the_words_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(words_for(tmp_path / "run", "--submit")) == 1
    error = capsys.readouterr().err
    assert "sbatch is not on this machine" in error and error.count("\n") == 1
    assert (tmp_path / "run" / "job.sh").is_file()
    executable(tmp_path / "sbatch", "#!/bin/sh\necho 'invalid partition' >&2\nexit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert cli.main(words_for(tmp_path / "run", "--submit")) == 1
    assert "refused it: invalid partition" in capsys.readouterr().err


@pytest.fixture
def stoppable(tmp_path, monkeypatch):
    """A function that runs a script with a made-up training, and signals it once that has begun."""

    def run(scheduler, restarts, number=None):
        said, requeued = tmp_path / "said", tmp_path / "requeued"
        for path in (said, requeued):
            path.unlink(missing_ok=True)
        then = "while :; do sleep 0.05; done" if number else "exit 3"
        python = executable(tmp_path / "python", TRAINER.format(said=said, then=then))
        executable(tmp_path / "scontrol", f'#!/bin/sh\necho "$@" > {requeued}\n')
        monkeypatch.setattr(sys, "executable", str(python))
        script = tmp_path / "job.sh"
        script.write_text(job_script("slices2d", scheduler, "d", tmp_path / "o", Resources()))
        names = {"slurm": "SLURM_RESTART_COUNT", "sge": "RESTARTED"}
        environment = os.environ | {names[scheduler]: restarts, "SLURM_JOB_ID": "7"}
        environment |= {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SGE_TASK_ID": "undefined"}
        process = subprocess.Popen(["bash", script], env=environment, start_new_session=True)
        if number:
            deadline = time.monotonic() + 20
            while not said.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(0.2)
            if scheduler == "sge":  # Grid Engine signals every process of the job
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
        return process.wait(timeout=30), requeued.exists(), "--resume" in said.read_text()

    return run


def test_slurm_is_asked_for_one_requeue_and_the_next_start_resumes(stoppable):
    assert stoppable("slurm", "0", signal.SIGUSR1) == (75, True, False)
    assert stoppable("slurm", "1", signal.SIGTERM) == (75, False, True)


def test_grid_engine_hears_99_once_and_the_next_start_resumes(stoppable):
    assert stoppable("sge", "0", signal.SIGUSR2) == (99, False, False)
    assert stoppable("sge", "1", signal.SIGUSR1) == (75, False, True)


@pytest.mark.parametrize(
    "kept",
    ["last.previous.safetensors", "image_only/last.safetensors"]
    + ["image_only/last.previous.safetensors"],
)
def test_whatever_state_is_there_is_gone_on_from(kept, stoppable, tmp_path):
    path = tmp_path / "o" / kept
    path.parent.mkdir(parents=True)
    path.touch()
    assert stoppable("slurm", "0") == (3, False, True)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_training_that_fails_by_itself_is_not_tried_again(stoppable, scheduler):
    assert stoppable(scheduler, "0") == (3, False, False)


def test_out_of_minutes_is_saved_not_scored_and_resumed(tmp_path, monkeypatch):
    """What a job does after a signal, without a cluster."""
    tiny = Settings("06", "x", test_tasks.SIZES | {"size": 32, "copies": 0})
    monkeypatch.setattr("seg_lib.tasks.settings", lambda lesson, profile: tiny)
    make_phantom("lung2d", 24, 64, 0, tmp_path / "data")
    words = ["train", "slices2d", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
    assert cli.main([*words, "--minutes", "0"]) == 75
    assert not (tmp_path / "run" / "results.csv").exists()
    assert cli.main([*words, "--resume"]) == 0
    assert (tmp_path / "run" / "results.csv").is_file()


def test_a_stopped_training_ends_the_command_with_75(monkeypatch, capsys):
    def stopped(**words):
        raise Interrupted("run: stopped (signal), saved and not scored; --resume goes on.")

    monkeypatch.setattr("seg_lib.tasks.train_task", stopped)
    assert cli.main(["train", "slices2d", "--data", "d", "--out", "o"]) == 75
    assert "--resume" in capsys.readouterr().err
