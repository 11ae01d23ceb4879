"""The site: whole, safe, readable by everybody, and it asks nothing of any other machine."""

import json
import posixpath
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from made_up_notebooks import code, notebook, text, write

from seg_lib.cli import main
from seg_lib.course.library_pages import module_markdown
from seg_lib.course.site import build_site
from seg_lib.errors import InputError

REPOSITORY = Path(__file__).parents[1]
FETCHING = {"img", "script", "link", "iframe", "source", "video", "audio", "embed", "object"}
NO_WORDS = "No description has been provided for this image"  # as nbconvert says it
FIRST = """A *voxel* is small; $x^2$ is a formula, and so is $$\\frac{a}{b}$$ alone.

## What $x$ is for

Go on with [the second](01_second.ipynb#Exercises), read [the guide](guides/one_day.md), the
[notes](../notes.txt) or [the web](https://example.org). ![A line](../figures/line.png)"""
UNSAFE = """<script>alert("markdown")</script> <img src="https://example.org/spy.png">

[do not](javascript:alert(1)) ![spy](https://example.org/spy.png) ![up](../../secret.png)"""
LIBRARY = '''"""Small things, see ``area``.

    a table
"""
WIDTH = 3

def area(width: int, *, height: int = 2) -> int:
    """The area, in pixels.

    Args:
        width: in pixels,
            whole ones.
        height: the same.

    Returns:
        ``width * height``.
    """
    return width * height

class Box:
    """A box <b>."""

    width: int  # pixels

    def fits(self) -> bool:
        """Whether it does."""

def _private():
    """Not for show."""
'''


def display(**data):
    data = {kind.replace("_", "/"): value for kind, value in data.items()}
    alt = {"image/png": {"alt": "A falling line"}}
    return {"output_type": "display_data", "metadata": alt, "data": data}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A made-up course of two lessons, a guide, a glossary and a library of one module."""
    root = tmp_path_factory.mktemp("course")
    first, second = notebook(), notebook(number="01")
    unsafe = display(text_html="<script>alert(2)</script>", text_plain="said <b>")
    live = {"output_type": "display_data", "metadata": {}}
    live["data"] = {"application/javascript": "alert(3)", "text/plain": "Script"}
    cells = [text(FIRST), text(UNSAFE), code("from seg_lib import small\nsmall.area(2)")]
    cells += [code("1", outputs=[display(image_png="iVBORw0KGgo=", text_plain="figure")])]
    cells += [code("2", outputs=[unsafe, live])]
    first["cells"] += [{**cell, "id": f"more-{n}"} for n, cell in enumerate(cells)]
    first["metadata"]["seg_lib"] = {"seconds": 17.2, "peak_mb": 900}
    write(root / "notebooks" / "00_first.ipynb", first)
    write(root / "notebooks" / "01_second.ipynb", second)
    files = {
        "notebooks/guides/one_day.md": "# A day\n\nFor all. See [00](../00_first.ipynb).\n",
        "notebooks/guides/glossary.md": "# Glossary\n\n## Scans\n\n### Voxel\n\nA box.\n",
        "README.md": "# Title: more\n\nIntro, ![line](figures/line.png).\n\n## Rest\n\n<!-- x -->\n"
        "[first](notebooks/00_first.ipynb)\n",
        "figures/line.png": "png",
        "figures/other.png": "png",
        "secret.png": "png",
        "seg_lib/__init__.py": '"""The library."""\n',
        "seg_lib/small.py": LIBRARY,
        "seg_lib/_hidden.py": '"""Hidden."""\n',
        "seg_lib/course/checkers/lesson_00.py": '"""Answers."""\n',
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.fixture(scope="module")
def site(course, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    assert build_site(folder, course) == folder / "index.html"
    return folder


@pytest.fixture(scope="module")
def real_site(tmp_path_factory):
    return build_site(tmp_path_factory.mktemp("real_site"), REPOSITORY).parent


class Parts(HTMLParser):
    """What the tests ask of a page."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.fetched, self.alts, self.levels, self.tags = (
            [],
            [],
            [],
            [],
            [],
            [],
        )
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.alts += [attributes.get("alt")] if tag == "img" else []
        self.links += [attributes["href"]] if tag == "a" else []
        self.levels += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        if tag in FETCHING:
            found = [attributes.get(name) for name in ("src", "href", "srcset", "data")]
            self.fetched += [x for x in found if x and not x.startswith("data:image/")]
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)


def parts_of(folder):
    return {
        path.relative_to(folder).as_posix(): Parts(path) for path in sorted(folder.rglob("*.html"))
    }


def check_whole(folder):
    """Every link leads to something, every file that a page needs is there, nothing is fetched."""
    pages = parts_of(folder)
    for name, page in pages.items():
        for link in page.links + page.fetched:
            if re.match(r"https?://", link):
                assert link not in page.fetched, f"{name} fetches {link}"
                continue
            path, _, part = link.partition("#")
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
            target = target if path else name
            assert (folder / target).is_file(), f"{name}: {link}"
            if part:
                ids = pages[target].ids
                assert part in ids or unquote(part) in ids, f"{name}: no such place {link}"
    for name in ("pages.css", "site.js"):
        assert not re.search(r"https?:|@import|url\(", (folder / name).read_text())
    return pages


def check_readable(pages):
    """For people who hear the page, or walk through it with keys."""
    for name, page in pages.items():
        assert {None, "", NO_WORDS}.isdisjoint(page.alts), f"{name}: a picture without words"
        assert page.levels.count(1) == 1 and page.levels[0] == 1, f"{name}: one heading of the page"
        steps = [b - a for a, b in zip(page.levels, page.levels[1:], strict=False)]
        assert max(steps, default=0) <= 1, f"{name}: a heading of a level is left out"
        assert len(page.ids) == len(set(page.ids)), f"{name}: an id stands twice"
        assert page.links[0] == "#text" and "text" in page.ids, name
        assert {"main", "nav", "header", "footer"} <= set(page.tags), name


def test_every_link_holds_and_nothing_is_fetched(site):
    pages = check_whole(site)
    assert "figures/line.png" in pages["index.html"].fetched
    assert sorted(path.name for path in (site / "figures").iterdir()) == ["line.png"]
    lesson = pages["lessons/00_first.html"].links
    assert {"01_second.html#Exercises", "../guides/one_day.html", "https://example.org"} <= set(
        lesson
    )
    assert not [link for link in lesson if "notes.txt" in link], "no page shows it: plain text"


def test_pages_can_be_heard_and_walked_through(site):
    check_readable(parts_of(site))


def test_every_lesson_guide_and_public_module_is_listed(site):
    pages = parts_of(site)
    index = pages["index.html"].links
    assert {"lessons/00_first.html", "lessons/01_second.html", "library/index.html"} <= set(index)
    assert {"guides/one_day.html", "guides/glossary.html"} <= set(index)
    assert "17 s · 0.9 GB" in (site / "index.html").read_text()
    assert {"seg_lib.small.html", "seg_lib.html"} <= set(pages["library/index.html"].links)
    assert not [name for name in pages if "hidden" in name or "lesson_00" in name]


def test_lesson_and_module_know_each_other(site):
    pages = parts_of(site)
    assert "../library/seg_lib.small.html" in pages["lessons/00_first.html"].links
    assert "../lessons/00_first.html" in pages["library/seg_lib.small.html"].links
    assert "../library/seg_lib.small.html" not in pages["lessons/01_second.html"].links


def test_pictures_keep_their_words(site):
    alts = parts_of(site)["lessons/00_first.html"].alts
    assert alts[-5:] == ["x^2", r"\frac{a}{b}", "x", "A line", "A falling line"]


def test_nothing_in_a_notebook_is_obeyed(site):
    page = (site / "lessons" / "00_first.html").read_text()
    assert '&lt;script&gt;alert("markdown")' in page
    assert "said &lt;b&gt;" in page
    assert "alert(2)" not in page and "alert(3)" not in page
    assert "javascript:" not in page and "<em>spy</em>" in page and "<em>up</em>" in page
    parts = parts_of(site)["lessons/00_first.html"]
    assert parts.tags.count("script") == 1 and parts.fetched[-1] == "../figures/line.png"


def test_the_words_of_the_glossary_are_links_once(site):
    page = (site / "lessons" / "00_first.html").read_text()
    assert page.count('<em><a href="../guides/glossary.html#Voxel">voxel</a></em>') == 1


def entries(folder):
    index = (folder / "search_index.js").read_text()
    return json.loads(index.removeprefix("const SEARCH = ").removesuffix(";\n"))


def test_the_search_knows_every_page_and_where_a_word_stands(site):
    found = entries(site)
    assert {address.partition("#")[0] for address, *_ in found} == set(parts_of(site))
    second = [a for a, _, heading, words in found if "Go on with" in words]
    assert second and second[0].startswith("lessons/00_first.html#What-")
    assert [a for a, _, heading, _ in found if heading == "area"] == [
        "library/seg_lib.small.html#area"
    ]


def test_the_library_is_told_by_its_docstrings():
    shown = module_markdown("seg_lib.small", LIBRARY)
    assert "def area(width: int, *, height: int = 2) -> int:" in shown
    assert "* `width`: in pixels,\n" in shown and "**Returns**" in shown
    assert "class Box:\n    width: int  # pixels" in shown and "### Box.fits" in shown
    assert "_private" not in shown and "Not for show" not in shown


def test_a_module_without_a_docstring_is_no_fault():
    shown = "# bare\n\n## f\n\n```python\ndef f(): return 1\n```"
    assert module_markdown("bare", "def f(): return 1\n") == shown


def test_where_there_is_no_course_one_sentence_says_so(tmp_path, capsys, monkeypatch):
    with pytest.raises(InputError, match="no folder notebooks"):
        build_site(tmp_path / "site", tmp_path)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["course", "--site", "site"]) == 1
    assert "no notebook NN_name.ipynb" in capsys.readouterr().err
    write(tmp_path / "notebooks" / "00_broken.ipynb", [])
    with pytest.raises(InputError, match="00_broken.ipynb: no list of cells"):
        build_site(tmp_path / "site", tmp_path)
    assert not (tmp_path / "site").exists(), "nothing half-written"


def test_the_command_says_where_the_site_is(course, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(course)
    assert main(["course", "--site", str(tmp_path / "site")]) == 0
    assert capsys.readouterr().out == f"Open {tmp_path / 'site' / 'index.html'} in a browser.\n"
    again = {path: path.read_bytes() for path in (tmp_path / "site").rglob("*.*")}
    build_site(tmp_path / "site", course)
    assert all(path.read_bytes() == before for path, before in again.items()), "built alike twice"


def test_the_real_site_is_whole_and_readable(real_site):
    pages = check_whole(real_site)
    check_readable(pages)
    lessons = sorted(path.stem for path in (REPOSITORY / "notebooks").glob("*.ipynb"))
    assert [f"lessons/{name}.html" for name in lessons] == [n for n in pages if "lessons/" in n]


def test_every_formula_of_the_lessons_can_be_drawn(real_site):
    """One that matplotlib cannot draw stays LaTeX, in code."""
    for path in (real_site / "lessons").glob("*.html"):
        assert re.findall(r"<code>[^<]*\\[a-z]+[{ ][^<]*</code>", path.read_text()) == [], path.name


def test_the_glossary_names_lessons_that_use_the_word():
    glossary = (REPOSITORY / "notebooks" / "guides" / "glossary.md").read_text()
    terms = glossary.split("\n### ")[1:]
    assert len(terms) > 50
    for term in terms:
        name = term.splitlines()[0].partition(" (")[0]
        lessons = re.findall(r"\]\(\.\./(\d\d_\w+\.ipynb)\)", term)
        assert lessons, name
        for lesson in lessons:
            cells = json.loads((REPOSITORY / "notebooks" / lesson).read_text())["cells"]
            words = " ".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
            assert name.casefold() in " ".join(words.replace("*", "").split()).casefold(), term


@pytest.mark.browser
def test_search_and_keys_in_a_browser(site):
    """Opened from the disk: type, walk down to the first place, go there; nothing is loaded."""
    playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing")
    from test_viewer_browser import BROWSER, BROWSERS, FLAGS

    if BROWSER is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    asked, faults = [], []
    with playwright_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=FLAGS)
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda fault: faults.append(str(fault)))
        page.goto((site / "guides" / "one_day.html").as_uri())
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the text"
        page.keyboard.press("/")
        page.keyboard.type("area pixels")
        page.wait_for_selector("#found a")
        assert page.inner_text("#said") == "1 place found."
        assert "The area, in pixels" in page.inner_text("#found p:not(#said)")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_url("**/library/seg_lib.small.html#area")
        page.keyboard.press("/")
        page.keyboard.type("<img onerror")
        page.wait_for_function("document.getElementById('said').textContent")
        assert page.inner_text("#said") == "No places found."
        page.keyboard.press("Escape")
        assert page.is_hidden("#found")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, "fits a phone"
        browser.close()
    assert faults == [] and all(address.startswith("file://") for address in asked)
