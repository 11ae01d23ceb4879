"""``seg-lib doctor``: what is here, what is missing, and the command that brings it.

Only metadata is read in this process; torch is tried in a process of its own, so that a broken
build cannot take the doctor down with it. No network is used.
"""

import contextlib
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

from seg_lib.course.sizes import TABLE

PACKAGE = "seg-lib"
INSTALL = f"{Path(sys.executable).name} -m pip install"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
TORCH_LIMIT_S = 60  # a cold disk is slow; usually it takes 3 s
TRY_TORCH = """
import json, torch
n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
gpus = map(torch.cuda.get_device_properties, range(n_gpus))
devices = [f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB" for gpu in gpus]
import torchvision.ops
torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
print(json.dumps({"cuda_build": torch.version.cuda, "devices": devices}))
"""


def report() -> tuple[str, bool]:
    """Examine this installation: a line per fact, and whether all that the course needs is there.

    No folder is named: a published notebook shows this report.
    """
    free_gb, memory = 0.0, "unknown (psutil is missing)"
    with contextlib.suppress(ImportError):
        import psutil

        ram = psutil.virtual_memory()
        free_gb = ram.available / 1e9
        memory = f"{free_gb:.1f} of {ram.total / 1e9:.1f} GB free"
    python = "virtual environment" if sys.prefix != sys.base_prefix else "system"
    no_browser = "none found: the test of the viewer is skipped (chromium)"
    packages, missing = _packages()
    device, broken = _device()
    lines = [
        f"Python   {platform.python_version()} ({python})",
        f"system   {platform.system()} {platform.release()} {platform.machine()}",
        f"cores    {os.cpu_count()}",
        f"memory   {memory}",
        f"disk     {shutil.disk_usage(Path.cwd()).free / 1e9:.0f} GB free here",
        f"device   {device}",
        f"browser  {next(filter(shutil.which, BROWSERS), no_browser)}",
        *("", "profiles", *tiers(free_gb, device), "", "packages", *packages, ""),
        *(f"MISSING  {fault}" for fault in missing + broken),
    ]
    ok = not missing + broken
    lines.append("All that the course needs is here." if ok else "Something is missing.")
    return "\n".join(lines), ok


def tiers(free_gb: float, device: str) -> list[str]:
    """A line a profile of the lessons: is there the memory that its largest lesson needs?"""
    lines, gpu_gb = [], sum(map(float, re.findall(r", (\d+) GB", device)))
    cpu, gpu = ("memory", free_gb), ("GPU memory", gpu_gb)
    places = {"smoke": cpu, "laptop": cpu, "gpu": gpu, "paper": gpu}
    for profile, (where, have_gb) in places.items():
        need_gb = max(row[profile]["budget_mb"] for row in TABLE.values()) / 1000
        verdict = "fits" if have_gb >= need_gb else "does not fit"
        lines.append(f"  {profile:<8} {verdict}: {need_gb:g} GB of {where}, {have_gb:.1f} GB here")
    return lines


def requirements() -> list[str]:
    """What the package asks for, as in its metadata; in a bare checkout, as in pyproject.toml."""
    try:
        return metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        project = Path(__file__).parents[1] / "pyproject.toml"
    if not project.is_file():
        return []
    table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    extras = table["optional-dependencies"].values()
    return table["dependencies"] + [f"{line}; extra" for lines in extras for line in lines]


def _packages() -> tuple[list[str], list[str]]:
    """A line per required package, and a sentence for each that is missing or out of range."""
    wanted = requirements()
    lines: dict[str, str] = {}  # by name: some stand in two extras
    faults = [] if wanted else [f"{PACKAGE} is not installed; in its folder: {INSTALL} -e ."]
    for line in wanted:
        requirement, _, condition = line.partition(";")
        requirement = requirement.strip()
        name = re.match(r"[A-Za-z0-9._-]+", requirement)[0]
        optional = "extra" in condition
        version = _version(name)
        fits = version is not None and _in_range(version, requirement)
        note = " (optional)" if optional else ""
        note += "" if fits else f"   <- asks for {requirement}"
        lines.setdefault(name, f"  {name:<28} {version or 'missing'}{note}")
        if not fits and not optional:
            have = f"{name} {version or 'is not installed'}"
            faults.append(f'{have}; run: {INSTALL} "{requirement}"')
    return list(lines.values()), faults


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


def _device() -> tuple[str, list[str]]:
    """The device that torch sees, and what is broken between torch and torchvision."""
    versions = {name: _version(name) or "" for name in ("torch", "torchvision")}
    builds = {name: version.partition("+")[2] for name, version in versions.items()}  # cu126
    repair = f"run: {INSTALL} --force-reinstall torch torchvision"
    faults = []
    if all(builds.values()) and builds["torch"] != builds["torchvision"]:
        both = " and ".join(f"{name} for {build}" for name, build in builds.items())
        faults = [f"two builds that do not fit: {both}; {repair}"]
    if not versions["torch"]:
        return "unknown (no torch)", faults
    command = [sys.executable, "-c", TRY_TORCH]
    try:
        trial = subprocess.run(command, capture_output=True, text=True, timeout=TORCH_LIMIT_S)
    except subprocess.TimeoutExpired:
        return "unknown", [f"torch did not start in {TORCH_LIMIT_S} s; {repair}"]
    if trial.returncode:
        last = (trial.stderr.strip().splitlines() or [f"exit code {trial.returncode}"])[-1]
        return "unknown", faults or [f"torch or torchvision is broken: {last}; {repair}"]
    facts = json.loads(trial.stdout.splitlines()[-1])
    if facts["devices"]:
        return f"{'; '.join(facts['devices'])} (CUDA {facts['cuda_build']})", faults
    if shutil.which("nvidia-smi") and not facts["cuda_build"]:
        return "CPU: this torch is built without CUDA, though the machine may have a GPU", faults
    return "CPU (no CUDA device; every lesson runs without one)", faults
