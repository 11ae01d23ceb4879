"""The doctor: names what is missing with the command that brings it, and never falls ill itself."""

import re
import subprocess
import sys
import time
from importlib import metadata

import pytest

from seg_lib import doctor

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


def test_here_everything_is_present():
    begin = time.monotonic()
    text, ok = doctor.report()
    seconds = time.monotonic() - begin
    assert ok, text
    assert text.endswith("All that the course needs is here.")
    assert seconds < 30, "usually under 5 s; a busy machine may take longer"
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


def test_what_only_developers_need_is_no_fault(no_torch_trial, versions):
    versions["ruff"] = None
    text, ok = doctor.report()
    assert ok, text
    assert "missing (for developers)" in text


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
