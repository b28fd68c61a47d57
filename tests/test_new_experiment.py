"""A new experiment is a copy: one command. That the book builds with it is tested with the book."""

import json

import pytest
import yaml
from command import BIN, within

from wusu_lib.experiment import notebooks
from wusu_lib.experiment.notebooks import copy_experiment, main

CONTENTS = """\
format: jb-book
root: book/intro
parts:
  - caption: One
    chapters:
      - file: book/log/exp05
      - file: book/log/exp06
      - file: book/log/map_change
  - caption: Two  # a remark
    chapters:
      - file: book/log/exp15
"""
CELLS = [
    {"cell_type": "markdown", "metadata": {}, "source": "# Experiment 5: why?\n\nAfter experiment 5."},
    {
        "cell_type": "markdown",
        "metadata": {},
        "source": ["Run `papermill exp05.ipynb`, ", "not exp06.ipynb."],
    },
    {
        "cell_type": "code",
        "metadata": {"tags": ["parameters"]},
        "source": 'name: str = "exp05"  # stored\nprediction: str = "val mIoU falls by 0.01 over exp04"',
    },
]


@pytest.fixture
def small(tmp_path):
    """A repository of one notebook."""
    (tmp_path / "notebooks").mkdir()
    notebook = {"cells": CELLS, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "notebooks" / "exp05.ipynb").write_text(json.dumps(notebook))
    (tmp_path / "_toc.yml").write_text(CONTENTS)
    return tmp_path


def test_the_copy_has_its_own_name_number_and_commands(small):
    path = copy_experiment("18", "05", small)
    assert path == small / "notebooks" / "exp18.ipynb"
    title, text, stated = [cell["source"] for cell in json.loads(path.read_text())["cells"]]
    assert title == "# Experiment 18: why?\n\nAfter experiment 5."
    assert text == "Run `papermill exp18.ipynb`, not exp06.ipynb."
    assert stated.splitlines()[0] == 'name: str = "exp18"  # stored'
    assert stated.splitlines()[1].endswith('over exp04"')


def test_the_page_joins_the_part_of_its_source_behind_the_last_experiment(small):
    copy_experiment("exp18", "5", small)
    assert (small / "_toc.yml").read_text() == CONTENTS.replace(
        "      - file: book/log/exp06\n", "      - file: book/log/exp06\n      - file: book/log/exp18\n"
    )


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        (("05", "05"), "N=05: exp05 is there already; experiments: exp05"),
        (("18", "09"), "FROM=09: there is no exp09 to copy; experiments: exp05"),
        (("seventeen", "05"), "N: got 'seventeen'; expected a number of at most two digits"),
        (("18", "../05"), "FROM: got '../05'; expected a number of at most two digits"),
    ],
)
def test_what_cannot_be_copied_is_told_and_nothing_is_written(small, numbers, told):
    with pytest.raises((OSError, ValueError), match=told.replace("(", r"\(")):
        copy_experiment(*numbers, small)
    assert [path.name for path in (small / "notebooks").iterdir()] == ["exp05.ipynb"]
    assert (small / "_toc.yml").read_text() == CONTENTS


def test_a_source_that_is_no_page_is_refused(small):
    (small / "_toc.yml").write_text(CONTENTS.replace("exp05", "exp04"))
    with pytest.raises(ValueError, match="no line for book/log/exp05"):
        copy_experiment("18", "05", small)
    assert not (small / "notebooks" / "exp18.ipynb").exists()


def test_the_command_says_in_a_sentence_what_is_missing(capsys):
    assert main(["", "05"]) == 1
    assert capsys.readouterr().err == (
        "Give the new number and the experiment to copy: make experiment N=18 FROM=05\n"
    )
    assert main(["05", "05"]) == 1
    assert capsys.readouterr().err.startswith("N=05: exp05 is there already; experiments: exp00, exp01")


def test_the_copy_holds_what_is_asked_of_every_notebook(copy):
    assert notebooks.from_notebook(copy / "notebooks" / "exp18.ipynb").name == "exp18"
    phase = next(
        part["caption"]
        for part in yaml.safe_load((copy / "_toc.yml").read_text())["parts"]
        if {"file": "book/log/exp18"} in part["chapters"]
    )
    assert phase == "Phase 2: architecture"
    tests = ["tests/test_notebooks.py", "-n", "0", "-k", "exp18 or page"]
    done = within(copy, BIN / "python", "-m", "pytest", *tests)
    assert done.returncode == 0, done.stdout[-3000:]
