import base64
import io
import os

import matplotlib as mpl
import nbformat
import pytest
from matplotlib import pyplot
from matplotlib.text import Text
from nbclient import NotebookClient
from PIL import Image

from wusu_lib.pages import maps, results, style, training
from wusu_lib.pages.style import DPI, SMALL, WIDTH, open_figure, text_on


def png(figure):
    """The PNG that a notebook stores for a figure."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", bbox_inches="tight")
    return stream.getvalue()


@pytest.fixture(params=["predictions", "training_curves", "class_iou", "confusion_matrix"])
def figure(request, table, runs, baseline_runs):
    draw = {
        "predictions": lambda: maps.predictions_figure(
            runs[0], table, list(table["patch"][:3]), baseline_runs[0]
        ),
        "training_curves": lambda: training.training_curves_figure(runs, baseline_runs),
        "class_iou": lambda: results.class_iou_figure(runs, baseline_runs),
        "confusion_matrix": lambda: results.confusion_matrix_figure(runs),
    }
    return draw[request.param]()


def test_figures_are_off_pyplots_list(figure):
    assert pyplot.get_fignums() == []


def test_png_is_opaque_white_at_column_width_and_small(figure):
    stored = png(figure)
    image = Image.open(io.BytesIO(stored)).convert("RGBA")
    assert image.getpixel((0, 0)) == (255, 255, 255, 255)
    assert image.getextrema()[3] == (255, 255)
    assert abs(image.width - WIDTH * DPI) < 40
    assert len(stored) < 400_000


def test_no_text_is_smaller_than_the_least_size(figure):
    figure.draw_without_rendering()
    sizes = [t.get_fontsize() for t in figure.findobj(Text) if t.get_text() and t.get_visible()]
    assert len(sizes) > 10
    assert min(sizes) >= SMALL


def test_style_ends_with_its_block():
    before = mpl.rcParams["font.size"], mpl.rcParams["axes.spines.top"]
    with style.style():
        assert mpl.rcParams["axes.spines.top"] is False
        assert mpl.rcParams["figure.dpi"] == DPI
    assert (mpl.rcParams["font.size"], mpl.rcParams["axes.spines.top"]) == before


def test_use_is_for_the_session():
    with mpl.rc_context():
        style.use()
        assert mpl.rcParams["axes.spines.top"] is False
        assert open_figure(1).get_facecolor() == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("colour", "ink"), [("#ffffff", "#1a1a1a"), ("#ffe90f", "#1a1a1a"), ("#08306b", "white")]
)
def test_text_contrasts_with_its_cell(colour, ink):
    assert text_on(colour) == ink


def test_a_notebook_cell_shows_its_figure_once():
    cell = """
from wusu_lib.pages import differences
import pandas as pd
columns = "experiment metric value low high threshold outcome stands".split()
row = ("exp04", "val mIoU", 0.05, 0.03, 0.07, 0.01, "supported", True)
differences.forest_figure(pd.DataFrame([row], columns=columns))
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    inline = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}  # Jupyter's own default
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute(env=inline)
    shown = [output for output in notebook.cells[0].outputs if "image/png" in output.get("data", {})]
    assert len(shown) == 1
    stored = Image.open(io.BytesIO(base64.b64decode(shown[0]["data"]["image/png"])))
    assert abs(stored.width - WIDTH * DPI) < 40
