"""What stands under a figure: in a notebook's outputs, and in the cells that the book makes of them."""

import base64
import importlib.util
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from wusu_lib.pages import results, style
from wusu_lib.pages.style import CAPTION, FIGURE, open_figure

EXTENSION = Path(__file__).parents[2] / "book" / "_ext" / "captions.py"
TOLD = {"name": "classes", "caption": "One line.", "alt": "A line in a square."}
PICTURE = {"output_type": "display_data", "data": {"image/png": "aGk="}, "metadata": {"figure": TOLD}}
WORDS = {
    "output_type": "display_data",
    "data": {"text/markdown": "*One line.*"},
    "metadata": {"caption": "classes"},
}
TABLE = {"output_type": "display_data", "data": {"text/html": "<table></table>"}, "metadata": {}}


@pytest.fixture(scope="module")
def captions():
    spec = importlib.util.spec_from_file_location("captions", EXTENSION)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cell(*outputs, tags=()):
    return {
        "cell_type": "code",
        "id": "abc",
        "source": "page.results()",
        "metadata": {"tags": list(tags)},
        "outputs": list(outputs),
    }


def test_a_figure_shows_its_picture_and_below_it_its_caption(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **given: shown.append((data, given)))
    figure = style.captioned(open_figure(1), "classes", "One line.", "A line in a square.")
    figure._ipython_display_()
    (picture, given), (words, below) = shown
    assert given["metadata"] == {"figure": TOLD}
    assert below["metadata"] == {"caption": "classes"}
    assert words.data == "*One line.*"
    assert Image.open(io.BytesIO(base64.b64decode(picture["image/png"]))).format == "PNG"


def test_the_library_and_the_book_use_the_same_keys(captions):
    assert (captions.FIGURE, captions.CAPTION) == (FIGURE, CAPTION) == ("figure", "caption")


def test_what_is_drawn_tells_what_is_drawn(runs, baseline_runs):
    both = results.class_iou_figure(runs, baseline_runs)
    assert both.caption == (
        "Intersection over union of each class on the validation patches, for this experiment and its "
        "baseline. Classes are sorted by their number of annotated pixels."
    )
    assert "for this experiment. Classes" in results.class_iou_figure(runs).caption
    assert results.confusion_matrix_figure(runs, split="val").caption.startswith(
        "Confusion matrix of the validation"
    )


def test_each_figure_of_a_cell_becomes_a_numbered_figure_of_the_page(captions):
    first, figure, rest = captions.split(cell(TABLE, PICTURE, WORDS, TABLE), "book/log/exp05")
    assert (first["source"], first["outputs"]) == ("page.results()", [TABLE])
    assert figure["metadata"] == {
        "tags": ["remove-input"],
        "mystnb": {
            "figure": {"caption": "One line.", "name": "exp05-classes"},
            "image": {"alt": "A line in a square.", "width": "100%"},
        },
    }
    assert figure["outputs"] == [PICTURE]
    assert rest["outputs"] == [TABLE]
    assert rest["metadata"] == {"tags": ["remove-input"], "mystnb": {}}
    assert len({piece["id"] for piece in (first, figure, rest)}) == 3


def test_a_cell_without_a_figure_stays_as_it_is(captions):
    text = {"cell_type": "markdown", "id": "t", "source": "# Title", "metadata": {}}
    assert captions.split(text, "book/log/exp05") == [text]
    assert captions.split(cell(TABLE, tags=["remove-input"]), "book/log/exp05") == [
        cell(TABLE, tags=["remove-input"])
    ]


def test_a_link_to_a_notebook_leads_to_its_page(captions):
    said = {
        "output_type": "execute_result",
        "data": {"text/markdown": "[a](codes.ipynb) [b](x.md)"},
        "metadata": {},
    }
    ((piece),) = captions.split(cell(said), "book/log/exp15")
    assert piece["outputs"][0]["data"]["text/markdown"] == "[a](codes.html) [b](x.md)"


def test_a_published_page_has_labels_and_neighbours_of_its_own(captions):
    said = {
        "output_type": "execute_result",
        "data": {"text/markdown": "[a](exp04.ipynb) [b](codes.ipynb)"},
        "metadata": {},
    }
    pages = {"published/study/exp04", "book/log/exp04", "book/log/codes"}
    text, figure = captions.split(cell(said, PICTURE), "published/study/exp05", pages)
    links = text["outputs"][0]["data"]["text/markdown"]
    assert links == "[a](exp04.html) [b](../../book/log/codes.html)"
    assert figure["metadata"]["mystnb"]["figure"]["name"] == "study-exp05-classes"


def test_a_demo_page_links_to_a_published_one(captions):
    said = {
        "output_type": "x",
        "data": {"text/markdown": "[a](../published/study/exp05.ipynb)"},
        "metadata": {},
    }
    ((piece),) = captions.split(cell(said), "book/log/exp05", {"published/study/exp05"})
    assert piece["outputs"][0]["data"]["text/markdown"] == "[a](../../published/study/exp05.html)"


def test_only_notebooks_are_rewritten(captions):
    def app(name):
        return SimpleNamespace(env=SimpleNamespace(doc2path=lambda page: name, found_docs=set()))

    text = ["# A page"]
    captions.rewrite(app("book/intro.md"), "book/intro", text)
    assert text == ["# A page"]
    source = [json.dumps({"cells": [cell(PICTURE, WORDS)], "metadata": {}})]
    captions.rewrite(app("book/log/map_change.ipynb"), "book/log/map_change", source)
    _, figure = json.loads(source[0])["cells"]
    assert figure["metadata"]["mystnb"]["figure"]["name"] == "map-change-classes"
