"""What a committed notebook must and must not have in it; each fault is one sentence."""

import ast
import re
from collections.abc import Iterator

from seg_lib.course import notebooks

LARGEST_BYTES = 400_000
MOST_CODE_CELLS = 25
MOST_LINES = 20
MOST_OBJECTIVES = 4
MOST_STDERR = 2000  # characters in one notebook
PARAMETERS = ("PROFILE", "SEED", "DATA_DIR", "OUT_DIR")
SECTIONS = ("Objectives", "Budget", "Exercises", "What would break this?")
PICTURES = {"image/png", "image/jpeg"}
RUN_AGAIN = "run the course in the laptop profile and update the committed notebooks"

# name -> pattern; searched in sources, outputs, attachments' names and metadata, not in pictures
MACHINE_PATH = re.compile(
    r"(?<![\w.~-])(?:/(?:home|Users)/\w[\w.-]*|/(?:root|work|tmp|mnt|private|scratch|content)/"
    r"[\w.-]+|/var/folders/\w+)|\b[A-Za-z]:(?:\\|\\\\|/)Users(?:\\|/)\w+"
)
PRIVATE = {
    "a record number": re.compile(r"\b(?:MRN|HupMfn|PatientID)\W{0,6}\d{4,}", re.IGNORECASE),
    "the name of a hospital's record column": re.compile(r"\bHupMfn\b", re.IGNORECASE),
    "an e-mail address": re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}\b", re.IGNORECASE),
    "an access token": re.compile(
        r"\bhf_[A-Za-z0-9]{20,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}"
        r"|\bsk-[A-Za-z0-9_-]{20,}|\bAKIA[0-9A-Z]{16}\b|\bxox[abp]-[\w-]{10,}"
    ),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}
ALLOWED_ADDRESS = re.compile(r"@(?:[\w-]+\.)*example\.(?:org|com|net)$")


def stamp_findings(notebook: dict, stamp: object) -> Iterator[str]:
    """Do the outputs belong to the source?"""
    if not isinstance(stamp, dict):
        yield f"no stamp, so nobody knows what its outputs belong to; {RUN_AGAIN}."
    elif stamp.get("source_sha256") != notebooks.source_sha256(notebook):
        yield f"its outputs are stale, the source has changed since; {RUN_AGAIN}."
    counts = [cell.get("execution_count") for cell in notebooks.code_cells(notebook)]
    if None in counts:
        yield f"code cell {counts.index(None) + 1} was not executed; {RUN_AGAIN}."
    elif counts != list(range(1, len(counts) + 1)):
        yield f"cells were executed out of order; {RUN_AGAIN}."


def file_findings(notebook: dict, n_bytes: int, has_figures: bool) -> Iterator[str]:
    """Size, metadata, parameters, sections: what the course asks of every notebook."""
    metadata = notebook.get("metadata", {})
    if n_bytes > LARGEST_BYTES:
        yield f"{n_bytes / 1000:.0f} kB, and at most {LARGEST_BYTES / 1000:.0f} are allowed."
    if "widgets" in metadata:
        yield "metadata.widgets holds the state of widgets; clear it."
    if metadata.get("kernelspec", {}).get("name") != "python3":
        yield "metadata.kernelspec is not python3; choose Python 3 in JupyterLab and save."
    if "language_info" not in metadata:
        yield "metadata.language_info is missing; save it from JupyterLab."
    if any(notebooks.INJECTED in notebooks.tags_of(cell) for cell in notebook["cells"]):
        yield "holds the cell that papermill put in; remove it."
    parameters = [cell for cell in notebook["cells"] if "parameters" in notebooks.tags_of(cell)]
    if len(parameters) == 1:
        yield from _parameter_findings(notebooks.source_of(parameters[0]))
    else:
        yield f"{len(parameters)} cells are tagged `parameters`; there must be exactly one."
    yield from _code_findings(notebooks.code_cells(notebook))
    yield from _output_findings(notebooks.code_cells(notebook))
    yield from _section_findings(notebook)
    if not has_figures:
        yield "no figure figures/NN_*.png of it; save one with lesson.figure(fig, name)."


def _parameter_findings(source: str) -> Iterator[str]:
    try:
        lines = [line for line in ast.parse(source).body if isinstance(line, ast.Assign)]
    except SyntaxError:
        lines = []
    values = {ast.unparse(target): line.value for line in lines for target in line.targets}
    if missing := [name for name in PARAMETERS if name not in values]:
        yield f"its parameters cell does not set {', '.join(missing)}."
    for name, value in values.items():
        if not isinstance(value, ast.Constant):
            yield f"the parameter {name} must be a plain number or text."


def _code_findings(cells: list[dict]) -> Iterator[str]:
    """Length, and what has to be called somewhere."""
    if len(cells) > MOST_CODE_CELLS:
        yield f"{len(cells)} code cells, and at most {MOST_CODE_CELLS} are allowed."
    source = ""
    for n, cell in enumerate(cells, 1):
        source += notebooks.source_of(cell) + "\n"
        n_lines = len(notebooks.source_of(cell).strip().splitlines())
        if n_lines > MOST_LINES:
            yield f"code cell {n} has {n_lines} lines, and at most {MOST_LINES} are allowed."
    if not re.search(r"\brecord\(", source):
        yield "records no metric; nothing in it can be checked."
    if not re.search(r"\bcheck\(\"\d\d[a-z]\"", source):
        yield 'has no exercise that is checked with check("NNa", answer).'


def _output_findings(cells: list[dict]) -> Iterator[str]:
    stderr = ""
    for n, cell in enumerate(cells, 1):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                yield f"code cell {n} shows an error: {output['ename']}."
            if output.get("name") == "stderr":
                stderr += "".join(output["text"])
    if len(stderr) > MOST_STDERR:
        yield f"{len(stderr)} characters of warnings and logs; mend their cause."


def _section_findings(notebook: dict) -> Iterator[str]:
    text = notebooks.markdown_of(notebook)
    parts = re.split(r"^#+ +(.*)$", text, flags=re.MULTILINE)
    body_of = dict(zip(map(str.lower, parts[1::2]), parts[2::2], strict=True))
    if not notebooks.title_of(notebook):
        yield "has no title; begin with a markdown heading."
    for section in SECTIONS:
        if not any(heading.startswith(section.lower()) for heading in body_of):
            yield f"has no section {section!r}."
    for heading, body in body_of.items():
        n = len(re.findall(r"^ {0,1}(?:[-*]|\d+\.) +\S", body, re.MULTILINE))
        if heading.startswith("objectives") and not 1 <= n <= MOST_OBJECTIVES:
            yield f"lists {n} objectives; 1 to {MOST_OBJECTIVES} are enough for one lesson."
    solved = any("solution" in notebooks.tags_of(cell) for cell in notebook["cells"])
    if solved or any(re.match(r"solutions?\b", heading) for heading in body_of):
        yield "shows a solution; solutions belong into tests/solutions."
    if re.search(r"!\[\s*\]\(|<img(?![^>]*\balt=\"[^\"]+\")", text):
        yield "has a picture without a text for those who cannot see it."


def text_findings(notebook: dict) -> Iterator[str]:
    """Names of folders, people and secrets, anywhere in the file except inside pictures."""
    texts = {"the metadata": notebook.get("metadata", {})}
    for n, cell in enumerate(notebook["cells"], 1):
        rest = dict(cell)
        texts[f"cell {n}"] = rest.pop("source", "")
        texts[f"cell {n}, output"] = rest.pop("outputs", [])
        texts[f"cell {n}, metadata and attachments"] = rest
    for where, value in texts.items():
        text = _flat(value)
        if path := MACHINE_PATH.search(text):
            yield f"{where} names a folder of one machine: {path[0]}"
        for what, pattern in PRIVATE.items():
            found = [hit[0] for hit in pattern.finditer(text)]
            found = [hit for hit in found if not ALLOWED_ADDRESS.search(hit)]
            if found:
                yield f"{where} holds {what}: {found[0][:12]}…"


def _flat(value: object) -> str:
    """All strings below a JSON value, pictures left out, lists of lines joined."""
    if isinstance(value, list):
        glue = "" if all(isinstance(item, str) for item in value) else "\n"
        return glue.join(map(_flat, value))
    if isinstance(value, dict):
        pictures = {name for name in PICTURES & value.keys() if isinstance(value[name], str)}
        flat = (k if k in pictures else f"{k}: {_flat(item)}" for k, item in value.items())
        return "\n".join(flat)
    return str(value)
