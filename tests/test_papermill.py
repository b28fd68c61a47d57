"""papermill's own command, as a reader types it: mistakes, help, two working directories, other data."""

import json
import os
import subprocess
import sys
import time

import nbformat
import numpy as np
import pytest
from command import BIN, ROOT, loaded, papermill
from small_tree import real_imagery, write_raster

from wusu_lib import synthetic
from wusu_lib.experiment import notebooks
from wusu_lib.imagery import read

EXP05 = ROOT / "notebooks" / "exp05.ipynb"
PATIENCE = 30  # seconds; a mistake is told in about 4 on an idle machine
MISTAKES = {
    "decoder": (
        "deeplap",
        [
            "decoder: got 'deeplap'",
            "unet, fpn, deeplab, upernet, segformer, linear, mask2former, deeplabv3plus",
        ],
    ),
    "learning_rate": ("fast", ["learning_rate: expected a number", "got 'fast' (str)"]),
    "decodr": (
        "unet",
        ["decodr: not a parameter of exp05; did you mean decoder? Parameters are: name, scale"],
    ),
    "data_root": ("/nowhere", ["data_root: got '/nowhere'", "expected a folder in WUSU's layout"]),
    "weights": ("pretraned", ["weights: no file or folder 'pretraned'", "weights='random'"]),
    "prediction": ("it gets better", ["<split> <metric> rises|falls by at least <x> over <experiment>"]),
    "seeds": ("[1, 1]", ["seeds: got [1, 1], a seed twice; expected different seeds"]),
}


def complete(folder):
    """Records of the complete runs in a folder of runs."""
    found = [json.loads(path.read_text()) for path in folder.glob("*/*/record.json")]
    return [record for record in found if record["status"] == "complete"]


def said(notebook):
    """All text that the cells of an executed notebook showed: sentences and tables."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    data = [output.get("data", {}) for output in outputs]
    return " ".join(part.get("text/markdown", "") + part.get("text/html", "") for part in data)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_within_seconds_and_stores_nothing(name, tmp_path):
    value, told = MISTAKES[name]
    clock = time.monotonic()
    done = papermill(EXP05, tmp_path / "out.ipynb", tmp_path, tmp_path / "runs", **{name: value})
    assert time.monotonic() - clock < PATIENCE
    assert done.returncode != 0
    for words in told:
        assert words in done.stderr
    assert not (tmp_path / "runs").exists()


def test_the_first_imports_of_a_notebook_do_not_load_torch():
    imports = (
        "from wusu_lib.experiment import experiment\n"
        "from wusu_lib.pages import closer, data, differences, maps, results, style, training"
    )
    assert loaded(imports, of=["torch", "terratorch", "lightning", "sklearn"]) == []


def test_help_lists_each_parameter_with_type_and_help():
    done = subprocess.run(
        [BIN / "papermill", "--help-notebook", EXP05], capture_output=True, text=True, check=True
    )
    shown = " ".join(done.stdout.split())  # long lines are wrapped
    stated = notebooks.literals(EXP05)
    kinds = {name: type(value).__name__ for name, value in stated.items()}
    assert kinds["epochs"] == "int"
    for name, kind in kinds.items():
        assert f" {name}: {kind} (default " in shown
    assert (
        'decoder: str (default "deeplab") unet, fpn, deeplab, upernet, segformer, mask2former or linear'
        in shown
    )
    assert "Unknown" not in shown


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A made-up city of small patches; not to be written to."""
    return synthetic.write(tmp_path_factory.mktemp("city") / "tree", patch_size=64, rows=4, cols=3)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One folder of runs for the tests below, so that what they share is trained once."""
    return tmp_path_factory.mktemp("runs")


def test_both_working_directories_record_a_run_with_the_decoder(tree, runs, tmp_path):
    out = tmp_path / "fpn.ipynb"
    changed = {"epochs": 1, "data_root": tree, "seeds": "[42]"}
    done = papermill("notebooks/exp05.ipynb", out, ROOT, runs, decoder="fpn", weight_decay=0.01, **changed)
    assert done.returncode == 0, done.stderr[-3000:]
    piped = papermill("exp05.ipynb", None, ROOT / "notebooks", runs, decoder="unet", **changed)
    assert piped.returncode == 0, piped.stderr[-3000:]
    records = {r["parameters"]["decoder"]: r for r in complete(runs) if r["experiment"] == "exp05"}
    assert set(records) == {"fpn", "unet", "deeplab"}  # each is compared with exp05 itself
    assert records["fpn"]["parameters"]["weight_decay"] == 0.01  # the cell does not state it
    assert records["fpn"]["working_directory"] == str(ROOT)
    assert records["unet"]["working_directory"] == str(ROOT / "notebooks")
    for decoder, text in (("fpn", out.read_text()), ("unet", piped.stdout)):
        notebook = nbformat.reads(text, as_version=4)
        assert f"exp05/{records[decoder]['key']}" in said(notebook)
        called = {"fpn": "decoder fpn and weight decay 0.01", "unet": "decoder unet"}[decoder]
        assert f"This is exp05 with {called}, a variant" in said(notebook)
        assert f"Nothing was predicted of exp05 with {called}" in said(notebook)


def test_the_folder_of_runs_is_the_repositorys_wherever_one_starts(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "WUSU_RUNS"}
    code = "from wusu_lib.runs import store; print(store.root().resolve())"
    for cwd in (ROOT / "notebooks", tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == str(ROOT / "runs")


def test_real_imagery_is_trained_on_and_absent_classes_are_said_to_be(runs, tmp_path):
    data = real_imagery()
    relative = f"../{data.relative_to(ROOT.parent)}"
    notebook, out = ROOT / "notebooks" / "exp01.ipynb", tmp_path / "out.ipynb"
    done = papermill(notebook, out, ROOT / "notebooks", runs, epochs=1, seeds="[42]", data_root=relative)
    assert done.returncode == 0, done.stderr[-3000:]
    (record,) = [r for r in complete(runs) if r["experiment"] == "exp01"]
    assert record["data"]["root"] == str(data.resolve())
    assert record["data"]["patches"] == {"train": 16, "val": 8, "test": 8}
    nowhere = {"Low building", "High building", "Arable land", "River", "Lake", "Excavation", "Bare surface"}
    assert set(record["absent"]["val"]) == nowhere
    assert set(record["absent"]["train"]) == nowhere | {"Road"}
    text = said(nbformat.read(out, as_version=4))
    assert "16 patches (8 of them labelled) for training, 8 patches (4 of them labelled) for valid" in text
    assert (
        "No pixel is annotated as low building, high building, arable land, river, lake, excavation or bare "
        "surface, so the figures say nothing about them."
    ) in text
    assert "No training pixel is annotated as road, so no run could learn it." in text


def test_the_page_on_the_data_reads_one_labelled_date(runs, tmp_path):
    """Named by its absolute path the data is the same, so the floor that exp01 stored is read."""
    out = tmp_path / "exp00.ipynb"
    done = papermill(
        ROOT / "notebooks" / "exp00.ipynb", out, ROOT, runs, seeds="[42]", data_root=real_imagery()
    )
    assert done.returncode == 0, done.stderr[-3000:]
    text = said(nbformat.read(out, as_version=4))
    floors = [
        r
        for r in complete(runs)
        if r["data"]["root"] == str(real_imagery().resolve()) and r["experiment"] == "exp00"
    ]
    assert len(floors) == 1
    assert "Labels are there for 2014 only, so no change can be told." in text
    assert "No ground is labelled at two dates, so no transition can be counted." in text
    assert "No two patches share pixels." in text
    assert "The band that differs most is NIR" in text


def truncate(root):
    file = root / "train" / "HS" / "imgs" / "HS15_3.tif"
    file.write_bytes(file.read_bytes()[:900])
    return file


def spoil_code(root):
    file = root / "test" / "JA" / "class" / "JA16_2.tif"
    codes = read(str(file)).copy()
    codes[0, :2, :3] = 5
    file.unlink()
    write_raster(file, codes.astype(np.uint8))
    return file


@pytest.mark.parametrize("damage", [truncate, spoil_code])
def test_damaged_data_is_refused_before_training(damage, tmp_path):
    root = synthetic.write(tmp_path / "tree", patch_size=64, rows=4, cols=3)
    file = damage(root)
    notebook = ROOT / "notebooks" / "exp01.ipynb"
    done = papermill(notebook, tmp_path / "out.ipynb", tmp_path, tmp_path / "runs", data_root=root)
    assert done.returncode != 0
    assert file.name in done.stderr
    assert "ValueError" in done.stderr
    assert not (tmp_path / "runs").exists()
