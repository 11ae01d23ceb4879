"""``make course``: run the notebooks of a profile one after the other, and judge each.

A notebook has passed if every cell ran, time and memory stayed within 1.5 times its budget, and
every rule of ``tests/baselines/<profile>.yml`` holds. Then it stands in ``runs/<profile>/``;
anything less stands in ``runs/<profile>/failed/`` and never replaces a good one.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from seg_lib.course.execute import execute
from seg_lib.course.lesson import METRICS_FILE
from seg_lib.course.notebooks import (
    CourseNotebook,
    course_root,
    find_notebooks,
    read_lines,
    read_notebook,
    relative_to_folder,
    source_sha256,
)
from seg_lib.course.profiles import PROFILES, Settings, settings
from seg_lib.course.report import (
    FAILED,
    NOT_CHECKED,
    PASSED,
    Result,
    about_this_run,
    closing_line,
    exit_code,
    terminal_line,
    write_report,
)
from seg_lib.course.rules import Rule, check_metrics, read_baselines
from seg_lib.errors import InputError
from seg_lib.files import folder_lock

OVER_BUDGET = 1.5  # a lesson that takes more than this many times its budget has failed
TIME_LIMIT = 3.0  # and at this many times its budget, plus a minute to start, it is stopped
ON_CPU = ("smoke", "laptop")
PART = ".part"  # where notebooks stand while they run
INTERRUPTED = "interrupted (Ctrl-C)."


def run_course(
    profile: str,
    only: str | Sequence[str] | None = None,
    root: str | Path | None = None,
    seed: int = 0,
) -> int:
    """Run the notebooks of the course in a profile, and report.

    Args:
        profile: ``smoke``, ``laptop``, ``gpu`` or ``paper``.
        only: numbers of notebooks, as ``"04,07"`` or a sequence; all if not given.
        root: the folder of the course; found from the current folder if not given.
        seed: for every notebook.

    Returns:
        Exit code: 0 if every notebook passed (or the profile needs a GPU and there is none),
        else 1, also after Ctrl-C.

    Raises:
        InputError: an unknown profile or notebook, an ill-formed baseline file, another run.
    """
    if profile not in PROFILES:
        raise InputError(f"no profile {profile!r}; choose one of {', '.join(PROFILES)}.")
    root = course_root(root)
    notebooks = find_notebooks(root / "notebooks", only)
    if not notebooks:
        raise InputError(f"{root / 'notebooks'}: no notebook NN_name.ipynb; is this the course?")
    rules = read_baselines(root / "tests" / "baselines" / f"{profile}.yml")
    folder = root / "runs" / profile
    excuse = _why_not_here(profile, chosen=only is not None)
    results: list[Result] = []
    with folder_lock(folder):
        try:
            for notebook in notebooks:
                if excuse:
                    _add(results, Result(notebook, NOT_CHECKED, reasons=[excuse], excused=True))
                else:
                    _add(results, _run_one(notebook, profile, root, seed, rules))
        except KeyboardInterrupt:
            for notebook in notebooks[len(results) :]:
                _add(results, Result(notebook, NOT_CHECKED, reasons=[INTERRUPTED]))
        shutil.rmtree(folder / PART, ignore_errors=True)
        index = write_report(results, folder, about_this_run(profile, seed))
    print(f"{closing_line(results, profile)} See {relative_to_folder(index, Path.cwd())}")
    return exit_code(results)


def _add(results: list[Result], result: Result) -> None:
    """Keep a result and say it at once."""
    results.append(result)
    print(terminal_line(result), flush=True)


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
    notebook: CourseNotebook, profile: str, root: Path, seed: int, rules: dict[str, list[Rule]]
) -> Result:
    """Run one notebook to a temporary file, judge it, and put the file where it belongs."""
    result = Result(notebook, FAILED)
    try:
        sizes = settings(notebook.number, profile)
        result.source_sha256 = source_sha256(read_notebook(notebook.path))
    except InputError as error:
        result.reasons.append(str(error))
        return result
    folder = root / "runs" / profile
    out_dir = folder / "out" / notebook.number
    shutil.rmtree(out_dir, ignore_errors=True)  # records of an earlier run are not this run's
    out_dir.mkdir(parents=True)
    part = folder / PART / notebook.path.name
    part.parent.mkdir(exist_ok=True)
    if sys.stdout.isatty():  # the verdict will take this line's place
        print(f"{notebook.name:<28} running, about {sizes.budget_s} s", end="\r", flush=True)
    here = notebook.path.parent  # kernels start in the notebook's folder, as in JupyterLab
    run = execute(
        notebook.path,
        part,
        parameters={
            "PROFILE": profile,
            "SEED": seed,
            "DATA_DIR": relative_to_folder(root / "data" / "phantoms" / profile, here),
            "OUT_DIR": relative_to_folder(out_dir, here),
        },
        time_limit_s=TIME_LIMIT * sizes.budget_s + 60,
        # baselines of the CPU profiles were measured on the CPU
        environment={"CUDA_VISIBLE_DEVICES": ""} if profile in ON_CPU else None,
    )
    result.seconds, result.peak_mb = run.seconds, run.peak_mb
    result.metrics = read_lines(out_dir / METRICS_FILE)
    if run.fault:
        result.reasons.append(run.fault)
    else:
        _judge(result, sizes, rules.get(notebook.number))
    result.executed = _put_away(part, folder, result.status)
    return result


def _judge(result: Result, sizes: Settings, rules: list[Rule] | None) -> None:
    """Budget and rules of a notebook in which every cell ran."""
    if result.seconds > OVER_BUDGET * sizes.budget_s:
        result.reasons.append(
            f"over budget: {result.seconds:.0f} s, and its budget is {sizes.budget_s:.0f} s."
        )
    if result.peak_mb > OVER_BUDGET * sizes.budget_mb:
        result.reasons.append(
            f"over budget: {result.peak_mb:.0f} MB, and its budget is {sizes.budget_mb:.0f} MB."
        )
    values = {metric["name"]: metric["value"] for metric in result.metrics}
    result.verdicts = check_metrics(values, rules or [])
    result.reasons += [v.sentence for v in result.verdicts if v.ok is False]
    result.status = FAILED if result.reasons else PASSED
    if result.status == PASSED and not rules:
        result.status = NOT_CHECKED
        result.excused = sizes.profile == "paper"  # a preset has no baselines
        result.reasons.append(
            f"every cell ran, but tests/baselines/{sizes.profile}.yml has no rules for it."
        )


def _put_away(part: Path, folder: Path, status: str) -> Path | None:
    """Move an executed notebook to ``folder``, or to ``folder/failed`` if it failed."""
    failed = folder / "failed" / part.name
    if not part.is_file():
        return None
    target = failed if status == FAILED else folder / part.name
    target.parent.mkdir(exist_ok=True)
    os.replace(part, target)
    if status != FAILED:  # what failed earlier is mended
        for path in (failed, failed.with_suffix(".html")):
            path.unlink(missing_ok=True)
    return target
