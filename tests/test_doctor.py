"""The doctor: names what is missing with the command that brings it, and never falls ill itself."""

import os
import re
import socket
import subprocess
import sys
import time
import webbrowser
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from seg_lib import costs, doctor, preflight
from seg_lib.cli import main
from seg_lib.course import runner
from seg_lib.course.notebooks import find_notebooks, read_notebook
from seg_lib.course.profiles import PROFILES

INSTALL = doctor.INSTALL


def torch_says(**facts):
    """What stands in for the trial of torch, which takes seconds."""
    return f"import json; print(json.dumps({facts!r}))"


@pytest.fixture
def no_torch_trial(monkeypatch):
    """Metadata only: torch itself is not started."""
    monkeypatch.setattr(doctor, "TRY_TORCH", torch_says(devices=[], cuda_build=None))


@pytest.fixture
def versions(monkeypatch):
    """Change what is installed: name to version, None for missing."""
    changed = {}
    real = metadata.version

    def version(name):
        if name not in changed:
            return real(name)
        if changed[name] is None:
            raise metadata.PackageNotFoundError(name)
        return changed[name]

    monkeypatch.setattr(doctor.metadata, "version", version)
    return changed


def test_here_everything_is_present(monkeypatch):
    limits_s, run = [], subprocess.run

    def noted(command, **how):
        limits_s.append(how["timeout"])
        return run(command, **how)

    monkeypatch.setattr(doctor.subprocess, "run", noted)
    text, ok = doctor.report()
    assert limits_s == [doctor.TORCH_LIMIT_S], "one trial, and one that comes to an end"
    assert ok, text
    assert text.endswith("All that the course needs is here.")
    for word in ("Python", "cores", "memory", "disk", "device", "torch ", "ruff"):
        assert word in text
    assert "MISSING" not in text


def test_it_loads_nothing_heavy():
    heavy = ("torch", "monai", "numpy", "transformers", "matplotlib")
    code = f"import sys, seg_lib.doctor; print([m for m in {heavy!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "version", "said"),
    [
        ("nibabel", None, f'MISSING  nibabel is not installed; run: {INSTALL} "nibabel>=5.3"'),
        ("monai", "1.4.0", f'MISSING  monai 1.4.0; run: {INSTALL} "monai>=1.5.2"'),
        ("albumentations", "2.1.0", f'2.1.0; run: {INSTALL} "albumentations<2.1,>=2.0.8"'),
        ("torch", None, "MISSING  torch is not installed"),
    ],
)
def test_what_is_missing_is_named_with_its_command(no_torch_trial, versions, name, version, said):
    versions[name] = version
    text, ok = doctor.report()
    assert not ok
    assert said in text
    assert text.endswith("Something is missing.")


def test_what_two_extras_ask_for_is_listed_once(no_torch_trial):
    listed = doctor.report()[0].split("packages")[1].split("\n\n")[0].splitlines()[1:]
    names = [line.split()[0] for line in listed]
    assert "onnx" in names and len(names) == len(set(names))


def test_what_only_developers_need_is_no_fault(no_torch_trial, versions):
    versions["ruff"] = None
    text, ok = doctor.report()
    assert ok, text
    assert "missing (optional)" in text


def test_two_builds_that_do_not_fit(no_torch_trial, versions):
    versions.update(torch="2.15.0+cpu", torchvision="0.29.2+cu126")
    text, ok = doctor.report()
    assert not ok
    assert "two builds that do not fit: torch for cpu and torchvision for cu126" in text
    assert f"run: {INSTALL} --force-reinstall torch torchvision" in text
    versions.update(torch="2.15.0+cpu", torchvision="0.29.2+cpu")
    assert doctor.report()[1]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "nms does not exist"),
        ("import os; os._exit(3)", "exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "exit code -11"),
    ],
)
def test_a_broken_build_is_a_sentence(monkeypatch, code, said):
    monkeypatch.setattr(doctor, "TRY_TORCH", code)
    text, ok = doctor.report()
    assert not ok
    assert said in text
    assert "--force-reinstall torch torchvision" in text


def test_a_torch_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(doctor, "TRY_TORCH", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor, "TORCH_LIMIT_S", 0.5)
    text, ok = doctor.report()
    assert not ok
    assert "torch did not start in 0.5 s" in text


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"devices": [], "cuda_build": None}, "CPU (no CUDA device; every lesson runs without"),
        ({"devices": ["H200, 140 GB"], "cuda_build": "12.8"}, "H200, 140 GB (CUDA 12.8)"),
    ],
)
def test_the_device(monkeypatch, facts, said):
    monkeypatch.setattr(doctor, "TRY_TORCH", torch_says(**facts))
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert f"device   {said}" in doctor.report()[0]


@pytest.mark.parametrize(
    ("memory_gb", "gpus", "fitting"),
    [
        (3.4, [], []),
        (3.6, [], ["smoke"]),
        (16, [], ["smoke", "laptop"]),
        (16, ["A30, 24 GB"], ["smoke", "laptop", "gpu"]),
        (16, ["A40, 48 GB", "A40, 48 GB"], ["smoke", "laptop", "gpu", "paper"]),
    ],
)
def test_each_profile_gets_a_verdict(monkeypatch, memory_gb, gpus, fitting):
    """Of the largest lesson of a profile; several GPUs count together."""
    needs = {"01": (1000, 4000, 24000, 2000), "02": (3500, 3000, 2000, 90000)}
    table = {
        lesson: {profile: {"budget_mb": mb} for profile, mb in zip(PROFILES, row, strict=True)}
        for lesson, row in needs.items()
    }
    monkeypatch.setattr(doctor, "TABLE", table)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free(memory_gb))
    monkeypatch.setattr(doctor, "TRY_TORCH", torch_says(devices=gpus, cuda_build="12.8"))
    said = doctor.report()[0].split("\nprofiles\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in said] == list(PROFILES)
    assert [line.split()[0] for line in said if " fits: " in line] == fitting
    asked = [re.search(r": ([\d.]+) GB", line)[1] for line in said]
    assert asked == ["3.5", "4", "24", "90"]
    assert said[0].endswith(f"memory, {memory_gb:.1f} GB here")


def test_a_gpu_that_torch_cannot_use_is_told(monkeypatch, no_torch_trial):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert "built without CUDA" in doctor.report()[0]


def names_in(lines):
    return {re.match(r"[\w.-]+", line)[0] for line in lines}


def test_without_its_own_metadata_it_reads_the_checkout(monkeypatch):
    installed = names_in(doctor.requirements())

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", missing)
    assert names_in(doctor.requirements()) == installed


def test_when_nothing_is_installed_it_still_reports(monkeypatch, no_torch_trial, tmp_path):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", missing)
    monkeypatch.setattr(doctor.metadata, "version", missing)
    monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    text, ok = doctor.report()
    assert not ok
    assert f'torch is not installed; run: {INSTALL} "torch>=2.10"' in text
    monkeypatch.setattr(doctor, "__file__", str(tmp_path / "seg_lib" / "doctor.py"))
    text, ok = doctor.report()
    assert not ok
    assert "seg-lib is not installed" in text


REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def in_a_course(tmp_path, monkeypatch) -> Path:
    """A course of no lesson, as the current folder."""
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_before_a_class_everything_is_tried(monkeypatch, in_a_course):
    """JupyterLab and a kernel really start; only the step that takes a minute is not timed."""
    monkeypatch.setattr(costs, "slowness", lambda *_: 1.0)
    text, ready = preflight.preflight()
    assert ready, text
    lines = text.splitlines()
    assert [line[6:16].strip() for line in lines[1:-1]] == list(preflight.CHECKS)
    assert "made a phantom in" in text and "its page opens on the loopback" in text
    assert not list((in_a_course / "runs").iterdir()), "nothing stays behind"


def test_the_command_says_both_and_fails_with_the_class(monkeypatch, no_torch_trial, capsys):
    monkeypatch.setattr(preflight, "CHECKS", {"disk": lambda: (preflight.OK, "roomy")})
    assert main(["doctor", "--workshop"]) == 0
    said = capsys.readouterr().out
    assert "All that the course needs is here." in said
    assert said.endswith("ok    disk       roomy\nThe class can begin.\n")
    monkeypatch.setattr(preflight, "CHECKS", {"disk": lambda: (preflight.FAIL, "full; empty it")})
    assert main(["doctor", "--workshop"]) == 1
    assert capsys.readouterr().out.endswith("Mend what says FAIL before the class.\n")


def test_a_check_that_breaks_is_a_failure_with_its_reason(monkeypatch):
    def broken():
        raise RuntimeError("no such device")

    monkeypatch.setattr(preflight, "CHECKS", {"speed": broken})
    text, ready = preflight.preflight()
    assert not ready
    assert "FAIL  speed      stopped with RuntimeError: no such device" in text


def free(gb: float) -> SimpleNamespace:
    """What psutil and shutil would say of so much memory or disk."""
    return SimpleNamespace(available=gb * 1e9, total=8e9, free=gb * 1e9)


@pytest.mark.parametrize(
    ("gb", "grade", "said"),
    [(0.2, "FAIL", "close other"), (2.2, "look", "lesson 06, 07"), (9, "ok  ", "every lesson")],
)
def test_memory_is_held_against_the_budgets(monkeypatch, gb, grade, said):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free(gb))
    found = preflight.memory()
    assert found[0] == grade and said in found[1]


def test_little_disk_fails_the_class(monkeypatch):
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda folder: free(0.4))
    assert preflight.disk() == (
        "FAIL",
        f"0.4 GB free, and a class needs {preflight.DISK_GB}; empty runs/ or the trash",
    )


@pytest.mark.parametrize(
    ("factor", "cores", "grade"), [(1, 2, "ok  "), (3, 2, "look"), (1, 1, "look")]
)
def test_a_slow_machine_is_told_and_may_be_used(monkeypatch, factor, cores, grade):
    monkeypatch.setattr(costs, "slowness", lambda *_: factor)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    found = preflight.speed()
    assert found[0] == grade
    assert f"{factor:.1f} times" in found[1]
    assert preflight.SLOW == runner.OVER_BUDGET


def test_an_old_python_fails_the_class(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    grade, said = preflight.python_version()
    assert grade == "FAIL" and said.startswith("3.9.1, and ") and ">=3.11" in said


def test_a_lab_that_does_not_start_says_its_last_words(monkeypatch, tmp_path):
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho starting\necho no module named jupyter >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(preflight.sys, "executable", str(fake))
    grade, said = preflight.lab()
    assert grade == "FAIL"
    assert said.startswith("does not start (no module named jupyter); run: ")


def test_a_kernel_without_the_library_fails_the_class(monkeypatch):
    monkeypatch.setattr(preflight, "PHANTOM", "import seg_lib_of_another_name")
    grade, said = preflight.kernel()
    assert grade == "FAIL"
    assert said.startswith("ModuleNotFoundError: No module named 'seg_lib_of_another_name'; run: ")


def test_a_port_that_is_taken_costs_a_look(monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setattr(preflight, "LAB_PORT", other.getsockname()[1])
        assert preflight.port()[0] == "look"
    with socket.socket() as free_one:
        free_one.bind(("127.0.0.1", 0))
        monkeypatch.setattr(preflight, "LAB_PORT", free_one.getsockname()[1])
    assert preflight.port()[0] == "ok  "


def test_a_browser_or_none(monkeypatch):
    monkeypatch.setattr(webbrowser, "get", lambda: SimpleNamespace(name="firefox"))
    assert preflight.browser() == ("ok  ", "firefox will be opened")

    def none():
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(webbrowser, "get", none)
    assert preflight.browser()[0] == "look"


def test_a_folder_that_cannot_be_written_fails_the_class(in_a_course):
    (in_a_course / "runs").write_text("a file where the folder should be")
    grade, said = preflight.write()
    assert grade == "FAIL" and "runs/.preflight: cannot be written" in said


def test_other_versions_than_the_pinned_are_named(versions, in_a_course):
    assert preflight.packages()[0] == "look", "no constraints.txt here"
    pins = {name: metadata.version(name) for name in ("numpy", "torch", "monai", "scipy", "pip")}
    lines = "".join(f"{name}=={version}\n" for name, version in pins.items())
    (in_a_course / "constraints.txt").write_text(f"# pinned\nnot-installed-here==1.0\n{lines}")
    versions["torch"] = pins["torch"] + "+cpu"
    assert preflight.packages() == ("ok  ", "the versions of constraints.txt")
    versions.update(dict.fromkeys(("numpy", "torch", "monai", "scipy"), "0.1"))
    grade, said = preflight.packages()
    assert grade == "look"
    assert said.startswith(f"numpy 0.1 instead of {pins['numpy']}, torch 0.1 instead of ")
    assert said.endswith("and 1 more; install with -c constraints.txt")


def test_a_clock_behind_the_lessons_is_noticed(in_a_course):
    lesson = in_a_course / "notebooks" / "00_start.ipynb"
    lesson.write_text("{}")
    assert preflight.clock()[0] == "ok  "
    tomorrow = time.time() + 86_400
    os.utime(lesson, (tomorrow, tomorrow))
    grade, said = preflight.clock()
    assert grade == "look" and said.endswith("is before the lessons were written; set the clock")


def test_budgets_of_memory_cover_what_the_stored_runs_took():
    """Or the pre-flight would let a class begin that runs out of memory."""
    for book in find_notebooks(REPOSITORY / "notebooks"):
        took_mb = read_notebook(book.path)["metadata"]["seg_lib"]["peak_mb"]
        assert took_mb <= preflight.TABLE[book.number]["laptop"]["budget_mb"], book.name
