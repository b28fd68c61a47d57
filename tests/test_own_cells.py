"""Parameters as a real kernel holds them: cells of one's own, papermill's numbers, an interactive order."""

import json
import subprocess

import nbformat
import pytest
from command import BIN, ROOT, papermill
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from wusu_lib.experiment import notebooks

EXP05 = "".join(
    next(c for c in json.loads((ROOT / "notebooks/exp05.ipynb").read_text())["cells"] if c["metadata"])[
        "source"
    ]
)
SHOW = """\
from wusu_lib.experiment import notebooks
from wusu_lib.experiment.parameters import Label
found = notebooks.from_namespace(globals())
print(type(found).__name__, found.name, found.decoder, found.data_root)
"""


def notebook(*cells):
    """A notebook whose first cell is tagged as the parameters cell."""
    made = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    made.cells[0].metadata["tags"] = ["parameters"]
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return made


def printed(executed):
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs).strip()


@pytest.mark.parametrize(
    ("own", "shown"),
    [
        ('name = "exp05_try"', "SegmentationParameters exp05_try deeplab"),
        ('path, name = "x", "zz"', "SegmentationParameters exp05 deeplab"),
        ('for name in ["a", "b"]:\n    pass', "SegmentationParameters exp05 deeplab"),
        ('decoder = "unet"\nprint("", end="")', "SegmentationParameters exp05 unet"),
        ("%matplotlib inline\nimport os", "SegmentationParameters exp05 deeplab"),
    ],
)
def test_a_cell_of_ones_own_in_a_kernel(own, shown):
    executed = NotebookClient(notebook(EXP05, own, SHOW)).execute()
    assert printed(executed) == shown


def test_papermill_and_a_cell_of_ones_own_together(tmp_path):
    source, out = tmp_path / "exp05.ipynb", tmp_path / "out.ipynb"
    nbformat.write(notebook(EXP05, 'path, name = "x", "zz"', SHOW), source)
    done = papermill(source, out, tmp_path, tmp_path / "runs", decoder="fpn", data_root="2018")
    assert done.returncode == 0, done.stderr[-2000:]
    assert printed(nbformat.read(out, as_version=4)) == "SegmentationParameters exp05 fpn 2018"


LABELS = """\
from wusu_lib.experiment import notebooks
from wusu_lib.scenes.tool import MapChangeParameters
found = notebooks.from_namespace(globals(), MapChangeParameters)
print(repr(found.date1), repr(found.out))
"""
TOOL = 'name: str = "map_change"\ndate1: str = ""\nout: str = ""'


@pytest.fixture(scope="module")
def tool(tmp_path_factory):
    path = tmp_path_factory.mktemp("tool") / "tool.ipynb"
    nbformat.write(notebook(TOOL, LABELS), path)
    return path


def given(tool, *words):
    command = [BIN / "papermill", tool, tool.with_name("out.ipynb"), "--no-progress-bar", *words]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("typed", ["04", "1e3"])  # the others are in test_map_change
def test_a_label_that_papermill_makes_a_number_of_is_refused_and_taken_as_it_is_with_r(tool, typed):
    done = given(tool, "-p", "date1", typed)
    assert done.returncode != 0
    assert "date1: got" in done.stderr
    assert "give it with -r instead of -p" in done.stderr
    done = given(tool, "-r", "date1", typed, "-p", "out", "2018")
    assert done.returncode == 0, done.stderr[-2000:]
    assert printed(nbformat.read(tool.with_name("out.ipynb"), as_version=4)) == f"'{typed}' '2018'"


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("exp*.ipynb")), ids=lambda p: p.stem)
def test_a_notebook_that_was_run_to_its_end_may_be_prepared_again(path):
    """No cell of a notebook sets by the way what its parameters cell states."""
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    held = dict.fromkeys(notebooks.literals(path), "text that a cell may have left there")
    namespace = {**held, "In": ["", *("".join(cell["source"]) for cell in cells)]}
    assert notebooks.from_namespace(namespace) == notebooks.from_notebook(path)
