"""What a run of the course has shown: a line per notebook, ``summary.json``, and an HTML index."""

import html
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

import seg_lib
from seg_lib.course.notebooks import CourseNotebook, read_notebook, title_of
from seg_lib.course.pages import notebook_page, page
from seg_lib.course.rules import Verdict
from seg_lib.files import write_text

SUMMARY = "summary.json"
PASSED, FAILED, NOT_CHECKED = "passed", "failed", "not checked"


@dataclass
class Result:
    """What became of one notebook.

    ``excused`` is true where nothing could be checked and nobody is to blame: the profile needs a
    device that is not here.
    """

    notebook: CourseNotebook
    status: str
    seconds: float = 0.0
    peak_mb: float = 0.0
    reasons: list[str] = field(default_factory=list)
    metrics: list[dict] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    executed: Path | None = None
    source_sha256: str = ""
    excused: bool = False

    @property
    def n_rules(self) -> int:
        """How many rules were applied."""
        return sum(verdict.ok is not None for verdict in self.verdicts)


def terminal_line(result: Result) -> str:
    """One line: name, seconds, peak memory, verdict; a failure's reasons on lines of their own."""
    line = (
        f"{result.notebook.name:<28} {result.seconds:7.1f} s {result.peak_mb / 1000:6.2f} GB   "
        f"{result.status}"
    )
    if result.status == PASSED:
        return f"{line} ({result.n_rules} rule{'s' if result.n_rules != 1 else ''})"
    return "\n    ".join([line, *(reason.replace("\n", "\n    ") for reason in result.reasons)])


def closing_line(results: Sequence[Result], profile: str) -> str:
    """The count of verdicts; the word "passed" only where something was checked and held."""
    counts = {
        status: sum(result.status == status for result in results)
        for status in (PASSED, FAILED, NOT_CHECKED)
    }
    said = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
    seconds = sum(result.seconds for result in results)
    return f"Profile {profile}: {said or 'no notebook'} in {seconds:.0f} s."


def exit_code(results: Sequence[Result]) -> int:
    """0 if every notebook passed, or could not be checked for want of the device; else 1."""
    return int(not all(result.status == PASSED or result.excused for result in results))


def about_this_run(profile: str, seed: int) -> dict:
    """What the numbers depend on: versions, machine, seed. No names of folders or people."""
    return {
        "profile": profile,
        "seed": seed,
        "seg_lib": seg_lib.__version__,
        "python": platform.python_version(),
        "torch": _version("torch"),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu_count": os.cpu_count(),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def _kept(path: Path, about: dict, run_now: set[str]) -> list[dict]:
    """Rows of an earlier run under the same conditions, of notebooks that were not run now."""
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    same = earlier["about"] == about
    return [row for row in earlier["results"] if same and row["notebook"] not in run_now]


def write_report(results: Sequence[Result], folder: Path, about: dict) -> Path:
    """Write ``summary.json``, a page per executed notebook, and ``index.html``.

    Args:
        results: in the order of the run.
        folder: ``runs/<profile>``.
        about: from ``about_this_run``.

    Returns:
        The path of ``index.html``.
    """
    rows = [
        {
            "notebook": result.notebook.number,
            "slug": result.notebook.slug,
            "status": result.status,
            "reasons": result.reasons,
            "seconds": round(result.seconds, 1),
            "peak_mb": round(result.peak_mb),
            "metrics": result.metrics,
            "verdicts": [asdict(verdict) for verdict in result.verdicts],
            "source_sha256": result.source_sha256,
        }
        for result in results
    ]
    rows += _kept(folder / SUMMARY, about, {row["notebook"] for row in rows})
    rows.sort(key=lambda row: row["notebook"])
    write_text(folder / SUMMARY, json.dumps({"about": about, "results": rows}, indent=1) + "\n")
    body = "\n".join(_row(result, folder) for result in results)
    thumbnails = "\n".join(_thumbnails(result.notebook, folder) for result in results)
    facts = ", ".join(f"{name} {value}" for name, value in about.items() if name != "profile")
    write_text(
        folder / "index.html",
        page(
            f"Course, profile {about['profile']}",
            f"<h1>Course, profile {html.escape(str(about['profile']))}</h1>\n"
            f"<p>{html.escape(closing_line(results, about['profile']))} {html.escape(facts)}.</p>\n"
            "<table>\n<tr><th>Notebook</th><th>Seconds</th><th>Peak GB</th><th>Verdict</th>"
            f"<th>Metrics and rules</th></tr>\n{body}\n</table>\n{thumbnails}",
        ),
    )
    return folder / "index.html"


def _row(result: Result, folder: Path) -> str:
    """One row of the index, with a link to the notebook's own page."""
    notebook = result.notebook
    name = html.escape(notebook.name)
    if result.executed is not None and result.executed.is_file():
        link = result.executed.with_suffix(".html")
        write_text(link, notebook_page(result.executed))
        title = title_of(read_notebook(result.executed)) or notebook.slug
        target = link.relative_to(folder).as_posix()
        name = f'<a href="{html.escape(target)}">{name}</a><br>{html.escape(title)}'
    said = [v.sentence for v in result.verdicts] or [
        f"{metric['name']} = {metric['value']:.6g} {metric['unit']}" for metric in result.metrics
    ]
    said = [reason for reason in result.reasons if reason not in said] + said
    return (
        f'<tr><td>{name}</td><td class="number">{result.seconds:.1f}</td>'
        f'<td class="number">{result.peak_mb / 1000:.2f}</td>'
        f'<td class="{result.status.replace(" ", "-")}">{result.status}</td>'
        f"<td>{'<br>'.join(html.escape(sentence) for sentence in said)}</td></tr>"
    )


def _thumbnails(notebook: CourseNotebook, folder: Path) -> str:
    """The notebook's figures, small, each a link to the whole picture."""
    figures = sorted((folder / "out" / notebook.number / "figures").glob("*.png"))
    if not figures:
        return ""
    pictures = []
    for path in figures:
        target = html.escape(path.relative_to(folder).as_posix())
        alt = html.escape(path.stem.replace("_", " "))
        pictures.append(f'<a href="{target}"><img src="{target}" alt="{alt}"></a>')
    return f'<h2>{html.escape(notebook.name)}</h2>\n<p class="thumbnails">{"".join(pictures)}</p>'
