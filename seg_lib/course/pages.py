"""HTML pages that ask nothing of any other machine: a frame, Markdown, formulas, notebooks.

Jupyter's own pages load MathJax, require.js and more from elsewhere. Here formulas are drawn by
matplotlib; one that it cannot draw stays readable as LaTeX. Raw HTML in Markdown is shown as text.
"""

import base64
import functools
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path

from seg_lib.course.notebooks import INJECTED, title_of

# Code keeps its dollars: fenced blocks and `spans` come first and are left alone.
FORMULA = re.compile(
    r"(?P<code>```.*?```|~~~.*?~~~|`[^`\n]+`)"
    r"|\$\$(?P<block>.+?)\$\$"
    r"|(?<![\\$\w])\$(?P<inline>[^\s$](?:[^$\n]*[^\s$\\])?)\$(?!\d)",
    re.DOTALL,
)
PICTURES = ("image/png", "image/jpeg")
SHOWN = ("text/plain", "text/markdown", *PICTURES)


@dataclass(frozen=True)
class Page:
    """One page of the course site.

    ``path`` is that in the site, ``group`` names what it is listed under, ``source`` is the file
    of the repository that it shows, ``body`` the HTML of its text.
    """

    path: str
    title: str
    group: str
    body: str
    source: str


@functools.cache
def style() -> str:
    """The style sheet of all pages, with the colours of code for bright and dark screens."""
    from pygments.formatters import HtmlFormatter

    sheet = Path(__file__).with_name("pages.css").read_text(encoding="utf-8")
    bright, dark = (
        "\n".join(HtmlFormatter(style=name).get_token_style_defs(".highlight"))
        for name in ("default", "github-dark")
    )
    return f"{sheet}\n{bright}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}\n"


def page(title: str, body: str) -> str:
    """A whole HTML page around a body, in one file."""
    return document(title, f"<style>{style()}</style>", f"<main>\n{body}\n</main>")


def document(title: str, head: str, body: str) -> str:
    """The frame of every page; ``head`` brings its style."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def notebook_page(path: Path) -> str:
    """An executed notebook as a page that shows code, outputs and pictures, and fetches nothing."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    return page(title_of(notebook) or path.stem, notebook_body(notebook))


def notebook_body(notebook: dict) -> str:
    """The cells of an ``nbformat`` notebook as HTML; nothing is run.

    Outputs are shown as text, table or picture; HTML and scripts of a notebook are not.
    """
    from nbconvert import HTMLExporter

    notebook.metadata.pop("widgets", None)
    notebook.cells = [c for c in notebook.cells if INJECTED not in c.metadata.get("tags", [])]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.get("outputs", []) if not _is_live(output)]
            for output in cell.outputs:
                if "data" in output:
                    _keep_what_is_safe(output)
    exporter = HTMLExporter(template_name="basic")
    exporter.register_filter("markdown2html", markdown_html)
    return exporter.from_notebook_node(notebook)[0]


def _keep_what_is_safe(output: dict) -> None:
    """Leave out what a browser would obey; a picture without words gets its plain text as words."""
    output.data = {kind: output.data[kind] for kind in SHOWN if kind in output.data}
    words = {"alt": output.data.get("text/plain", "Figure")}
    for kind in PICTURES:
        output.metadata[kind] = words | output.metadata.get(kind, {})


def _is_live(output: dict) -> bool:
    """A widget or a script without a picture: it needs a live kernel, or a library from elsewhere.

    The text beside it is only its name.
    """
    kinds = " ".join(output.get("data", {}))
    return bool(re.search("widget-view|javascript", kinds)) and "image/" not in kinds


def markdown_html(source: str) -> str:
    """Markdown as HTML: an ``id`` in every heading, wide tables that scroll by themselves."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    drawn: dict[str, str] = {}

    def keep(picture: str) -> str:
        """A sign in the place of a formula's picture, which the renderer would escape."""
        sign = f"\ue000{len(drawn)}\ue001"
        drawn[sign] = picture
        return sign

    renderer = IPythonRenderer(escape=True, allow_harmful_protocols=False)
    html = MarkdownWithMath(renderer=renderer).render(draw_formulas(source, keep))
    html = re.sub(r'<a class="anchor-link".*?</a>', "", html)
    html = re.sub(r'<a href="#harmful-link">(.*?)</a>', r"\1", html)  # javascript: and its kin
    wide = '<div class="wide" tabindex="0" role="region" aria-label="Table">'
    html = html.replace("<table>", f"{wide}<table>")
    html = html.replace("</table>", "</table></div>")
    html = html.replace("&#57344;", "\ue000").replace("&#57345;", "\ue001")  # so in headings
    return re.sub("\ue000\\d+\ue001", lambda sign: drawn.get(sign[0], ""), html)


def draw_formulas(markdown: str, keep: Callable[[str], str] = str) -> str:
    """Replace ``$…$`` and ``$$…$$`` by pictures, with their LaTeX as the text.

    ``keep`` gets each picture's HTML and says what stands in the text for it.
    """

    def draw(match: re.Match) -> str:
        if match["code"]:
            return match["code"]
        latex = " ".join((match["block"] or match["inline"]).split())
        if match["inline"]:
            return keep(_picture(latex, size=12))
        return f"\n\n{keep(_picture(latex, size=15))}\n\n"

    return FORMULA.sub(draw, markdown)


@functools.lru_cache(maxsize=1000)
def _picture(latex: str, size: int) -> str:
    """One formula as an inline SVG picture (size in points), or its LaTeX as code."""
    from matplotlib import rc_context
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import math_to_image

    stream = io.BytesIO()
    try:
        with rc_context({"savefig.facecolor": "none"}):  # the page's own, bright or dark
            depth = math_to_image(f"${latex}$", stream, FontProperties(size=size), format="svg")
    except (ValueError, RuntimeError):  # matplotlib draws a part of LaTeX only
        return f"<code>{escape(latex)}</code>"
    svg = re.sub(rb"<metadata>.*?</metadata>", b"", stream.getvalue(), flags=re.DOTALL)
    svg = base64.b64encode(svg).decode()
    return (
        f'<img class="formula" alt="{escape(latex)}" style="vertical-align: -{depth:.1f}pt" '
        f'src="data:image/svg+xml;base64,{svg}">'
    )
