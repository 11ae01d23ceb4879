"""What ties the pages of the site together: links, glossary, contents, entries for the search."""

import posixpath
import re
from collections.abc import Mapping, Sequence
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path

from seg_lib.course.pages import Page
from seg_lib.course.ways_in import file_address

LINK = re.compile(r'<a href="(?P<path>[^"#:]+)(?P<part>#[^"]*)?">(?P<text>.*?)</a>', re.DOTALL)
PICTURE = re.compile(r'<img (?=[^>]*alt="(?P<alt>[^"]*)")[^>]*src="(?!data:)(?P<path>[^"]*)"[^>]*>')
STRESSED = re.compile(r"<(?P<tag>em|strong)>(?P<text>[^<]+)</(?P=tag)>")
FIGURES = "figures/"  # the only folder that pictures are taken from


def relative(target: str, page: Page) -> str:
    """The address of a file of the site as a page has to write it."""
    return posixpath.relpath(target, posixpath.dirname(page.path) or ".")


def with_links(page: Page, by_source: Mapping[str, Page], root: Path, repository: str) -> str:
    """The page's body with links that hold in the site.

    A link to a file of the repository becomes one to the page that shows it, or to the file on the
    web if its repository is known, or plain text. Pictures come from ``figures/``; of others the
    words are shown.
    """
    folder = posixpath.dirname(page.source)

    def link(match: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(folder, match["path"])).lstrip("/")
        if target in by_source:
            address = relative(by_source[target].path, page) + (match["part"] or "")
        elif repository and not target.startswith(".."):
            address = file_address(repository, target)
        else:
            return match["text"]
        return f'<a href="{address}">{match["text"]}</a>'

    def picture(match: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(folder, unescape(match["path"])))
        if not target.startswith(FIGURES) or not (root / target).is_file():
            return f"<em>{match['alt']}</em>"
        return match[0].replace(match["path"], escape(relative(target, page)))

    return PICTURE.sub(picture, LINK.sub(link, page.body))


def pictures_of(page: Page) -> set[str]:
    """The files of ``figures/`` that a page shows."""
    return set(re.findall(rf'src="(?:\.\./)*({FIGURES}[^"]+)"', page.body))


def with_glossary(page: Page, glossary: Page) -> str:
    """The page's body, where each term that it stresses is a link to the glossary, once."""
    terms = {}
    for part, term in re.findall(r'<h3 id="([^"]*)">(.*?)</h3>', glossary.body):
        name, _, short = term.partition(" (")
        terms |= {_key(name): part, _key(short.rstrip(")")): part}
    terms.pop("", None)

    def explained(match: re.Match) -> str:
        part = terms.pop(_key(match["text"].partition(" (")[0]), None)
        if part is None:
            return match[0]
        link = f'<a href="/{glossary.source}#{part}">{match["text"]}</a>'
        return f"<{match['tag']}>{link}</{match['tag']}>"

    return STRESSED.sub(explained, page.body)


def _key(term: str) -> str:
    """One and many, small and capital letters are the same term."""
    return term.casefold().strip(" .:").removesuffix("s")


def contents(body: str) -> str:
    """A list of the headings of second order, if there are enough of them to need one."""
    found = re.findall(r'<h2 id="([^"]*)">(.*?)</h2>', body, re.DOTALL)
    items = "".join(f'<li><a href="#{part}">{text}</a></li>' for part, text in found)
    listed = f'<nav class="contents" aria-label="On this page"><ul>{items}</ul></nav>'
    return listed if len(found) > 2 else ""


class _Sections(HTMLParser):
    """Collects [id, heading, text] for each heading of a page."""

    def __init__(self, body: str):
        super().__init__()
        self.found, self.part = [["", "", ""]], 2
        self.feed(body)

    def handle_starttag(self, tag: str, attributes: Sequence) -> None:
        if re.fullmatch("h[1-3]", tag):
            self.found.append([dict(attributes).get("id", ""), "", ""])
            self.part = 1
        elif tag not in ("span", "a", "code", "em", "strong"):
            self.found[-1][self.part] += " "

    def handle_endtag(self, tag: str) -> None:
        if re.fullmatch("h[1-3]", tag):
            self.part = 2

    def handle_data(self, data: str) -> None:
        self.found[-1][self.part] += data


def search_entries(page: Page) -> list[list[str]]:
    """[address, title of the page, heading, text] for each part of a page that says something."""
    entries = []
    for part, heading, text in _Sections(page.body).found:
        heading, text = " ".join(heading.split()), " ".join(text.split())
        if heading or text:
            entries.append([page.path + (part and f"#{part}"), page.title, heading, text])
    return entries
