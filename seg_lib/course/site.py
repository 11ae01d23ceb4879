"""The course as a site: lessons, guides and library as pages that open from a disk.

Nothing is run: lessons are shown with the outputs they were committed with, the library by its
docstrings. No page asks anything of any other machine, search included.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

import seg_lib
from seg_lib.course.committed import STAMP
from seg_lib.course.library_pages import FLOORS, library_pages
from seg_lib.course.notebooks import (
    CourseNotebook,
    code_cells,
    course_root,
    lessons_of,
    read_notebook,
    source_of,
    title_of,
)
from seg_lib.course.pages import Page, document, markdown_html, notebook_body, style
from seg_lib.course.site_links import (
    contents,
    pictures_of,
    relative,
    search_entries,
    with_glossary,
    with_links,
)
from seg_lib.course.ways_in import colab_cell, launch_links, repository
from seg_lib.errors import InputError
from seg_lib.files import write_text, written_whole

LESSONS, GLOSSARY, TEACHING = "Lessons", "Glossary", "For teachers"
LIBRARY, PROJECT = "The library", "The project"
GROUPS = (LESSONS, GLOSSARY, TEACHING, LIBRARY, PROJECT)
TERMS = "notebooks/guides/glossary.md"
IMPORT = re.compile(r"^from (seg_lib[\w.]*) import (\([^)]*\)|.*)", re.MULTILINE)
DOCUMENTS = {
    "README.md": "Results and commands",
    "data_manifests/README.md": "Data sets",
    "CONTRIBUTING.md": "Contributing",
    "CHANGELOG.md": "Changes",
}
LAUNCH = """<p>Each lesson also opens in Colab or Binder, with nothing to install. Binder has about
2 GB of memory: for a lesson that needs more, write <code>PROFILE = "smoke"</code> in its first
cell. On Colab, first run this in a new cell (and restart the session if Colab asks for it):</p>
<pre>{}</pre>"""
NO_LAUNCH = """<p class="quiet">Links that open the lessons in Colab and Binder appear once
<code>pyproject.toml</code> tells the address of the published repository.</p>"""
HEADER = """<a class="skip" href="#text">Skip to the text</a>
<header><a class="home" href="{root}index.html">{home}</a>
<nav aria-label="Site"><ul>{links}</ul></nav>
<form role="search" hidden><input type="search" aria-label="Search, key /" placeholder="Search  /"
 autocomplete="off"><div id="found" hidden><p id="said" role="status"></p><ol></ol></div></form>
</header>
"""
FOOTER = "<footer>seg_lib {}. For teaching and research; not a medical device.</footer>"


def build_site(folder: str | Path, root: str | Path | None = None) -> Path:
    """Write the site into a folder and return its ``index.html``.

    ``root`` is the folder of the course; found from the current folder if not given.

    Raises:
        InputError: no lessons there, one that cannot be read, or a folder that cannot be written.
    """
    root, folder = course_root(root), Path(folder)
    notebooks = lessons_of(root)
    name = repository(root)
    pages = _pages(root, notebooks, name)
    by_source = {page.source: page for page in pages}
    pages.insert(0, _index(root, pages, name))
    pages = [replace(page, body=with_links(page, by_source, root, name)) for page in pages]
    for page in pages:
        write_text(folder / page.path, _framed(page, pages))
    index = [entry for page in pages for entry in search_entries(page)]
    write_text(folder / "search_index.js", f"const SEARCH = {json.dumps(index)};\n")
    write_text(folder / "pages.css", style())
    write_text(folder / "site.js", Path(__file__).with_name("site.js").read_text(encoding="utf-8"))
    for picture in sorted(set().union(*map(pictures_of, pages))):
        with written_whole(folder / picture) as part:
            shutil.copyfile(root / picture, part)
    return folder / "index.html"


def _pages(root: Path, notebooks: Sequence[CourseNotebook], repository: str) -> list[Page]:
    """All pages but the first one, in the order in which they are listed."""
    library = {page.title: page for page in library_pages(root / "seg_lib")}
    lessons = []
    for notebook in notebooks:
        lesson, modules = _lesson(notebook.path, repository), _modules(notebook, library)
        lessons.append(replace(lesson, body=lesson.body + _links("Library", modules)))
        for module in modules:
            taught = _links(f"Lesson {notebook.number}", [lesson])
            library[module.title] = replace(module, body=library[module.title].body + taught)
    files = sorted(root.glob("notebooks/guides/*"))
    guides = [f"notebooks/guides/{p.name}" for p in files if p.suffix in (".md", ".ipynb")]
    teaching = [_text(path, root, TEACHING) for path in guides if path != TERMS]
    glossary = [_text(path, root, GLOSSARY) for path in guides if path == TERMS]
    for part in (lessons, teaching) if glossary else ():
        part[:] = [replace(page, body=with_glossary(page, *glossary)) for page in part]
    project = [_text(path, root, PROJECT) for path in DOCUMENTS if (root / path).is_file()]
    modules = list(library.values())
    return [*lessons, *glossary, *teaching, _library(modules), *modules, *project]


def _modules(notebook: CourseNotebook, library: Mapping[str, Page]) -> list[Page]:
    """The pages of the modules that a lesson imports."""
    names = set()
    for cell in code_cells(read_notebook(notebook.path)):
        for module, parts in IMPORT.findall(source_of(cell)):
            names |= {module, *(f"{module}.{part}" for part in re.findall(r"\w+", parts))}
    return [library[name] for name in sorted(names & library.keys() - {"seg_lib"})]


def _links(title: str, pages: Sequence[Page]) -> str:
    """One line of links at the end of a page."""
    links = ", ".join(f'<a href="/{page.source}">{escape(page.title)}</a>' for page in pages)
    return f"<p>{title}: {links}</p>" if links else ""


def _lesson(path: Path, repository: str) -> Page:
    """A lesson with what its published run took, and the links that open it elsewhere."""
    import nbformat

    content = read_notebook(path)
    try:
        nbformat.validate(content)
    except nbformat.ValidationError as error:
        why = error.message.splitlines()[0]
        raise InputError(f"{path}: not a valid notebook ({why}); restore it.") from error
    title, stamp = title_of(content) or path.stem, content["metadata"].get(STAMP)
    facts = []
    if stamp:
        facts = [f"{stamp['seconds']:.0f} s", f"{stamp['peak_mb'] / 1000:.1f} GB of memory"]
    for service, address in launch_links(repository, path).items():
        facts.append(f'<a class="launch" href="{address}">Open in {service}</a>')
    line = f'<p class="facts">{" · ".join(facts)}</p>' if facts else ""
    body = notebook_body(nbformat.reads(json.dumps(content), as_version=4))
    body = body.replace("</h1>", f"</h1>{line}", 1)
    return Page(f"lessons/{path.stem}.html", title, LESSONS, body, f"notebooks/{path.name}")


def _text(path: str, root: Path, group: str) -> Page:
    """A Markdown file, without comments of its source, or a notebook that is no lesson."""
    place = f"guides/{Path(path).stem}.html"
    if path.endswith(".ipynb"):
        return replace(_lesson(root / path, ""), path=place, group=group, source=path)
    text = re.sub(r"<!--.*?-->\n?", "", (root / path).read_text(encoding="utf-8"), flags=re.DOTALL)
    title = re.search(r"^# +(.+)$", text, re.MULTILINE)
    label = DOCUMENTS.get(path) or (title[1] if title else Path(path).stem)
    place = place if path.startswith("notebooks/") else f"project/{_slug(label)}.html"
    return Page(place, label, group, markdown_html(text), path)


def _slug(name: str) -> str:
    return re.sub(r"\W+", "_", name.lower())


def _summary(page: Page) -> str:
    """What a lesson cost and where it opens; of other pages the first paragraph, without links."""
    if facts := re.search(r'<p class="facts">.*?</p>', page.body, re.DOTALL):
        return facts[0]
    said = re.search(r"<p>(.*?)</p>", page.body, re.DOTALL)
    return f"<p>{re.sub('<[^>]*>', '', said[1])}</p>" if said else ""


def _listed(pages: Sequence[Page], group: str) -> str:
    """A heading and the links to all pages of a group."""
    items = "".join(
        f'<li><a href="/{page.source}">{escape(page.title)}</a>{_summary(page)}</li>'
        for page in pages
        if page.group == group
    )
    return f'<h2 id="{_slug(group)}">{group}</h2><ul class="list">{items}</ul>' if items else ""


def _library(pages: Sequence[Page]) -> Page:
    """The list of all modules, the roof first."""
    body = "".join(_listed(pages, floor) for floor in reversed(FLOORS))
    said = "Every module, floor by floor; imports only go down, from the roof to the ground."
    body = f"<h1>{LIBRARY}</h1><p>{said}</p>{body}"
    return Page("library/index.html", LIBRARY, LIBRARY, body, "seg_lib")


def _index(root: Path, pages: Sequence[Page], repository: str) -> Page:
    """The first page: README up to its first section, then the lists of all but the modules."""
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else "# The course\n"
    title = re.search(r"^# +(.+)$", text, re.MULTILINE)
    launch = LAUNCH.format(escape(colab_cell(repository))) if repository else NO_LAUNCH
    body = markdown_html(text.partition("\n## ")[0]) + _listed(pages, LESSONS) + launch
    body += "".join(_listed(pages, group) for group in GROUPS[1:])
    return Page("index.html", title[1] if title else "The course", "", body, "README.md")


def _framed(page: Page, pages: Sequence[Page]) -> str:
    """A whole page: the head of the site, its contents, its text, its neighbours."""
    root, home = "../" * page.path.count("/"), pages[0].title.partition(":")[0]
    links = ""
    for group in GROUPS:
        listed = [found.path for found in pages if found.group == group]
        target = listed[0] if len(listed) == 1 else f"index.html#{_slug(group)}"
        links += f'<li><a href="{root}{target}">{group}</a></li>' if listed else ""
    head = f'<link rel="stylesheet" href="{root}pages.css">'
    head += f'<script src="{root}site.js" defer></script>'
    found = re.search(r'</h1>(?:<p class="facts">.*?</p>)?', page.body, re.DOTALL)
    end = found.end() if found else 0
    inner = contents(page.body) if page.group else ""  # the first page's lists are its contents
    text = f"{page.body[:end]}{inner}{page.body[end:]}"
    body = HEADER.format(root=root, home=escape(home), links=links)
    body += f'<main id="text" tabindex="-1">\n{text}\n{_neighbours(page, pages)}</main>\n'
    title = page.title if page.title.startswith(home) else f"{page.title} · {home}"
    return document(title, head, body + FOOTER.format(seg_lib.__version__))


def _neighbours(page: Page, pages: Sequence[Page]) -> str:
    """Links to the pages before and after this one in its group."""
    group = [found for found in pages if found.group == page.group]
    at = group.index(page)
    near = [("Before", page) for page in group[:at][-1:]]
    near += [("Next", page) for page in group[at + 1 :][:1]]
    links = "".join(
        f'<p>{word}: <a href="{relative(other.path, page)}">{escape(other.title)}</a></p>'
        for word, other in near
    )
    return f'<nav class="turn" aria-label="Before and next">{links}</nav>' if links else ""
