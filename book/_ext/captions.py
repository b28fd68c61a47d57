"""Executed notebooks as the book shows them: captioned figures under labels, links from page to page.

A figure of the library leaves two outputs in a notebook (``wusu_lib.pages.style``): its picture, with
label, caption and alternative text in the output's metadata, and its caption as text. MyST-NB makes a
numbered figure of a cell's output where the *cell's* metadata says so. So each such output gets a cell of its
own here, with that metadata, while the book is built; the notebook's file stays as it is.

A computed sentence links to another notebook by its file, as seen from ``notebooks/``, which works in
JupyterLab. In the book the page of that name is meant: one beside this page if there is one.
"""

import json
import re
from collections.abc import Collection
from functools import partial
from pathlib import PurePosixPath
from typing import Any

FIGURE, CAPTION = "figure", "caption"  # keys of an output's metadata, as wusu_lib.pages.style writes them
HIDDEN = "remove-input"


def rewrite(app: Any, page: str, source: list[str]) -> None:
    """Replace a notebook's source by one whose figures have cells of their own."""
    if not str(app.env.doc2path(page)).endswith(".ipynb"):
        return
    notebook = json.loads(source[0])
    pages = app.env.found_docs
    notebook["cells"] = [piece for cell in notebook["cells"] for piece in split(cell, page, pages)]
    source[0] = json.dumps(notebook)


LOG, PUBLISHED = "book/log", "published/"


def split(cell: dict[str, Any], page: str, pages: Collection[str] = ()) -> list[dict[str, Any]]:
    """The cell with the outputs before its first figure, then a cell without code for each figure and for the
    outputs that follow it. Captions as text are left out.

    ``page``: its document, "book/log/exp05"; ``pages``: all documents of the book. Labels are
    ``exp05-<the figure's name>``, those of the published page "published/study/exp05" ``study-exp05-<...>``.
    """
    pieces = [{**cell, "outputs": []}] if "outputs" in cell else [cell]
    for output in cell.get("outputs", []):
        told = output.get("metadata", {})
        if CAPTION in told:
            continue
        if FIGURE in told:
            pieces.append(_shown(cell, len(pieces), _options(told[FIGURE], _label(page))))
        elif FIGURE in pieces[-1]["metadata"].get("mystnb", {}):
            pieces.append(_shown(cell, len(pieces), {}))
        pieces[-1]["outputs"].append(_linked(output, page, pages))
    return pieces


def _label(page: str) -> str:
    return page.removeprefix(f"{LOG}/").removeprefix(PUBLISHED).replace("/", "-").replace("_", "-")


def _shown(cell: dict[str, Any], number: int, options: dict[str, Any]) -> dict[str, Any]:
    """A cell of which the book shows the outputs only."""
    named = {"id": f"{cell['id'][:60]}-{number}"} if "id" in cell else {}
    return {**cell, **named, "metadata": {"tags": [HIDDEN], "mystnb": options}, "outputs": []}


def _options(told: dict[str, str], label: str) -> dict[str, Any]:
    """MyST-NB's options of a figure."""
    return {
        "figure": {"caption": told["caption"], "name": f"{label}-{told['name']}"},
        "image": {"alt": told["alt"], "width": "100%"},
    }


_LINK = re.compile(r"\]\((?:\.\./published/(\w+)/)?(\w+)\.ipynb\)")


def _linked(output: dict[str, Any], page: str, pages: Collection[str]) -> dict[str, Any]:
    """The output with its Markdown links to notebooks turned into links to their pages."""
    data = dict(output.get("data", {}))
    if "text/markdown" in data:
        text = "".join(data["text/markdown"])
        data["text/markdown"] = _LINK.sub(partial(_address, page, pages), text)
    return {**output, "data": data} if data else output


def _address(page: str, pages: Collection[str], link: re.Match[str]) -> str:
    """The end of a link from a page to another one."""
    overlay, name = link.groups()
    own = PurePosixPath(page).parent
    folder = own if f"{own}/{name}" in pages else PurePosixPath(LOG)
    to = PurePosixPath(PUBLISHED) / overlay if overlay else folder
    up = "" if to == own else "../" * len(own.parts) + f"{to}/"
    return f"]({up}{name}.html)"


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", rewrite)
    return {"parallel_read_safe": True}
