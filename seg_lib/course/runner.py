"""``make course``: run the notebooks of a profile one after the other, and judge each.

A notebook has passed if every cell ran, time and memory stayed within 1.5 times its budget, and
every rule of ``tests/baselines/<profile>.yml`` holds. Then it stands in ``runs/<profile>/``;
anything less stands in ``runs/<profile>/failed/`` and never replaces a good one.
"""

import contextlib
import functools
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from seg_lib.course import report
from seg_lib.course.execute import execute
from seg_lib.course.lesson import METRICS_FILE
from seg_lib.course.notebooks import course_root, lessons_of, read_notebook, source_sha256
from seg_lib.course.profiles import ON_CPU, PROFILES, Settings, settings
from seg_lib.course.report import FAILED, NOT_CHECKED, PASSED, Result
from seg_lib.course.rules import Rule, check_metrics, read_baselines
from seg_lib.errors import InputError
from seg_lib.files import folder_lock

OVER_BUDGET = 1.5  # a lesson that takes more than this many times its budget has failed
TIME_LIMIT = 6.0  # stopped at this many times, plus a minute: 1.5 where all is 4 times slower
PART = ".part"  # where notebooks stand while they run


def run_course(
    profile: str,
    only: str | Sequence[str] | None = None,
    root: str | Path | None = None,
    seed: int = 0,
    jobs: int = 1,
) -> int:
    """Run the notebooks of the course in a profile, and report.

    Args:
        profile: ``smoke``, ``laptop``, ``gpu`` or ``paper``.
        only: numbers of notebooks, as ``"04,07"`` or a sequence; all if not given.
        root: the folder of the course; found from the current folder if not given.
        seed: for every notebook.
        jobs: so many notebooks at once, which share the cores; each may take as many times longer.

    Returns:
        0 if all passed (or the profile needs a GPU and there is none), else 1, also after Ctrl-C.
    """
    if jobs < 1:
        raise InputError(f"jobs is {jobs}; at least one notebook must run at a time.")
    if profile not in PROFILES:
        raise InputError(f"no profile {profile!r}; choose one of {', '.join(PROFILES)}.")
    root = course_root(root)
    notebooks = lessons_of(root, only)
    rules = read_baselines(root / "tests" / "baselines" / f"{profile}.yml")
    folder, reason = root / "runs" / profile, _why_not_here(profile, chosen=only is not None)
    work = functools.partial(_run_one, profile=profile, root=root, seed=seed, jobs=jobs)
    with folder_lock(folder):
        results = [Result(book, NOT_CHECKED, excused=bool(reason)) for book in notebooks]
        _run_all(results, [rules.get(book.number, []) for book in notebooks], work, jobs, reason)
        shutil.rmtree(folder / PART, ignore_errors=True)
        index = report.write_report(results, folder, report.about_this_run(profile, seed))
    print(f"{report.closing_line(results, profile)} See {os.path.relpath(index)}")
    return report.exit_code(results)


def _run_all(
    results: list[Result], rules: list[list[Rule]], work: Callable, jobs: int, reason: str
) -> None:
    """Put in place what each has become, with a line for it; a reason is why none is run."""
    with _at_once(jobs) as each:
        ran = each(work, [] if reason else list(results), rules)
        for i in range(len(results)):
            try:
                results[i] = results[i] if reason else next(ran)
            except KeyboardInterrupt:
                reason = "interrupted (Ctrl-C)."
                results[i].status = NOT_CHECKED  # also if it came while a verdict was written
            except BrokenProcessPool:
                reason = "a process of the runner was killed (out of memory?)."
            results[i].reasons += [reason] if reason else []
            print(report.terminal_line(results[i]), flush=True)


@contextlib.contextmanager
def _at_once(jobs: int) -> Iterator[Callable]:
    """The function ``map``, or one like it that has so many calls run at once, in processes."""
    if jobs == 1:
        yield map
        return
    spawned = multiprocessing.get_context("spawn")  # a forked process must not start threads
    with ProcessPoolExecutor(jobs, mp_context=spawned) as pool:
        yield lambda work, *lists: pool.map(functools.partial(_unless_stopped, work), *lists)


_stopped: list[bool] = []  # of a process of the pool: it has seen Ctrl-C


def _unless_stopped(work: Callable, result: Result, rules: list[Rule]) -> Result:
    """The call, but none begins after Ctrl-C: the pool has handed out the next ones already."""
    if _stopped:
        return result
    try:
        return work(result, rules)
    except KeyboardInterrupt:
        _stopped.append(True)
        raise


def _why_not_here(profile: str, chosen: bool) -> str:
    """Why the profile cannot be checked here; empty if it can."""
    if profile in ON_CPU:
        return ""
    if profile == "paper" and os.environ.get("CI"):
        return "the paper profile takes hours to days: it is a preset, not a CI job."
    if profile == "paper" and not chosen:
        return "the paper profile takes hours to days; name the notebooks to run with --only."
    import torch

    if not torch.cuda.is_available():
        return f"the {profile} profile needs a CUDA device, and there is none here."
    return ""


def _run_one(
    result: Result, rules: list[Rule], profile: str, root: Path, seed: int, jobs: int
) -> Result:
    """Run one notebook to a temporary file, judge it, and put the file where it belongs."""
    notebook = result.notebook
    folder = root / "runs" / profile
    out_dir = folder / "out" / notebook.number
    part = folder / PART / notebook.path.name
    try:
        sizes = settings(notebook.number, profile)
        result.source_sha256 = source_sha256(read_notebook(notebook.path))
    except InputError as error:
        result.status, result.reasons = FAILED, [str(error)]
        return result
    shutil.rmtree(out_dir, ignore_errors=True)  # records of an earlier run are not this run's
    out_dir.mkdir(parents=True)
    part.parent.mkdir(exist_ok=True)
    if jobs == 1 and sys.stdout.isatty():  # the verdict will take this line's place
        print(f"{notebook.name:<28} running, about {sizes.budget_s} s", end="\r", flush=True)
    here = notebook.path.parent  # kernels start here; no notebook names a folder of one machine
    folders = {"DATA_DIR": root / "data" / "phantoms" / profile, "OUT_DIR": out_dir}
    parameters = {"PROFILE": profile, "SEED": seed}
    parameters |= {name: os.path.relpath(path, here) for name, path in folders.items()}
    # baselines of the CPU profiles were measured on the CPU
    environment = {"CUDA_VISIBLE_DEVICES": ""} if profile in ON_CPU else {}
    if jobs > 1:
        environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // jobs))
    time_limit_s = jobs * TIME_LIMIT * sizes.budget_s + 60
    run = execute(notebook.path, part, parameters, time_limit_s, environment)
    result.seconds, result.peak_mb = run.seconds, run.peak_mb
    if (out_dir / METRICS_FILE).is_file():
        lines = (out_dir / METRICS_FILE).read_text(encoding="utf-8").splitlines()
        result.metrics = [json.loads(line) for line in lines]
    _judge(result, run.fault, sizes, rules, jobs)
    _put_away(result, part, folder)
    return result


def _judge(result: Result, fault: str, sizes: Settings, rules: list[Rule], jobs: int) -> None:
    """Did every cell run, and are budget and rules kept?"""
    if fault:
        result.status, result.reasons = FAILED, [fault]
        return
    for spent, budget, unit in (
        (result.seconds, jobs * sizes.budget_s, "s"),
        (result.peak_mb, sizes.budget_mb, "MB"),
    ):
        over = spent / (OVER_BUDGET * budget)
        if over > 1 and not (unit == "s" and _slow_machine(sizes, over)):
            said = f"over budget: {spent:.0f} {unit}, and its budget is {budget:.0f} {unit}."
            result.reasons.append(said)
    values = {metric["name"]: metric["value"] for metric in result.metrics}
    result.verdicts = check_metrics(values, rules)
    result.reasons += [v.sentence for v in result.verdicts if v.ok is False]
    if result.reasons:
        result.status = FAILED
    elif rules:
        result.status = PASSED
    else:
        result.excused = sizes.profile == "paper"  # a preset has no baselines
        file = f"tests/baselines/{sizes.profile}.yml"
        result.reasons.append(f"every cell ran, but {file} has no rules for it.")


def _slow_machine(sizes: Settings, over: float) -> bool:
    """Whether a lesson took ``over`` times too long only because the whole machine is slow."""
    from seg_lib.costs import slowness  # torch, 2 s: only for who is late

    precision = sizes.sizes.get("precision", "no")
    return sizes.profile in ON_CPU and over <= slowness(precision)


def _put_away(result: Result, part: Path, folder: Path) -> None:
    """Move an executed notebook to ``folder``, or to ``folder/failed`` if it failed."""
    if not part.is_file():
        return
    failed = folder / "failed" / part.name
    result.executed = failed if result.status == FAILED else folder / part.name
    result.executed.parent.mkdir(exist_ok=True)
    os.replace(part, result.executed)
    if result.status != FAILED:  # what failed earlier is mended
        for path in (failed, failed.with_suffix(".html")):
            path.unlink(missing_ok=True)
