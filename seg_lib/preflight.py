"""``seg-lib doctor --workshop``: would a class begin on time on this machine?

What the doctor reads from metadata is tried here: JupyterLab is started on the loopback, a kernel
makes a phantom, a file is written. Nothing stays behind, no network is used.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import webbrowser
from collections.abc import Callable
from datetime import datetime
from importlib import metadata
from pathlib import Path

from seg_lib.course.notebooks import course_root
from seg_lib.course.sizes import TABLE
from seg_lib.doctor import INSTALL
from seg_lib.errors import InputError
from seg_lib.files import written_whole

OK, LOOK, FAIL = "ok  ", "look", "FAIL"  # a look may cost minutes, a FAIL costs the class
DISK_GB = 5  # what all lessons leave in data/ and runs/ in the laptop profile, and some room
SLOW = 1.5  # the factor by which a lesson may be late before the runner calls it failed
LAB_PORT = 8888
LAB_LIMIT_S = 120  # a cold disk is slow; usually it takes 5 s
PHANTOM = """
import tempfile
from seg_lib.data.phantom import make_phantom
with tempfile.TemporaryDirectory() as folder:
    make_phantom("lung2d", n_cases=4, size=128, seed=0, out_dir=folder)
"""
Finding = tuple[str, str]  # grade, sentence


def preflight() -> tuple[str, bool]:
    """Try what a class needs: a line each, and whether the class can begin."""
    lines, ready = ["Before the class"], True
    for name, check in CHECKS.items():
        try:
            grade, sentence = check()
        except Exception as error:  # whatever a broken machine may do
            why = f"stopped with {type(error).__name__}: {error}"
            grade, sentence = FAIL, f"{why}; mend what is MISSING above, then try again"
        ready = ready and grade != FAIL
        lines.append(f"{grade}  {name:<10} {sentence}")
    lines.append("The class can begin." if ready else "Mend what says FAIL before the class.")
    return "\n".join(lines), ready


def python_version() -> Finding:
    """Is it one of those that the pinned packages are tested with?"""
    from packaging.specifiers import SpecifierSet

    asked = metadata.metadata("seg-lib")["Requires-Python"]
    have = ".".join(map(str, sys.version_info[:3]))
    if have in SpecifierSet(asked):
        return OK, have
    return FAIL, f"{have}, and {asked} is needed; make a new environment with it"


def disk() -> Finding:
    """Room for phantoms and results."""
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    if free_gb >= DISK_GB:
        return OK, f"{free_gb:.0f} GB free"
    return FAIL, f"{free_gb:.1f} GB free, and a class needs {DISK_GB}; empty runs/ or the trash"


def memory() -> Finding:
    """Does each lesson's budget fit into what is free?"""
    import psutil

    free_mb = psutil.virtual_memory().available / 1e6
    needs = {number: row["laptop"]["budget_mb"] for number, row in TABLE.items()}
    large = [number for number, need in needs.items() if need > free_mb]
    if not large:
        return OK, f"{free_mb / 1000:.1f} GB free, enough for every lesson"
    said = f"{free_mb / 1000:.1f} GB free, too little for lesson {', '.join(large)}"
    grade = FAIL if len(large) == len(needs) else LOOK
    return grade, f"{said}; close other programs"


def speed() -> Finding:
    """How long lessons take here, beside the minutes that README tells."""
    from seg_lib.costs import slowness

    factor, cores = slowness("fast"), os.cpu_count() or 1
    times = f"{factor:.1f}{' or more' if factor >= 4 else ''} times"  # it is told up to 4
    said = f"{cores} cores, a training step takes up to {times} as long as in README's table"
    if factor <= SLOW and cores > 1:
        return OK, said
    return LOOK, f'{said}; plan for it, or set PROFILE = "smoke" in the lessons that train'


def kernel() -> Finding:
    """Does a kernel start, find the library and make a phantom?"""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(stderr=subprocess.DEVNULL)
    try:
        began = time.perf_counter()
        reply = client.execute_interactive(PHANTOM, timeout=LAB_LIMIT_S, output_hook=lambda _: 0)
        took_s = time.perf_counter() - began
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    said = reply["content"]
    if said["status"] == "ok":
        return OK, f"a notebook's kernel made a phantom in {took_s:.1f} s"
    repair = f"run: {Path(sys.executable).name} -m ipykernel install --sys-prefix"
    return FAIL, f"{said['ename']}: {said['evalue']}; {repair}"


def lab() -> Finding:
    """Does JupyterLab, with settings of its own, start on the loopback and serve its page?"""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
    command += [f"--port={number}", "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0"]
    command += ["--IdentityProvider.token=", "--LabApp.news_url=None"]
    places = ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    with tempfile.TemporaryDirectory() as home, open(Path(home) / "log", "w+") as log:
        where = {"cwd": home, "env": os.environ | dict.fromkeys(places, home)}
        with subprocess.Popen(command, stdout=log, stderr=log, **where) as server:
            try:
                if serves(f"http://127.0.0.1:{number}/lab", server):
                    return OK, "starts, and its page opens on the loopback"
            finally:
                server.kill()  # nobody has opened anything in it
        last = (Path(home) / "log").read_text(errors="replace").strip().splitlines()[-1:]
    repair = f"run: {INSTALL} --force-reinstall jupyterlab"
    return FAIL, f"does not start ({''.join(last)[:160]}); {repair}"


def serves(address: str, server: subprocess.Popen) -> bool:
    """Wait until JupyterLab's page is there, the server has ended, or patience has."""
    deadline = time.monotonic() + LAB_LIMIT_S
    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # as a hospital has one
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), directly.open(address, timeout=5) as page:
            return b"JupyterLab" in page.read()
        time.sleep(0.2)
    return False


def port() -> Finding:
    """Is the port that JupyterLab asks for first free?"""
    with socket.socket() as trial:
        try:
            trial.bind(("127.0.0.1", LAB_PORT))
        except OSError:
            return LOOK, f"{LAB_PORT} is taken: JupyterLab takes another, open what it prints"
    return OK, f"{LAB_PORT} is free on the loopback"


def browser() -> Finding:
    """What ``jupyter lab`` would open."""
    try:
        return OK, f"{webbrowser.get().name} will be opened"
    except webbrowser.Error:
        return LOOK, "none here: open the address that JupyterLab prints where there is one"


def write() -> Finding:
    """May the course write beside its lessons?"""
    root = course_root()
    try:
        with written_whole(root / "runs" / ".preflight") as part:
            part.write_bytes(b"x" * 2**20)
        (root / "runs" / ".preflight").unlink()
    except InputError as fault:
        return FAIL, str(fault)
    return OK, "results can be written"


def packages() -> Finding:
    """Are the installed versions those that were tested together?"""
    file = course_root() / "constraints.txt"
    if not file.is_file():
        return LOOK, "no constraints.txt in the course's folder: versions are not compared"
    others = []
    for name, pin in re.findall(r"^([\w.-]+)==(\S+)$", file.read_text(), re.MULTILINE):
        with contextlib.suppress(metadata.PackageNotFoundError):  # what is missing says the report
            have = metadata.version(name).partition("+")[0]  # 2.15.0+cpu
            others += [f"{name} {have} instead of {pin}"] if have != pin else []
    if not others:
        return OK, "the versions of constraints.txt"
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return LOOK, f"{', '.join(others[:3])}{more}; install with -c constraints.txt"


def clock() -> Finding:
    """A clock that is behind the course's own files is wrong."""
    now, files = datetime.now().astimezone(), (course_root() / "notebooks").glob("*.ipynb")
    newest = max((file.stat().st_mtime for file in files), default=0)
    if now.timestamp() >= newest:
        return OK, f"{now:%Y-%m-%d %H:%M %Z}: compare with a watch, deadlines follow it"
    return LOOK, f"{now:%Y-%m-%d %H:%M %Z} is before the lessons were written; set the clock"


CHECKS: dict[str, Callable[[], Finding]] = {
    "Python": python_version,
    "disk": disk,
    "memory": memory,
    "speed": speed,
    "packages": packages,
    "write": write,
    "kernel": kernel,
    "JupyterLab": lab,
    "port": port,
    "browser": browser,
    "clock": clock,
}
