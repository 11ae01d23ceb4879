"""``seg-lib doctor``: what is here, what is missing, and the command that brings it.

Only metadata is read in this process; torch is tried in a process of its own, so that a broken
build cannot take the doctor down with it. No network is used.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

PACKAGE = "seg-lib"
INSTALL = f"{Path(sys.executable).name} -m pip install"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
TORCH_LIMIT_S = 60  # a cold disk is slow; usually it takes 3 s
TRY_TORCH = """
import json, torch
facts = {"torch": torch.__version__, "cuda_build": torch.version.cuda, "devices": []}
if torch.cuda.is_available():
    for i in range(torch.cuda.device_count()):
        p = torch.cuda.get_device_properties(i)
        facts["devices"].append(f"{p.name}, {p.total_memory / 1e9:.0f} GB")
import torchvision.ops
torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
print(json.dumps(facts))
"""


def report() -> tuple[str, bool]:
    """Examine this installation.

    Returns:
        The report, a line per fact, and whether everything that the course needs is there.
    """
    machine = _machine_lines()
    trial = _start_torch()
    packages, missing = _package_lines()
    device, broken = _torch_lines(trial)
    faults = missing + broken
    lines = [*machine, *device, *_browser_line(), "", "packages", *packages, ""]
    lines += [f"MISSING  {fault}" for fault in faults]
    lines.append("Something is missing." if faults else "All that the course needs is here.")
    return "\n".join(lines), not faults


def _machine_lines() -> list[str]:
    """Python, system, cores, memory, disk."""
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    return [
        f"Python   {platform.python_version()} ({_kind_of_python()})",
        f"system   {platform.system()} {platform.release()} {platform.machine()}",
        f"cores    {os.cpu_count()}",
        f"memory   {_memory()}",
        f"disk     {free_gb:.0f} GB free here",
    ]


def _kind_of_python() -> str:
    """Without its path: a published notebook shows this report."""
    return "virtual environment" if sys.prefix != sys.base_prefix else "system"


def _memory() -> str:
    try:
        import psutil
    except ImportError:
        return "unknown (psutil is missing)"
    memory = psutil.virtual_memory()
    return f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free"


def requirements() -> list[str]:
    """What the package asks for, as in its metadata; in a bare checkout, as in pyproject.toml."""
    try:
        return metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        pass
    project = Path(__file__).parents[1] / "pyproject.toml"
    if not project.is_file():
        return []
    table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    extras = [
        f"{line}; extra == '{extra}'"
        for extra, lines in table.get("optional-dependencies", {}).items()
        for line in lines
    ]
    return table["dependencies"] + extras


def _package_lines() -> tuple[list[str], list[str]]:
    """A line per required package, and a sentence for each that is missing or out of range."""
    lines, faults = [], []
    wanted = requirements()
    if not wanted:
        faults.append(f"{PACKAGE} is not installed; in its folder: {INSTALL} -e .")
    for line in wanted:
        requirement, _, condition = line.partition(";")
        name = re.match(r"[A-Za-z0-9._-]+", requirement.strip())[0]
        optional = "extra" in condition
        version = _version(name)
        fits = version is not None and _in_range(version, requirement)
        note = "" if fits else f"   <- asks for {requirement.strip()}"
        kind = " (for developers)" if optional else ""
        lines.append(f"  {name:<28} {version or 'missing'}{kind}{note}")
        if not fits and not optional:
            have = f"{name} {version}" if version else f"{name} is not installed"
            faults.append(f'{have}; run: {INSTALL} "{requirement.strip()}"')
    return lines, faults


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _in_range(version: str, requirement: str) -> bool:
    """Does a version satisfy a requirement? Without ``packaging`` its presence has to do."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return True
    return Requirement(requirement).specifier.contains(version, prereleases=True)


def _start_torch() -> subprocess.Popen | None:
    """Begin to import torch and torchvision in another process; None if there is no torch."""
    if _version("torch") is None:
        return None
    return subprocess.Popen(
        [sys.executable, "-c", TRY_TORCH],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _torch_lines(trial: subprocess.Popen | None) -> tuple[list[str], list[str]]:
    """The device that torch sees, and what is broken between torch and torchvision."""
    builds = {name: _build(_version(name)) for name in ("torch", "torchvision")}
    repair = f"run: {INSTALL} --force-reinstall torch torchvision"
    if None not in builds.values() and builds["torch"] != builds["torchvision"]:
        both = " and ".join(f"{name} for {build}" for name, build in builds.items())
        mismatch = [f"two builds that do not fit: {both}; {repair}"]
    else:
        mismatch = []
    if trial is None:
        return ["device   unknown (no torch)"], mismatch
    try:
        out, error = trial.communicate(timeout=TORCH_LIMIT_S)
    except subprocess.TimeoutExpired:
        trial.kill()
        trial.communicate()
        return ["device   unknown"], [f"torch did not start in {TORCH_LIMIT_S} s; {repair}"]
    if trial.returncode:
        last = (error.strip().splitlines() or [f"exit code {trial.returncode}"])[-1]
        return ["device   unknown"], mismatch or [
            f"torch or torchvision is broken: {last}; {repair}"
        ]
    return [f"device   {_device(json.loads(out.splitlines()[-1]))}"], mismatch


def _build(version: str | None) -> str | None:
    """``cu126`` out of 2.10.0+cu126; None where the version does not say."""
    return version.partition("+")[2] or None if version else None


def _device(facts: dict) -> str:
    if facts["devices"]:
        return f"{'; '.join(facts['devices'])} (CUDA {facts['cuda_build']})"
    if shutil.which("nvidia-smi") and not facts["cuda_build"]:
        return "CPU: this torch is built without CUDA, though the machine may have a GPU"
    return "CPU (no CUDA device; every lesson runs without one)"


def _browser_line() -> list[str]:
    """The browser that the viewer's test drives; the course does without it."""
    found = next((name for name in BROWSERS if shutil.which(name)), None)
    return [f"browser  {found or 'none found: the test of the viewer is skipped (chromium)'}"]
