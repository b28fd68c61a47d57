"""A page of the built book as a reader meets it: its links, its targets, its tables, its paragraphs."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

COUNTED = {"td", "th"}


@dataclass
class Page:
    """``links``: every href. ``targets``: every id. ``tables``: rows of (cells' columns) of each table.
    ``paragraphs``: text of each paragraph, without code.
    """

    links: list[str] = field(default_factory=list)
    targets: set[str] = field(default_factory=set)
    tables: list[list[int]] = field(default_factory=list)
    paragraphs: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page, self.open, self.spans = Page(), [], []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if given.get("id"):
            self.page.targets.add(given["id"])
        if tag == "a" and given.get("href"):
            self.page.links.append(given["href"])
        if tag == "table":
            self.page.tables.append([])
            self.spans = []
        elif tag == "tr" and self.page.tables:
            self.spans = [(columns, rows - 1) for columns, rows in self.spans if rows > 1]
            self.page.tables[-1].append(sum(columns for columns, _ in self.spans))
        elif tag in COUNTED and self.page.tables:
            columns, rows = (int(given.get(name, 1)) for name in ("colspan", "rowspan"))
            self.page.tables[-1][-1] += columns
            self.spans.append((columns, rows))
        elif tag == "p":
            self.page.paragraphs.append("")
        self.open.append(tag)

    def handle_endtag(self, tag):
        while tag in self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if "p" in self.open and not {"code", "script", "style"} & set(self.open):
            self.page.paragraphs[-1] += data


def read_page(path: Path) -> Page:
    """Parse a built page."""
    reader = _Reader()
    reader.feed(path.read_text())
    return reader.page


def dead_links(folder: Path, pages: list[str]) -> list[str]:
    """Links of these pages (names without .html) that lead to no file of ``folder`` or to no target in it."""
    known = {}
    dead = []
    for page in pages:
        here = folder / f"{page}.html"
        for link in read_page(here).links:
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            there = (here.parent / unquote(address.path)).resolve() if address.path else here.resolve()
            if not there.is_file():
                dead.append(f"{page}: {link}")
            elif address.fragment and there.suffix == ".html":
                known[there] = known.get(there) or read_page(there).targets
                if unquote(address.fragment) not in known[there]:
                    dead.append(f"{page}: {link}")
    return dead
