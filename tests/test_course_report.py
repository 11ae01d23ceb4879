"""The report: plain lines, honest words, and pages that fetch nothing."""

import json
import re
from html.parser import HTMLParser

import pytest
from made_up_notebooks import code, notebook, text, write

from seg_lib.course.notebooks import CourseNotebook
from seg_lib.course.pages import draw_formulas, notebook_page
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
from seg_lib.course.rules import Verdict

ABOUT = about_this_run("laptop", seed=0)


class Parts(HTMLParser):
    """What a page would fetch, and its pictures and formulas."""

    def __init__(self, page):
        super().__init__()
        self.fetched, self.scripts, self.alts = [], 0, []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "script":
            self.scripts += 1
        if tag == "img":
            self.alts.append(attributes.get("alt"))
        for name in ("src", "srcset", "data") + (("href",) if tag == "link" else ()):
            if name in attributes and not attributes[name].startswith("data:"):
                self.fetched.append(attributes[name])


def result(number="06", status=PASSED, **more) -> Result:
    return Result(CourseNotebook(number, "resnet50_unet", None), status, 182.34, 1421.0, **more)


def test_the_terminal_line():
    verdicts = [Verdict("a", True, ""), Verdict("b", True, ""), Verdict("c", None, "")]
    line = terminal_line(result(verdicts=verdicts))
    assert line.split("  ") and re.sub(" +", " ", line) == (
        "06 resnet50_unet 182.3 s 1.42 GB passed (2 rules)"
    )


def test_a_failure_shows_its_reasons_below():
    line = terminal_line(result(status=FAILED, reasons=["stopped: E\n    f()", "over budget"]))
    assert line.splitlines()[0].endswith("failed")
    assert line.splitlines()[1:] == ["    stopped: E", "        f()", "    over budget"]


@pytest.mark.parametrize(
    ("results", "code", "said"),
    [
        ([result()], 0, "1 passed in 182 s"),
        ([result(), result(status=FAILED)], 1, "1 passed, 1 failed in 365 s"),
        ([result(status=NOT_CHECKED)], 1, "1 not checked in 182 s"),
        ([result(status=NOT_CHECKED, excused=True)], 0, "1 not checked in 182 s"),
        ([], 0, "no notebook in 0 s"),
    ],
)
def test_only_what_was_checked_has_passed(results, code, said):
    assert exit_code(results) == code
    assert closing_line(results, "gpu") == f"Profile gpu: {said}."


def executed(tmp_path, *cells):
    content = notebook()
    content["cells"] += [{**cell, "id": f"more-{n}"} for n, cell in enumerate(cells)]
    return write(tmp_path / "runs" / "06_resnet50_unet.ipynb", content)


def output(**data):
    return [{"output_type": "display_data", "metadata": {}, "data": data}]


def test_a_page_fetches_nothing(tmp_path):
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "S()"}
    script = {"application/javascript": "require(['https://cdn.example.org/x.js'])"}
    page = notebook_page(
        executed(
            tmp_path,
            text("The Dice $D = \\frac{2 |A \\cap B|}{|A| + |B|}$ costs `$5`.\n\n$$x^2$$"),
            code("1", outputs=output(**{"image/png": "iVBORw0KGgo=", "text/plain": "a"})),
            code("2", outputs=output(**widget)),
            code("3", outputs=output(**script)),
            code("4", outputs=[{"output_type": "stream", "name": "stdout", "text": "said <b>"}]),
        )
    )
    parts = Parts(page)
    assert parts.fetched == []
    assert parts.scripts == 0
    assert "@import" not in page and "url(http" not in page
    assert "<title>A made-up lesson</title>" in page
    assert "said &lt;b&gt;" in page
    assert "<code>$5</code>" in page
    assert {"D = \\frac{2 |A \\cap B|}{|A| + |B|}", "x^2"} <= set(parts.alts)


@pytest.mark.parametrize(
    ("source", "drawn"),
    [
        ("$x$ and $$y$$", 2),
        ("costs $5 or $6", 0),
        ("`$x$` and ```\n$$y$$\n```", 0),
        ("escaped \\$x$", 0),
        ("$a_1$, $a_2$.", 2),
        ("$$\n\\sum_i p_i\n$$", 1),
    ],
)
def test_formulas_are_drawn_and_code_is_left_alone(source, drawn):
    out = draw_formulas(source)
    assert out.count('<img class="formula"') == drawn
    assert drawn or out == source


def test_a_formula_that_cannot_be_drawn_stays_readable():
    assert draw_formulas("$\\begin{aligned} a < b \\end{aligned}$") == (
        "<code>\\begin{aligned} a &lt; b \\end{aligned}</code>"
    )


def test_the_index_shows_everything_and_fetches_only_its_neighbours(tmp_path):
    folder = tmp_path / "runs"
    path = executed(tmp_path)
    write(folder / "out" / "06" / "figures" / "06_worst_cases.png", {})
    results = [
        result(
            executed=path,
            verdicts=[Verdict("val_dice", True, "val_dice = 0.8 (floor 0.7).")],
            metrics=[{"name": "val_dice", "value": 0.8, "unit": ""}],
        ),
        result("07", FAILED, reasons=["stopped <here>"]),
        result("08", NOT_CHECKED, metrics=[{"name": "hd95", "value": 2.5, "unit": "mm"}]),
    ]
    page = write_report(results, folder, ABOUT).read_text()
    parts = Parts(page)
    assert parts.fetched == ["out/06/figures/06_worst_cases.png"]
    assert parts.alts == ["06 worst cases"]
    assert parts.scripts == 0
    assert '<a href="06_resnet50_unet.html">06 resnet50_unet</a><br>A made-up lesson' in page
    assert (folder / "06_resnet50_unet.html").is_file()
    assert "val_dice = 0.8 (floor 0.7)." in page
    assert "stopped &lt;here&gt;" in page
    assert "hd95 = 2.5 mm" in page
    assert '<td class="not-checked">not checked</td>' in page


def test_the_summary_can_be_read_by_a_program(tmp_path):
    verdicts = [Verdict("a", True, "a = 1.")]
    write_report([result(verdicts=verdicts, source_sha256="0" * 64)], tmp_path, ABOUT)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["about"] == ABOUT
    assert ABOUT.keys() >= {"profile", "seed", "seg_lib", "python", "torch"}
    row = summary["results"][0]
    assert (row["notebook"], row["status"], row["seconds"], row["peak_mb"]) == (
        ("06", "passed", 182.3, 1421)
    )
    assert row["verdicts"] == [{"metric": "a", "ok": True, "sentence": "a = 1."}]
