"""What may be published: fresh, small, whole, and free of names of people and machines."""

import base64
import copy
import json
import re
import tempfile
from pathlib import Path

import pytest
from made_up_notebooks import FIGURE, PARAMETERS, SECTIONS, code, notebook, text, write

from seg_lib.course.committed import STAMP, check_committed, stamp, update_committed
from seg_lib.course.notebooks import INJECTED, code_cells, source_sha256
from seg_lib.course.report import about_this_run
from seg_lib.errors import InputError

REPOSITORY = Path(__file__).parents[1]
ABOUT = about_this_run("laptop", seed=0)
NAME = "00_start.ipynb"
ROOT, WORK, TMP = (f"/{folder}" for folder in ("root", "work", "tmp"))


def good() -> dict:
    """A notebook with nothing to find in it."""
    content = notebook('lesson.record("half", 0.5)', FIGURE, 'check("00a", ...)')
    for count, cell in enumerate(code_cells(content), 1):
        cell["execution_count"] = count
    return content


def findings(tmp_path: Path, content: dict, stamped: bool = True) -> list[str]:
    if stamped:
        content["metadata"][STAMP] = stamp(content, ABOUT, 1, 100)
    write(tmp_path / "notebooks" / NAME, content)
    write(tmp_path / "figures" / "00_line.png", {})
    return check_committed(tmp_path / "notebooks")


def test_a_good_notebook_has_nothing_to_find(tmp_path):
    assert findings(tmp_path, good()) == []


def with_source(index, source):
    def change(content):
        content["cells"][index]["source"] = source

    return change


def with_output(**output):
    def change(content):
        content["cells"][-1]["outputs"] = [output]

    return change


def with_stream(name, said):
    return with_output(output_type="stream", name=name, text=said)


def with_sections(old, new):
    return with_source(0, SECTIONS.replace(old, new))


def with_metadata(**metadata):
    return lambda content: content["metadata"].update(metadata)


def without_metadata(name):
    return lambda content: content["metadata"].pop(name)


def with_cell(cell):
    def change(content):
        cell["execution_count"] = len(code_cells(content)) + 1
        content["cells"].append(cell)

    return change


def with_many_cells(content):
    content["cells"] += [code("1", execution_count=n) for n in range(6, 27)]


def with_attachment(content):
    content["cells"][0]["attachments"] = {"jane.doe@clinic.de.png": {"image/png": "AAAA"}}


def run_backwards(content):
    for count, cell in enumerate(reversed(code_cells(content)), 1):
        cell["execution_count"] = count


PARAMETER_CELL, FIRST_CODE = 1, 3
SECRET = "hf_" + "a1B2" * 8
HTML = "<td>MRN: 0012345</td>"
FAULTS = {
    "not executed": (
        lambda content: content["cells"][FIRST_CODE].update(execution_count=None),
        "code cell 3 was not executed",
    ),
    "out of order": (run_backwards, "cells were executed out of order"),
    "too big": (with_stream("stdout", "x" * 400_001), r"40\d kB, and at most 400 are allowed"),
    "widgets": (with_metadata(widgets={"state": {}}), "metadata.widgets"),
    "no kernel": (without_metadata("kernelspec"), "kernelspec is not python3"),
    "no language": (without_metadata("language_info"), "language_info is missing"),
    "injected": (with_cell(code("SEED = 1", (INJECTED,))), "papermill put in"),
    "no parameters": (
        lambda content: content["cells"][PARAMETER_CELL].update(metadata={}),
        "0 cells are tagged `parameters`",
    ),
    "two parameters": (with_cell(code(PARAMETERS, ("parameters",))), "2 cells are tagged"),
    "parameter missing": (
        with_source(PARAMETER_CELL, 'PROFILE = "laptop"\nSEED = 0'),
        "does not set DATA_DIR, OUT_DIR",
    ),
    "parameter computed": (
        with_source(PARAMETER_CELL, PARAMETERS + "\nEPOCHS = 2 * 3"),
        "EPOCHS must be a plain",
    ),
    "many cells": (with_many_cells, "26 code cells, and at most 25"),
    "long cell": (
        with_source(FIRST_CODE, 'record("a", 1)\n' + "1\n" * 20),
        "code cell 3 has 21 lines, and at most 20",
    ),
    "error": (
        with_output(output_type="error", ename="KeyError", evalue="'a'", traceback=[]),
        "code cell 5 shows an error: KeyError",
    ),
    "stderr": (with_stream("stderr", "warning\n" * 300), "2400 characters of warnings"),
    "no metric": (with_source(FIRST_CODE, "1"), "records no metric"),
    "no exercise": (with_source(-1, "1"), "has no exercise that is checked"),
    "no title": (with_source(0, "plain"), "has no title"),
    "no objectives": (with_sections("## Objectives", "## Goals"), "no section 'Objectives'"),
    "no budget": (with_sections("## Budget", "## Money"), "no section 'Budget'"),
    "no exercises": (with_sections("## Exercises", "## Tasks"), "no section 'Exercises'"),
    "no break": (with_sections("## What would", "What would"), "no section 'What would break"),
    "five objectives": (
        with_sections("* Measure a thing", "\n".join(f"* Do {n}" for n in range(5))),
        "lists 5 objectives",
    ),
    "solution": (with_cell(text("## Solution\n\n42")), "shows a solution"),
    "solution tag": (with_cell(code("answer = 42", ("solution",))), "shows a solution"),
    "no alt text": (with_cell(text("![](../figures/00_line.png)")), "picture without a text"),
    "home folder": (with_stream("stdout", "saved /home/jane/x.png"), "cell 6, output names"),
    "root folder": (with_stream("stdout", f"in '{ROOT}/x'"), f"of one machine: {ROOT}/x"),
    "windows": (with_stream("stdout", "C:\\Users\\jane\\x"), "of one machine: C:\\\\Users"),
    "path in source": (with_source(FIRST_CODE, f"record('{WORK}/x')"), "cell 4 names a folder"),
    "file address": (with_stream("stdout", f"file://{TMP}/x/y"), f"of one machine: {TMP}/x"),
    "record number": (with_stream("stdout", HTML), "output holds a record number: MRN: 0012345"),
    "record column": (with_source(0, SECTIONS + "HupMfn"), "cell 1 holds the name of a hospital"),
    "address in html": (
        with_output(output_type="display_data", data={"text/html": ["jane.doe@", "clinic.de"]}),
        "output holds an e-mail address",
    ),
    "address in metadata": (
        lambda content: content["cells"][0]["metadata"].update(user="jane@clinic.de"),
        "cell 1, metadata and attachments holds an e-mail",
    ),
    "address in attachment": (with_attachment, "attachments holds an e-mail"),
    "number in traceback": (
        with_output(output_type="error", ename="E", evalue="", traceback=["MRN 123456"]),
        "output holds a record number",
    ),
    "number in widgets": (
        with_metadata(widgets={"state": {"value": "MRN=123456"}}),
        "the metadata holds a record number",
    ),
    "token": (with_source(FIRST_CODE, f"record('{SECRET}')"), "holds an access token: hf_a1B2a1B2"),
    "key": (with_stream("stdout", "-----BEGIN RSA PRIVATE KEY-----"), "holds a private key"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(tmp_path, fault):
    change, sentence = FAULTS[fault]
    content = good()
    change(content)
    found = findings(tmp_path, content)
    assert any(re.search(sentence, finding) for finding in found), found
    assert all(finding.startswith(f"{NAME}: ") for finding in found)


def test_a_secret_is_not_printed_whole(tmp_path):
    content = good()
    with_source(FIRST_CODE, f"record('{SECRET}')")(content)
    assert SECRET not in " ".join(findings(tmp_path, content))


def test_stale_outputs_are_found(tmp_path):
    content = good()
    content["metadata"][STAMP] = stamp(content, ABOUT, 1, 100)
    content["cells"][FIRST_CODE]["source"] = 'lesson.record("half", 0.25)'
    found = findings(tmp_path, content, stamped=False)
    assert len(found) == 1 and "its outputs are stale" in found[0]


def test_a_missing_stamp_is_found(tmp_path):
    found = findings(tmp_path, good(), stamped=False)
    assert len(found) == 1 and "no stamp" in found[0]


def test_a_missing_figure_is_found(tmp_path):
    findings(tmp_path, good())
    (tmp_path / "figures" / "00_line.png").unlink()
    assert check_committed(tmp_path / "notebooks") == [
        f"{NAME}: no figure figures/NN_*.png of it; save one with lesson.figure(fig, name)."
    ]


def test_what_only_looks_like_a_fault_is_none(tmp_path):
    picture = base64.b64encode(f"/home/jane {ROOT}/x MRN 123456".encode() * 50).decode()
    innocent = f"runs{TMP}/x ..{WORK}/y https://docs.example.org/home/z a@example.org 12:30 n/a x@y"
    content = good()
    with_output(output_type="display_data", data={"image/png": f"{picture}{TMP}/x"})(content)
    content["cells"][FIRST_CODE]["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": [innocent, "\n"]}
    ]
    assert findings(tmp_path, content) == []


def test_a_file_that_is_no_notebook_is_one_finding(tmp_path):
    findings(tmp_path, good())
    (tmp_path / "notebooks" / "03_broken.ipynb").write_text("<html>")
    assert "not a readable notebook" in check_committed(tmp_path / "notebooks")[0]


def test_the_hash_is_of_the_code_alone():
    content = good()
    whole = source_sha256(content)
    run = copy.deepcopy(content)
    run["cells"].insert(2, code("SEED = 3", (INJECTED,)))
    run["cells"][-1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "1"}]
    run["cells"][-1]["source"] = list(run["cells"][-1]["source"])  # Jupyter's list of lines
    assert source_sha256(run) == whole
    for change, same in (
        (with_source(0, "other"), True),  # prose
        (with_cell(text("more")), True),
        (with_source(3, "x = 2"), False),
        (with_cell(code("x = 3")), False),
    ):
        changed = copy.deepcopy(content)
        change(changed)
        assert (source_sha256(changed) == whole) == same
    content["cells"][3]["metadata"] = {"tags": ["new"]}
    assert source_sha256(content) != whole


@pytest.fixture
def finished_run(tmp_path):
    """A course, and a run of it that left much behind that nobody should publish."""
    root = tmp_path / "course"
    source = good()
    write(root / "notebooks" / NAME, source)
    executed = copy.deepcopy(source)
    executed["cells"].insert(2, code("SEED = 0", (INJECTED,), execution_count=2))
    for cell in executed["cells"]:
        cell["metadata"]["papermill"] = {"duration": 1.5}
        cell["metadata"]["execution"] = {"iopub.status.busy": "2026-01-01"}
    for count, cell in enumerate(code_cells(executed), 1):
        cell["execution_count"] = count + 1
    said = f"{root}/runs/x.csv {Path.home()}/y {tempfile.gettempdir()}/z {root} here"
    executed["cells"][-1]["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": [said, "\n"]},
        {
            "output_type": "display_data",
            "metadata": {},
            "data": {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}},
        },
        {
            "output_type": "execute_result",
            "execution_count": 6,
            "metadata": {},
            "data": {"text/plain": ["7"]},
        },
    ]
    executed["metadata"].update(widgets={"state": {}}, papermill={"input_path": str(root)})
    folder = root / "runs" / "laptop"
    write(folder / NAME, executed)
    write(folder / "out" / "00" / "figures" / "00_line.png", {})
    row = {"notebook": "00", "status": "passed", "seconds": 12.3, "peak_mb": 456}
    row["source_sha256"] = source_sha256(source)
    write(folder / "summary.json", {"about": ABOUT, "results": [row]})
    return root


def update(root: Path) -> list[Path]:
    return update_committed(root / "runs" / "laptop", root / "notebooks")


def test_outputs_come_back_clean(finished_run):
    path = finished_run / "notebooks" / NAME
    assert update(finished_run) == [path]
    published = json.loads(path.read_text())
    assert check_committed(path.parent) == []
    last = published["cells"][-1]
    assert last["outputs"][0]["text"] == ["runs/x.csv ~/y <temporary>/z . here\n"]
    assert [output["output_type"] for output in last["outputs"]] == ["stream", "execute_result"]
    assert last["execution_count"] == last["outputs"][1]["execution_count"] == 5
    assert last["metadata"] == {}
    assert [cell["id"] for cell in published["cells"]] == [f"00-{n:02d}" for n in range(6)]
    assert published["metadata"].keys() == {"kernelspec", "language_info", "seg_lib"}
    assert published["metadata"][STAMP] == {
        **{name: ABOUT[name] for name in ("profile", "seed", "seg_lib", "python", "torch")},
        **{"seconds": 12.3, "peak_mb": 456, "source_sha256": source_sha256(published)},
    }
    assert (finished_run / "figures" / "00_line.png").is_file()


def test_updating_twice_changes_nothing(finished_run):
    path = finished_run / "notebooks" / NAME
    update(finished_run)
    once = path.read_bytes()
    update(finished_run)
    assert path.read_bytes() == once


def test_a_failed_notebook_is_not_published(finished_run):
    summary = finished_run / "runs" / "laptop" / "summary.json"
    before = (finished_run / "notebooks" / NAME).read_bytes()
    summary.write_text(summary.read_text().replace("passed", "failed"))
    assert update(finished_run) == []
    assert (finished_run / "notebooks" / NAME).read_bytes() == before


def test_outputs_of_an_older_source_are_refused(finished_run):
    content = good()
    with_cell(code("x = 3"))(content)
    write(finished_run / "notebooks" / NAME, content)
    with pytest.raises(InputError, match=f"{NAME}: edited since the run"):
        update(finished_run)


def test_without_a_run_there_is_nothing_to_copy(tmp_path):
    (tmp_path / "notebooks").mkdir()
    with pytest.raises(InputError, match="no such run"):
        update(tmp_path)


def test_the_notebooks_of_this_repository_may_be_published():
    assert check_committed(REPOSITORY / "notebooks") == []
