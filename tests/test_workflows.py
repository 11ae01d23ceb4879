"""The workflows parse, run the commands of the Makefile, and keep what the run has written."""

from pathlib import Path

import pytest
import yaml

WORKFLOWS = Path(__file__).parents[1] / ".github" / "workflows"


def steps_of(name: str) -> tuple[dict, dict, list[dict]]:
    workflow = yaml.safe_load((WORKFLOWS / name).read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    return workflow[True], job, job["steps"]  # YAML 1.1 reads the key `on` as true


@pytest.mark.parametrize(
    ("name", "command", "folder"),
    [("cpu.yml", ".ci/run", "runs/"), ("gpu.yml", "make gpu", "runs/gpu/")],
)
def test_a_workflow_runs_its_command_and_keeps_the_runs(name, command, folder):
    _, job, steps = steps_of(name)
    assert any(step.get("run", "").endswith(command) for step in steps)
    (upload,) = [step for step in steps if step.get("uses", "").startswith("actions/upload")]
    assert upload["with"]["path"] == folder
    assert upload["if"] == "always()"
    assert job["timeout-minutes"] > 0


def test_the_cpu_run_is_for_every_push_on_the_oldest_and_the_newest_python():
    triggers, job, steps = steps_of("cpu.yml")
    assert triggers.keys() == {"push", "pull_request"}
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
    (python,) = [step for step in steps if step.get("uses", "").startswith("actions/setup-python")]
    assert python["with"]["cache"] == "pip"


def test_the_gpu_run_waits_for_a_runner_of_its_own():
    triggers, job, _ = steps_of("gpu.yml")
    assert triggers.keys() == {"workflow_dispatch", "schedule"}
    assert job["runs-on"] == ["self-hosted", "gpu"]
