"""The runner: what ran wholly and kept its rules has passed, and nothing else has."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import psutil
import pytest
from made_up_notebooks import FIGURE, notebook, write

from seg_lib.course import runner
from seg_lib.course.committed import check_committed, update_committed
from seg_lib.course.execute import Execution, execute, fault_in, kernel_fault
from seg_lib.course.notebooks import source_sha256
from seg_lib.course.profiles import settings
from seg_lib.course.runner import run_course
from seg_lib.course_commands import course as course_command
from seg_lib.errors import InputError
from seg_lib.files import folder_lock

RULES = """
"00":
  half: {rule: exact, value: 0.5}
  one: {rule: floor, value: 1, prediction: dice}
"03": {half: {rule: floor, value: 0.1, prediction: dice}}
"04": {half: {rule: floor, value: 0.1, prediction: dice}}
"06": {half: {rule: floor, value: 0.1, prediction: dice}}
"12": {half: {rule: floor, value: 0.9, prediction: dice}}
"""
HALF = 'lesson.record("half", 0.5)'
GOOD = notebook(HALF, f'{FIGURE}\nlesson.record("one", 1)', 'check("00a", ...)')
COURSE = {
    "00_start": GOOD,
    "03_fails": notebook(HALF, "def f():\n    raise ValueError('too thin')\nf()", "1", number="03"),
    "04_leaves": notebook(HALF, "import sys; sys.exit(0)", "1", number="04"),
    "06_dies": notebook(HALF, "import os; os._exit(0)", "1", number="06"),
    "12_is_wrong": notebook(HALF, number="12"),
}


def make_course(root: Path, notebooks: dict, profile: str = "smoke", rules: str = RULES) -> Path:
    for name, content in notebooks.items():
        write(root / "notebooks" / f"{name}.ipynb", content)
    path = root / "tests" / "baselines" / f"{profile}.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rules)
    return root


def summary_of(root: Path, profile: str = "smoke") -> dict[str, dict]:
    rows = json.loads((root / "runs" / profile / "summary.json").read_text())["results"]
    return {row["notebook"]: row for row in rows}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A run in which almost everything goes wrong, after one in which 03 was well."""
    root = make_course(tmp_path_factory.mktemp("course"), COURSE)
    earlier = root / "runs" / "smoke" / "03_fails.ipynb"
    write(earlier, {"cells": [], "metadata": {}, "earlier": True})
    write(root / "runs" / "smoke" / "out" / "12" / "metrics.jsonl", {"name": "half", "value": 0.95})
    write(root / "runs" / "smoke" / "failed" / "00_start.ipynb", {"cells": []})
    output = root / "printed.txt"
    with output.open("w") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        code = run_course("smoke", root=root)
    return root, code, output.read_text(), summary_of(root)


def test_one_failure_fails_the_run(course):
    _, code, _, rows = course
    assert code == 1
    assert {n: row["status"] for n, row in rows.items()} == {
        **{"00": "passed", "03": "failed", "04": "failed", "06": "failed", "12": "failed"}
    }


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("03", "stopped in code cell 4 of 5: ValueError: too thin\n    ----> 3 f()"),
        ("04", "stopped in code cell 4 of 5: SystemExit: 0\n    import sys; sys.exit(0)"),
        ("06", "the kernel died in code cell 4 of 5 (out of memory, or a crash)."),
        ("12", "half = 0.5 is too low (floor 0.9)."),
    ],
)
def test_the_reason_is_said(course, number, reason):
    _, _, printed, rows = course
    (said,) = rows[number]["reasons"]
    assert said.splitlines()[0] in printed
    # A kernel dies at once, and which cell was the last to be heard of is a matter of luck.
    assert said == reason or said == reason.replace("code cell 4", "code cell 3")


def test_two_at_once_come_to_the_same_verdicts_in_the_same_order(course, tmp_path, capsys):
    root = make_course(tmp_path, COURSE)
    assert run_course("smoke", root=root, jobs=2) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[:2] for line in lines if line[:2].isdigit()] == ["00", "03", "04", "06", "12"]
    assert {n: row["status"] for n, row in summary_of(root).items()} == {
        n: row["status"] for n, row in course[3].items()
    }


def test_two_at_once_share_the_cores(tmp_path, monkeypatch):
    threads = 'import os; lesson.record("half", float(os.environ["OMP_NUM_THREADS"]) / 2)'
    root = make_course(tmp_path, {"00_start": notebook(threads, 'lesson.record("one", 1)')})
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert run_course("smoke", root=root, jobs=2) == 0


def test_without_its_device_nothing_runs_at_once_either(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    root = make_course(tmp_path, {"00_start": GOOD}, profile="gpu")
    assert run_course("gpu", root=root, jobs=2) == 0
    assert summary_of(root, "gpu")["00"]["status"] == "not checked"
    assert not (root / "runs" / "gpu" / "out").exists()


class Killed:
    """A pool of processes, the second of which is killed."""

    def __init__(self, *_, **__): ...

    def __enter__(self):
        return self

    def __exit__(self, *_): ...

    def map(self, work, results, rules):
        yield work(results[0], rules[0])
        raise BrokenProcessPool


def test_what_passed_before_a_process_was_killed_is_reported(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, "ProcessPoolExecutor", Killed)
    root = make_course(tmp_path, {name: GOOD for name in ("00_start", "12_is_wrong")})
    assert run_course("smoke", root=root, jobs=2) == 1
    assert [row["status"] for row in summary_of(root).values()] == ["passed", "not checked"]
    assert "killed (out of memory?)" in capsys.readouterr().out


def test_a_verdict_that_ctrl_c_cut_short_is_none(quick, monkeypatch):
    def cut_short(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "_put_away", cut_short)
    assert run_course("smoke", root=quick["root"]) == 1
    assert summary_of(quick["root"])["00"]["status"] == "not checked"


def test_after_ctrl_c_a_process_of_the_pool_begins_nothing(monkeypatch):
    monkeypatch.setattr(runner, "_stopped", [])
    begun = []

    def work(result, rules):
        begun.append(result)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner._unless_stopped(work, "first", [])
    assert runner._unless_stopped(work, "second", []) == "second" and begun == ["first"]


@pytest.mark.parametrize("only", ["", " , "])
def test_no_number_is_not_lesson_00(tmp_path, only):
    with pytest.raises(InputError, match="no number of a notebook in"):
        run_course("smoke", only, root=make_course(tmp_path, {"00_start": GOOD}))


def test_the_committed_lessons_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no folder notebooks/ here or above"):
        course_command("laptop", None, 1, check=True)
    with pytest.raises(InputError, match="--only and --jobs are for a run, not for --check"):
        course_command("laptop", "04", 1, check=True)
    monkeypatch.chdir(make_course(tmp_path, {"00_start": GOOD}) / "notebooks")
    assert course_command("laptop", None, 1, check=True) == 1  # without a stamp


def test_no_job_is_not_a_number_of_jobs(tmp_path):
    with pytest.raises(InputError, match="jobs is 0; at least one"):
        run_course("smoke", root=tmp_path, jobs=0)


def test_one_line_a_notebook(course):
    _, _, printed, rows = course
    lines = printed.splitlines()
    seconds, gigabytes = rows["00"]["seconds"], rows["00"]["peak_mb"] / 1000
    assert lines[0].split() == (
        ["00", "start", f"{seconds:.1f}", "s", f"{gigabytes:.2f}", "GB", "passed", "(2", "rules)"]
    )
    assert lines[-1].startswith("Profile smoke: 1 passed, 4 failed in ")
    assert lines[-1].endswith("index.html")
    assert rows["00"]["seconds"] > 0.5
    assert rows["00"]["peak_mb"] > 40


def test_partial_output_never_replaces_a_good_one(course):
    root, *_ = course
    folder = root / "runs" / "smoke"
    assert json.loads((folder / "03_fails.ipynb").read_text())["earlier"]
    failed = {path.stem for path in (folder / "failed").glob("*.ipynb")}
    assert failed == {"03_fails", "04_leaves", "06_dies", "12_is_wrong"}
    assert {path.stem for path in folder.glob("*.ipynb")} == {"00_start", "03_fails"}
    assert not (folder / ".part").exists()


def test_records_and_figures_are_this_runs_own(course):
    root, *_, rows = course
    assert [metric["value"] for metric in rows["12"]["metrics"]] == [0.5]
    assert (root / "runs" / "smoke" / "out" / "00" / "figures" / "00_line.png").is_file()


def test_the_notebook_got_its_parameters_and_shows_its_metrics(course):
    root, *_ = course
    executed = json.loads((root / "runs" / "smoke" / "00_start.ipynb").read_text())
    outputs = [output for cell in executed["cells"] for output in cell.get("outputs", [])]
    bundles = [output["data"] for output in outputs if "data" in output]
    mime = "application/vnd.seg-lib.metric+json"
    assert bundles[0][mime] == {"name": "half", "value": 0.5, "unit": ""}
    assert "".join(bundles[0]["text/plain"]) == "half = 0.5"
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 1
    assert pictures[0]["metadata"]["image/png"]["alt"] == "A falling line"
    assert "Lesson 00, profile smoke" in "".join(outputs[0]["text"])
    assert "00a: not solved yet." in "".join(outputs[-1]["text"])


def test_what_passed_may_be_published(course):
    root, *_ = course
    assert [
        path.name for path in update_committed(root / "runs" / "smoke", root / "notebooks")
    ] == ["00_start.ipynb"]
    assert [f for f in check_committed(root / "notebooks") if f.startswith("00_")] == []
    published = json.loads((root / "notebooks" / "00_start.ipynb").read_text())
    assert any(cell.get("outputs") for cell in published["cells"])
    assert source_sha256(published) == source_sha256(GOOD)


def test_no_kernel_is_left_behind(course):
    children = psutil.Process().children(recursive=True)
    assert [c for c in children if "ipykernel_launcher" in " ".join(c.cmdline())] == []


def run_one(tmp_path, *cells, time_limit_s=60, **changes):
    path = write(tmp_path / "00_one.ipynb", {**notebook(*cells), **changes})
    parameters = {"PROFILE": "smoke", "SEED": 1, "DATA_DIR": "data", "OUT_DIR": "out"}
    return execute(path, tmp_path / "done.ipynb", parameters, time_limit_s)


def test_the_time_limit_is_for_the_whole_notebook_and_all_its_processes(tmp_path):
    helper = f"import subprocess, sys, time\nsubprocess.Popen(['{sys.executable}', '-c', "
    helper += "'import time; time.sleep(3577.5)'])\ntime.sleep(3600)"
    run = run_one(tmp_path, "import time; time.sleep(1)", helper, time_limit_s=4)
    assert run.fault == "stopped at its time limit of 4 s in code cell 4 of 4."
    left = [p for p in psutil.process_iter(["cmdline"]) if "time.sleep(3577.5)" in str(p.info)]
    assert left == []


def test_peak_memory_is_that_of_the_kernel_with_its_processes(tmp_path):
    big = "import time\nbig = bytearray(400_000_000)\ntime.sleep(0.7)\ndel big"
    run = run_one(tmp_path, big, "import os; assert os.environ['SEG_LIB_HEADLESS'] == '1'")
    assert run.fault == ""
    assert 400 < run.peak_mb < 900
    assert "SEG_LIB_HEADLESS" not in os.environ


def test_a_cell_that_was_stepped_over_is_a_fault(tmp_path):
    """Whatever lets papermill come to its end: an unexecuted cell is not a success."""
    path = write(tmp_path / "half.ipynb", notebook("1 + 1"))
    assert fault_in(path) == "code cell 1 of 3 did not run: the kernel ended before it."


@pytest.mark.parametrize(
    ("kernel", "fault"),
    [
        (None, "names no kernel"),
        ("python9000", "asks for the kernel 'python9000', which is not installed"),
        ("julia", "asks for a kernel of julia"),
        ("elsewhere", "kernel 'elsewhere' starts /opt/other/bin/python, not this Python"),
    ],
)
def test_a_wrong_kernel_is_refused_before_it_runs(tmp_path, monkeypatch, kernel, fault):
    for name, language in (("julia", "julia"), ("elsewhere", "python")):
        specification = {"argv": ["/opt/other/bin/python"], "language": language}
        specification["display_name"] = name
        write(tmp_path / "kernels" / name / "kernel.json", specification)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    run = run_one(tmp_path, metadata={"kernelspec": {"name": kernel}} if kernel else {})
    assert run.fault.startswith(fault)
    assert not (tmp_path / "done.ipynb").exists()


def test_the_usual_kernel_is_this_python():
    assert kernel_fault({"metadata": {"kernelspec": {"name": "python3"}}}) == ""


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """A course whose notebooks are not really run; ``asked`` sees what the runner wanted."""
    run = Execution(seconds=1.0, peak_mb=100.0, fault="")
    quick = {"root": make_course(tmp_path, {"00_start": GOOD}), "run": run, "asked": []}

    def fake(path, output, parameters, time_limit_s, environment=None):
        quick["asked"].append((parameters, time_limit_s, environment))
        metrics = ['{"name": "half", "value": 0.5}', '{"name": "one", "value": 1}']
        (path.parent / parameters["OUT_DIR"] / "metrics.jsonl").write_text("\n".join(metrics))
        output.write_text(json.dumps(GOOD))
        return quick["run"]

    monkeypatch.setattr(runner, "execute", fake)
    return quick


def test_what_the_notebook_is_told(quick):
    assert run_course("smoke", root=quick["root"], seed=7) == 0
    parameters, time_limit_s, environment = quick["asked"][0]
    assert parameters == {
        "PROFILE": "smoke",
        "SEED": 7,
        "DATA_DIR": "../data/phantoms/smoke",
        "OUT_DIR": "../runs/smoke/out/00",
    }
    assert time_limit_s == 6 * settings("00", "smoke").budget_s + 60
    assert environment == {"CUDA_VISIBLE_DEVICES": ""}


@pytest.mark.parametrize(("factor", "code"), [(1.45, 0), (1.55, 1)])
@pytest.mark.parametrize("field", ["seconds", "peak_mb"])
def test_one_and_a_half_budgets_are_too_much(quick, capsys, monkeypatch, field, factor, code):
    monkeypatch.setattr("seg_lib.costs.slowness", lambda *_: 1.0)
    budget = settings("00", "smoke")
    allowed = {"seconds": budget.budget_s, "peak_mb": budget.budget_mb}
    quick["run"] = Execution(
        **{"seconds": 1, "peak_mb": 1, field: factor * allowed[field]}, fault=""
    )
    assert run_course("smoke", root=quick["root"]) == code
    assert ("over budget" in capsys.readouterr().out) == bool(code)


@pytest.mark.parametrize(("slowness", "code"), [(2.1, 0), (1.9, 1)])
def test_a_slow_machine_may_take_its_time_but_no_more(quick, monkeypatch, slowness, code):
    """Three budgets are twice too much: excused on a machine that is more than twice as slow."""
    monkeypatch.setattr("seg_lib.costs.slowness", lambda *_: slowness)
    seconds = 3 * settings("00", "smoke").budget_s
    quick["run"] = Execution(seconds=seconds, peak_mb=1, fault="")
    assert run_course("smoke", root=quick["root"]) == code


def test_a_lesson_is_excused_by_the_slowness_of_its_own_precision(monkeypatch):
    """Lesson 10 trains in bfloat16 where the processor has it, lesson 06 in float32."""
    monkeypatch.setattr("seg_lib.costs.slowness", {"no": 1.9, "fast": 2.1}.get)
    assert not runner._slow_machine(settings("06", "smoke"), over=2.0)
    assert runner._slow_machine(settings("10", "smoke"), over=2.0)


def test_memory_is_never_excused(quick, monkeypatch):
    monkeypatch.setattr("seg_lib.costs.slowness", lambda *_: 4.0)
    peak_mb = 2 * settings("00", "smoke").budget_mb
    quick["run"] = Execution(seconds=1, peak_mb=peak_mb, fault="")
    assert run_course("smoke", root=quick["root"]) == 1


def test_without_rules_nothing_has_passed(quick, capsys):
    make_course(quick["root"], {}, rules="")
    assert run_course("smoke", root=quick["root"]) == 1
    printed = capsys.readouterr().out
    assert "tests/baselines/smoke.yml has no rules for it" in printed
    assert "passed" not in printed


@pytest.mark.parametrize("profile", ["gpu", "paper"])
def test_without_a_gpu_its_profile_is_not_checked(quick, capsys, monkeypatch, profile):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.delenv("CI", raising=False)
    assert run_course(profile, root=quick["root"], only="00") == 0
    printed = capsys.readouterr().out
    assert f"the {profile} profile needs a CUDA device, and there is none here." in printed
    assert f"Profile {profile}: 1 not checked in 0 s." in printed
    assert "passed" not in printed
    assert quick["asked"] == []


def test_with_a_gpu_it_has_baselines_of_its_own(quick, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    make_course(quick["root"], {}, "gpu", '"00": {one: {rule: floor, value: 2}}')
    assert run_course("gpu", root=quick["root"]) == 1
    assert "one = 1 is too low (floor 2)." in capsys.readouterr().out
    assert quick["asked"][0][2] == {}


@pytest.mark.parametrize(
    ("environment", "only", "said"),
    [({"CI": "true"}, "00", "not a CI job"), ({}, None, "with --only")],
)
def test_the_paper_profile_is_no_ci_job(quick, capsys, monkeypatch, environment, only, said):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.delenv("CI", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run_course("paper", only, quick["root"]) == 0
    assert said in capsys.readouterr().out
    assert quick["asked"] == []


def test_a_notebook_that_is_no_notebook_fails_alone(quick, capsys):
    (quick["root"] / "notebooks" / "03_broken.ipynb").write_text("{")
    (quick["root"] / "notebooks" / "98_unlisted.ipynb").write_text(json.dumps(GOOD))
    assert run_course("smoke", root=quick["root"]) == 1
    rows = summary_of(quick["root"])
    assert [row["status"] for row in rows.values()] == ["passed", "failed", "failed"]
    assert "not a readable notebook" in rows["03"]["reasons"][0]
    assert "no lesson '98'" in rows["98"]["reasons"][0]


def test_only_some(quick):
    write(quick["root"] / "notebooks" / "12_metrics.ipynb", GOOD)
    assert run_course("smoke", ["00"], quick["root"]) == 0
    assert list(summary_of(quick["root"])) == ["00"]
    with pytest.raises(InputError, match="no notebook 77; there are 00, 12"):
        run_course("smoke", "00,77", quick["root"])


def test_what_cannot_be_run_is_said(tmp_path, quick):
    with pytest.raises(InputError, match="no profile 'huge'; choose one of smoke"):
        run_course("huge", root=quick["root"])
    (tmp_path / "empty" / "notebooks").mkdir(parents=True)
    with pytest.raises(InputError, match="no notebook NN_name.ipynb"):
        run_course("smoke", root=tmp_path / "empty")
    write(quick["root"] / "notebooks" / "00_again.ipynb", GOOD)
    with pytest.raises(InputError, match="number 00 is taken"):
        run_course("smoke", root=quick["root"])


def test_two_runs_of_a_profile_never_mix(quick):
    with folder_lock(quick["root"] / "runs" / "smoke"), pytest.raises(InputError, match="another"):
        run_course("smoke", root=quick["root"])


def test_ctrl_c_leaves_a_summary_and_no_kernel(tmp_path):
    slow = notebook("open('begun', 'w').close()\nimport time; time.sleep(66)", number="03")
    root = make_course(tmp_path, {"03_slow": slow, "12_next": GOOD})
    code = (
        "import signal, sys; from seg_lib.course.runner import run_course\n"
        # A shell that starts the tests in the background lets them ignore Ctrl-C.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"sys.exit(run_course('smoke', root={str(root)!r}))"
    )
    course = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (root / "notebooks" / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    kernels = psutil.Process(course.pid).children(recursive=True)
    course.send_signal(signal.SIGINT)
    printed, _ = course.communicate(timeout=60)
    assert course.returncode == 1
    assert printed.count("interrupted (Ctrl-C).") == 2
    assert "Profile smoke: 2 not checked" in printed
    assert [row["status"] for row in summary_of(root).values()] == ["not checked"] * 2
    assert kernels and not any(kernel.is_running() for kernel in kernels)
    assert not (root / "runs" / "smoke" / "03_slow.ipynb").exists()
