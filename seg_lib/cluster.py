"""Jobs for a cluster: readable scripts for SLURM and for (Sun, Son of) Grid Engine.

    seg-lib job slices2d --scheduler slurm --data DIR --out RUN_DIR --gpus 2 --hours 10 --submit

A script asks for its resources, goes on where an earlier try stopped, hands a signal on to the
training, waits until that has saved, and goes back into the queue once; its text stands in
`seg_lib.schedulers`. Every name in it is quoted, so no name of a folder can run anything. Taught in
notebook 19.
"""

import itertools
import math
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_lib.course.notebooks import course_root, find_notebooks
from seg_lib.course.profiles import PROFILES
from seg_lib.errors import InputError
from seg_lib.files import write_text
from seg_lib.schedulers import BODY, SCHEDULERS
from seg_lib.tasks import TASKS

PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # names in directives: those know no quotes


@dataclass(frozen=True)
class Resources:
    """What a job asks for. Source 003 asked for 2 GPUs, 16 cores and 10 hours on one machine."""

    gpus: int = 0  # one process each; 0 trains on the cores
    cpus: int = 4  # cores of the whole job
    hours: float = 10.0  # then the scheduler takes the machine back
    partition: str = ""  # SLURM's partition, Grid Engine's queue; empty: the cluster's own

    def __post_init__(self) -> None:
        """Check every number and name."""
        if self.gpus < 0 or self.cpus < 1 or not 0 < self.hours <= 10_000:
            raise InputError(
                f"job: {self.gpus} GPUs, {self.cpus} cores, {self.hours} hours cannot be had; "
                "take gpus >= 0, cpus >= 1 and hours above 0."
            )
        if self.partition and not PLAIN.fullmatch(self.partition):
            raise InputError(
                f"job: {self.partition!r} is no name of a partition; use letters, digits, _ . -"
            )


@dataclass(frozen=True)
class Piece:
    """One run of a script."""

    out: Path  # its folder
    command: tuple[str, ...]
    resumable: bool  # knows --resume


def job_script(
    task: str, scheduler: str, data: Path, out: Path, ask: Resources, **one: str | int | None
) -> str:
    """A script for one training (or one lesson: a ``task`` of two digits).

    Args:
        task: a name of `seg_lib.tasks.TASKS`, or the number of a notebook.
        scheduler: "slurm" or "sge".
        data: see ``seg-lib train``; for a notebook the folder that keeps its phantoms.
        out: folder of the run; the job goes on from what is there.
        ask: the resources.
        one: ``network``, ``profile`` and ``seed`` where they are not the usual ones.

    Raises:
        InputError: an unknown scheduler or notebook.
    """
    usual = {"network": None, "profile": "laptop", "seed": 0} | one
    piece = _piece(task, Path(data).resolve(), Path(out).resolve(), ask, **usual)
    return _script(task, scheduler, [piece], ask)


def array_script(
    tasks: Sequence[str], scheduler: str, data: Path, out: Path, ask: Resources, **grid: Sequence
) -> str:
    """A script for a job array: every (task or notebook, network, profile, seed) is one element.

    Args:
        tasks: names of tasks, or numbers of notebooks.
        scheduler: "slurm" or "sge".
        data: as in `job_script`.
        out: gets one folder an element, such as ``slices2d-unetr-laptop-seed1``.
        ask: the resources of each element.
        grid: sequences ``networks``, ``profiles`` and ``seeds``.

    Raises:
        InputError: as `job_script`.
    """
    data, out = Path(data).resolve(), Path(out).resolve()
    lists = {"networks": [None], "profiles": ["laptop"], "seeds": [0]} | grid
    pieces = []
    for task, *one in itertools.product(tasks, *(lists[k] for k in lists)):
        named = dict(zip(("network", "profile", "seed"), one, strict=True))
        parts = [task, *(str(value) for value in one[:2] if value), f"seed{named['seed']}"]
        pieces.append(_piece(task, data, out / "-".join(parts), ask, **named))
    return _script("-".join(tasks), scheduler, pieces, ask)


def _lesson(task: str, data: Path, out: Path, python: list[str], one: dict) -> Piece:
    """A lesson, run by papermill."""
    if one["network"]:
        raise InputError("job: a lesson has a network of its own; leave --network out.")
    notebook = find_notebooks(course_root() / "notebooks", task)[0].path.resolve()
    words = ["papermill", str(notebook), str(out / notebook.name), "--cwd", str(notebook.parent)]
    texts = {"PROFILE": one["profile"], "DATA_DIR": data, "OUT_DIR": out}
    for name, value in texts.items():
        words += ["-r", name, str(value)]
    return Piece(out, (*python, *words, "-p", "SEED", str(one["seed"])), False)


def _piece(task: str, data: Path, out: Path, ask: Resources, **one: str | int | None) -> Piece:
    python = [sys.executable, "-m"]
    names = [task, *(str(value) for value in one.values() if value is not None)]
    odd = [name for name in names if not PLAIN.fullmatch(name)]
    odd += [str(path) for path in (data, out) if not str(path).isprintable()]
    if odd:
        raise InputError(f"job: {odd[0]!r} cannot stand in a script; choose another name.")
    if one["profile"] not in PROFILES:
        raise InputError(f"job: no profile {one['profile']!r}; choose: {', '.join(PROFILES)}.")
    if re.fullmatch(r"\d\d", task):
        return _lesson(task, data, out, python, one)
    if task not in TASKS:
        raise InputError(
            f"job: no task {task!r}; choose: {', '.join(TASKS)}, or a lesson's number."
        )
    if ask.gpus > 1:  # --standalone: the processes meet at a port that is free
        python += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ask.gpus), "-m"]
    words = ["seg_lib", "train", task, "--data", str(data), "--out", str(out)]
    for name, value in one.items():
        words += [f"--{name}", str(value)] if value is not None else []
    return Piece(out, (*python, *words), True)


def _script(name: str, scheduler: str, pieces: Sequence[Piece], ask: Resources) -> str:
    if scheduler not in SCHEDULERS:
        raise InputError(f"job: no scheduler {scheduler!r}; choose {' or '.join(SCHEDULERS)}.")
    its = SCHEDULERS[scheduler]
    minutes = math.ceil(60 * ask.hours)
    filled = {"name": f"seg-{name}" if PLAIN.fullmatch(name) else "seg", "cpus": ask.cpus}
    filled |= {"time": f"{minutes // 60}:{minutes % 60:02d}:00", "partition": ask.partition}
    filled |= {"gpus": ask.gpus, "last": len(pieces) - 1, "count": len(pieces)}
    wanted = [(its.cpus, ask.cpus > 1), (its.partition, ask.partition), (its.gpus, ask.gpus)]
    wanted += [(its.array, len(pieces) > 1)]
    lines = [*its.directives, *(line for line, when in wanted if when)]
    head = ["#!/bin/bash", *(line.format(**filled) for line in lines)]
    numbers = [its.first, *(str(k + int(its.first[0])) for k in range(1, len(pieces)))]
    cases = [
        f"  {number})\n    out={shlex.quote(str(piece.out))}\n"
        f"    resumable={'yes' if piece.resumable else 'no'}\n"
        f"    command=({shlex.join(piece.command)}) ;;"
        for number, piece in zip(numbers, pieces, strict=True)
    ]
    body = BODY.replace("@THREADS@", str(max(1, ask.cpus // max(1, ask.gpus))))
    body = body.replace("@RESTARTS@", its.restarts).replace("@ELEMENT@", its.element)
    body = body.replace("@AGAIN@", its.again)
    return "\n".join(head) + "\n" + body.replace("@CASES@", "\n".join(cases))


def write_job(
    task: str,
    scheduler: str,
    data: Path,
    out: Path,
    array: bool = False,
    network: str | None = None,
    profile: str = "laptop",
    seed: str = "0",
    **ask: Any,
) -> Path:
    """Write ``out/job.sh`` and return its path; with ``array`` the words are lists with commas.

    Raises:
        InputError: lists without ``array``, seeds that are no numbers, or as `job_script`.
    """
    words = {"networks": network, "profiles": profile, "seeds": seed}
    lists = {name: text.split(",") if text else [None] for name, text in words.items()}
    tasks = task.split(",")
    if not all(number.isdigit() for number in lists["seeds"]):
        raise InputError(f"job: --seed {seed} is no whole number, and no list of some.")
    grid = lists | {"seeds": [int(number) for number in lists["seeds"]]}
    if array:
        text = array_script(tasks, scheduler, data, out, Resources(**ask), **grid)
    elif any(len(values) > 1 for values in (tasks, *lists.values())):
        raise InputError("job: several tasks, networks, profiles or seeds need --array.")
    else:
        one = {"network": network, "profile": profile, "seed": int(seed)}
        text = job_script(task, scheduler, data, out, Resources(**ask), **one)
    script = Path(out).resolve() / "job.sh"
    write_text(script, text)
    return script


def how_to_submit(script: Path, scheduler: str) -> str:
    """The words that hand a script to the scheduler; logs appear beside it."""
    folder, command = shlex.quote(str(script.parent)), SCHEDULERS[scheduler].submit
    return f"cd {folder} && {command} {script.name}"


def submit(script: Path, scheduler: str) -> str:
    """Hand a script to the scheduler, from the script's own folder, and return what it answered.

    Raises:
        InputError: the scheduler's command is not here, or it refused the script.
    """
    command = SCHEDULERS[scheduler].submit
    try:
        done = subprocess.run(
            [command, script.name], cwd=script.parent, capture_output=True, text=True
        )
    except FileNotFoundError as error:
        raise InputError(
            f"{command} is not on this machine; log in where jobs are submitted and say: "
            f"{how_to_submit(script, scheduler)}"
        ) from error
    if done.returncode:
        raise InputError(f"{script}: {command} refused it: {done.stderr.strip()}")
    return done.stdout.strip()
