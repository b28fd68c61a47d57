"""The built book: whole, without warnings, readable without a network, on a phone and in the dark."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from built_page import dead_links, read_page
from command import BIN, papermill, within

ROOT = Path(__file__).parents[1]

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)
PHONE, DESKTOP = {"width": 375, "height": 812}, {"width": 1280, "height": 900}
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
each_page = pytest.mark.parametrize("page", PAGES)
NOTEBOOKS = [page for page in PAGES if page.startswith("book/log/")]
each_notebook = pytest.mark.parametrize("page", NOTEBOOKS)
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium on the PATH: install Debian's chromium"
)


def test_builds_without_a_warning(book):
    _, printed = book
    assert "WARNING" not in printed
    assert "build succeeded" in printed


@pytest.mark.parametrize("number", range(1, 9))
def test_a_demo_is_judged_on_128_blocks(book, number):
    """That is what the city's size is for, and what decides how wide an interval is."""
    assert "1734 patches in 128 blocks" in (book[0] / f"book/log/exp{number:02}.html").read_text()


@each_page
def test_fetches_nothing_from_a_network(book, page):
    html = (book[0] / f"{page}.html").read_text()
    loaded = re.findall(r'<(?:script|img|iframe|source)[^>]*\ssrc="([^"]+)"', html)
    loaded += re.findall(r'<link[^>]*rel="(?:stylesheet|preload)"[^>]*href="([^"]+)"', html)
    assert loaded
    assert [address for address in loaded if address.startswith(("http:", "https:", "//"))] == []


@each_page
def test_each_picture_has_a_text(book, page):
    pictures = re.findall(r"<img[^>]*>", (book[0] / f"{page}.html").read_text())
    assert [p for p in pictures if not re.search(r'alt="[^"]{5,}"', p) and "logo" not in p] == []


@each_notebook
def test_each_picture_of_a_notebook_has_a_caption_and_a_name_of_its_own(log, page):
    """In the executed notebook, whatever the book makes of it."""
    told = [
        output["metadata"].get("figure", {})
        for cell in json.loads((log / f"{page}.ipynb").read_text())["cells"]
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert all(figure["caption"].endswith(".") and len(figure["alt"]) > 20 for figure in told)
    assert len({figure["name"] for figure in told}) == len(told)


@each_notebook
def test_each_figure_is_numbered_and_labelled_by_its_page(log, book, page):
    html = (book[0] / f"{page}.html").read_text()
    shown = re.findall(r'<figure[^>]* id="([^"]+)">(.*?)</figure>', html, re.S)
    source = (log / f"{page}.ipynb").read_text()
    assert len(shown) == source.count('"image/png":')
    for label, figure in shown:
        assert label.startswith(f"{page.split('/')[-1].replace('_', '-')}-")
        assert re.search(
            r'<span class="caption-number">Fig. \d+ </span><span class="caption-text">\w', figure
        )


def test_every_internal_link_leads_somewhere(book):
    """In prose, in computed outputs, in the navigation: the file is there, and the place in it."""
    assert dead_links(book[0], PAGES) == []


@each_page
def test_tables_are_whole(book, page):
    """Rows as wide as their table, and no row published as a line of pipes."""
    read = read_page(book[0] / f"{page}.html")
    assert [rows for rows in read.tables if len(set(rows)) != 1] == []
    assert [text for text in read.paragraphs if text.count("|") > 1] == []


@each_page
def test_is_not_half_empty(book, page):
    html = (book[0] / f"{page}.html").read_text()
    article = re.search(r'<article class="bd-article".*?</article>', html, re.S).group()
    assert len(re.sub(r"<[^>]+>|\s+", " ", article).split()) > 60


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@needs_browser
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@each_page
def test_fits_the_screen_and_logs_no_error(book, browser, page, size):
    tab = browser.new_page(viewport=size)
    errors = []
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("requestfailed", lambda request: errors.append(request.url))
    tab.goto((book[0] / f"{page}.html").as_uri())
    width = tab.evaluate("document.documentElement.scrollWidth")
    broken = tab.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)")
    tab.close()
    assert errors == []
    assert width <= size["width"]
    assert broken == []


@needs_browser
def test_a_click_on_a_header_sorts_the_table(book, browser):
    tab = browser.new_page(viewport=DESKTOP)
    tab.goto((book[0] / "book/log/results.html").as_uri())
    table = tab.locator("table.sortable").first
    column = table.locator("thead tr").first.locator("th").all_inner_texts().index("mean")
    header = table.locator("thead tr").first.locator("th").nth(column)

    def values():
        cells = table.locator(f"tbody tr > :nth-child({column + 1})").all_inner_texts()
        return [float(text) for text in cells if text.strip()]

    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    rising = values()
    assert len(rising) >= 2
    assert rising == sorted(rising)
    header.locator("button").click()
    assert values() == sorted(rising, reverse=True)
    tab.close()


@needs_browser
def test_is_dark_where_the_reader_wants_it(book, browser):
    seen = {}
    for scheme in ("light", "dark"):
        tab = browser.new_page(color_scheme=scheme)
        tab.goto((book[0] / "book/intro.html").as_uri())
        seen[scheme] = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        tab.close()
    brightness = {k: sum(map(int, re.findall(r"\d+", v)[:3])) for k, v in seen.items()}
    assert brightness["dark"] < 150 < 600 < brightness["light"]


def test_the_book_builds_with_the_copy(copy, log, monkeypatch):
    """With the stored runs of the other notebooks, so that only the copy is trained."""
    monkeypatch.setenv("PYTHONPATH", str(copy))
    executed = copy / "book" / "log"
    shutil.copytree(log / "book" / "log", executed, dirs_exist_ok=True)
    overlay = log / "small.yaml"
    for name, changed in (("exp18", {"epochs": 1, "seeds": "[42]"}), ("results", {"overlay": overlay})):
        notebook = copy / "notebooks" / f"{name}.ipynb"
        done = papermill(notebook, executed / f"{name}.ipynb", copy / "notebooks", log / "runs", **changed)
        assert done.returncode == 0, done.stderr[-3000:]
    done = within(copy, BIN / "jupyter-book", "build", ".", "--warningiserror", "--keep-going")
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    pages = copy / "_build" / "html"
    assert 'id="exp18-classes"' in (pages / "book/log/exp18.html").read_text()
    assert '<a href="log/exp18.html">18</a>' in (pages / "book/roadmap.html").read_text()
    assert dead_links(pages, ["book/roadmap", "book/log/exp18", "book/log/results"]) == []
