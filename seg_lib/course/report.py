"""What a run of the course has shown: a line per notebook, ``summary.json``, and HTML pages."""

import contextlib
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from html import escape
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


def terminal_line(result: Result) -> str:
    """One line: name, seconds, peak memory, verdict; a failure's reasons on lines of their own."""
    cost = f"{result.seconds:7.1f} s {result.peak_mb / 1000:6.2f} GB"
    line = f"{result.notebook.name:<28} {cost}   {result.status}"
    if result.status == PASSED:
        n_rules = sum(verdict.ok is not None for verdict in result.verdicts)
        return f"{line} ({n_rules} rule{'s' if n_rules != 1 else ''})"
    return "\n    ".join([line, *(reason.replace("\n", "\n    ") for reason in result.reasons)])


def closing_line(results: Sequence[Result], profile: str) -> str:
    """The count of verdicts; the word "passed" only where something was checked and held."""
    found = [result.status for result in results]
    counts = [f"{found.count(s)} {s}" for s in (PASSED, FAILED, NOT_CHECKED) if s in found]
    seconds = sum(result.seconds for result in results)
    return f"Profile {profile}: {', '.join(counts) or 'no notebook'} in {seconds:.0f} s."


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
        "torch": metadata.version("torch"),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu_count": os.cpu_count(),
    }


def write_report(results: Sequence[Result], folder: Path, about: dict) -> Path:
    """Write ``summary.json``, a page per executed notebook, and ``index.html``; return its path.

    ``folder`` is ``runs/<profile>``, ``about`` comes from ``about_this_run``.
    """
    _write_summary(results, folder / SUMMARY, about)
    title = f"Course, profile {about['profile']}"
    facts = ", ".join(f"{name} {value}" for name, value in about.items() if name != "profile")
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(closing_line(results, about['profile']))} {escape(facts)}.</p>",
        "<table>\n<tr><th>Notebook</th><th>Seconds</th><th>Peak GB</th><th>Verdict</th>",
        "<th>Metrics and rules</th></tr>",
        *(_row(result, folder) for result in results),
        "</table>",
        *(_thumbnails(result.notebook, folder) for result in results),
    ]
    write_text(folder / "index.html", page(title, "\n".join(body)))
    return folder / "index.html"


def _write_summary(results: Sequence[Result], path: Path, about: dict) -> None:
    """All for a program; rows of an earlier run are kept if all but the notebook is the same."""
    rows = {}
    with contextlib.suppress(OSError, ValueError):  # no earlier run, or a damaged file
        earlier = json.loads(path.read_text(encoding="utf-8"))
        if earlier["about"] == about:
            rows = {row["notebook"]: row for row in earlier["results"]}
    for result in results:
        rows[result.notebook.number] = {
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
    content = {"about": about, "results": [rows[number] for number in sorted(rows)]}
    write_text(path, json.dumps(content, indent=1) + "\n")


def _row(result: Result, folder: Path) -> str:
    """One row of the index, with a link to the notebook's own page."""
    name = escape(result.notebook.name)
    if result.executed is not None:
        link = result.executed.with_suffix(".html")
        write_text(link, notebook_page(result.executed))
        title = title_of(read_notebook(result.executed)) or result.notebook.slug
        target = link.relative_to(folder).as_posix()
        name = f'<a href="{escape(target)}">{name}</a><br>{escape(title)}'
    said = [v.sentence for v in result.verdicts] or [
        f"{metric['name']} = {metric['value']:.6g} {metric['unit']}" for metric in result.metrics
    ]
    said = [reason for reason in result.reasons if reason not in said] + said
    return (
        f'<tr><td>{name}</td><td class="number">{result.seconds:.1f}</td>'
        f'<td class="number">{result.peak_mb / 1000:.2f}</td>'
        f'<td class="{result.status.replace(" ", "-")}">{result.status}</td>'
        f"<td>{'<br>'.join(map(escape, said))}</td></tr>"
    )


def _thumbnails(notebook: CourseNotebook, folder: Path) -> str:
    """The notebook's figures, small, each a link to the whole picture."""
    pictures = ""
    for path in sorted((folder / "out" / notebook.number / "figures").glob("*.png")):
        target = escape(path.relative_to(folder).as_posix())
        alt = escape(path.stem.replace("_", " "))
        pictures += f'<a href="{target}"><img src="{target}" alt="{alt}"></a>'
    heading = f'<h2>{escape(notebook.name)}</h2>\n<p class="thumbnails">'
    return f"{heading}{pictures}</p>" if pictures else ""
