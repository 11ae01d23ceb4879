"""A notebook as one web page that needs no network: no script, style sheet or font from outside.

Jupyter's own pages load MathJax, require.js and more from elsewhere. Here formulas are drawn by
matplotlib; one that it cannot draw stays readable as LaTeX.
"""

import base64
import html
import io
import re
from pathlib import Path

from seg_lib.course.notebooks import INJECTED, title_of

# Code keeps its dollars: fenced blocks and `spans` come first and are left alone.
FORMULA = re.compile(
    r"(?P<code>```.*?```|~~~.*?~~~|`[^`\n]+`)"
    r"|\$\$(?P<block>.+?)\$\$"
    r"|(?<![\\$\w])\$(?P<inline>[^\s$](?:[^$\n]*[^\s$\\])?)\$(?!\d)",
    re.DOTALL,
)
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #1c1c1c; background: #fff; }
pre { font: 13px/1.45 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere;
  margin: 0; padding: .6rem .8rem; }
code { font-family: ui-monospace, monospace; background: #f5f6f8; }
.input pre { background: #f5f6f8; border-left: 3px solid #3f6ea8; }
.output_stderr pre { background: #fdf3f2; }
.output_error pre { background: #fdeaea; }
.prompt, .anchor-link { display: none; } .code_cell { margin: .8rem 0; }
.formula { vertical-align: middle; } img { max-width: 100%; } table { border-collapse: collapse; }
th, td { padding: .25rem .7rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid #d9dce1; } td.number { text-align: right; white-space: nowrap; }
.passed { color: #1a6b34; } .failed { color: #a51d1d; font-weight: 600; }
.not-checked { color: #6a5700; }
.thumbnails img { width: 15rem; margin: .4rem; vertical-align: top; }
"""


def page(title: str, body: str, style: str = "") -> str:
    """A whole HTML page around a body."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def notebook_page(path: Path) -> str:
    """An executed notebook as a page of its own.

    Args:
        path: the ``.ipynb`` file.

    Returns:
        HTML that shows code, outputs and pictures, and fetches nothing.
    """
    import nbformat
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    notebook.cells = [c for c in notebook.cells if INJECTED not in c.metadata.get("tags", [])]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = draw_formulas(cell.source)
        cell.get("outputs", [])[:] = [o for o in cell.get("outputs", []) if not _is_widget(o)]
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    style = HtmlFormatter().get_style_defs(".highlight")
    return page(title_of(notebook) or path.stem, body, style)


def _is_widget(output) -> bool:
    """A widget or a script: it needs a live kernel, or a library from elsewhere."""
    data = output.get("data", {})
    live = any("widget-view" in kind or "javascript" in kind for kind in data)
    return live and not any(kind.startswith(("image/", "text/html")) for kind in data)


def draw_formulas(markdown: str) -> str:
    """Replace ``$…$`` and ``$$…$$`` by pictures; their LaTeX stays as the text for screen readers.

    Args:
        markdown: the source of a markdown cell.
    """

    def draw(match: re.Match) -> str:
        if match["code"]:
            return match["code"]
        latex = " ".join((match["block"] or match["inline"]).split())
        if match["inline"]:
            return _picture(latex, size=12)
        return f"\n\n{_picture(latex, size=15)}\n\n"

    return FORMULA.sub(draw, markdown)


def _picture(latex: str, size: int) -> str:
    """One formula as an inline SVG picture (size in points), or its LaTeX as code."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import math_to_image

    stream = io.BytesIO()
    try:
        math_to_image(f"${latex}$", stream, FontProperties(size=size), format="svg")
    except (ValueError, RuntimeError):  # matplotlib draws a part of LaTeX only
        return f"<code>{html.escape(latex)}</code>"
    svg = base64.b64encode(stream.getvalue()).decode()
    alt = html.escape(latex, quote=True)
    return f'<img class="formula" alt="{alt}" src="data:image/svg+xml;base64,{svg}">'
