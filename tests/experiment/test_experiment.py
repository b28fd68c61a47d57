"""What a notebook calls: parameters to runs, reuse, baselines, and every way to be refused before work."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_tree
import tiny
import torch

from wusu_lib import imagery, provenance
from wusu_lib.experiment import experiment
from wusu_lib.legend import LabelSpace
from wusu_lib.models import build as model_build
from wusu_lib.runs import store

STATED = {
    "name": "exp05",
    "prediction": "val mIoU rises by at least 0.01 over exp04",
    "backbone": "prithvi_600m",
    "decoder": "deeplab",
    "split": "folders",
    "epochs": 2,
    "batch_size": 4,
    "accumulate": 1,
    "precision": "32",
}


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Runs, cache and notebooks of the test's own; a model of a few weights for any model."""
    monkeypatch.setenv("WUSU_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("WUSU_CACHE", str(tmp_path / "cache"))
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("WUSU_ROOT", str(tmp_path))
    built = []

    def build(backbone, decoder, **named):
        built.append((backbone, decoder, named))
        return tiny.build(named["seed"], named["outputs"])

    monkeypatch.setattr(model_build, "build", build)
    monkeypatch.setattr(
        model_build, "describe", lambda *_: __import__("pandas").DataFrame({"part": ["encoder"]})
    )
    return built


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tiny.write_tree(tmp_path_factory.mktemp("tree"))


def write_notebook(tmp_path: Path, **values) -> None:
    source = [f"{name} = {value!r}\n" for name, value in values.items()]
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": source}
    folder = tmp_path / "notebooks"
    folder.mkdir(exist_ok=True)
    (folder / f"{values['name']}.ipynb").write_text(json.dumps({"cells": [cell]}))


def prepare(root, **changes):
    return experiment.prepare({**STATED, "data_root": str(root), **changes})


def test_one_run_a_seed_made_once(root, places):
    exp = prepare(root, seeds=[3, 1])
    assert exp.stored() == []
    first = exp.runs()
    assert [run.seed for run in first] == [3, 1]
    assert len(places) == 2
    again = prepare(root, seeds=[3, 1]).runs()
    assert len(places) == 2
    assert [run.folder for run in again] == [run.folder for run in first]
    assert {run.experiment for run in store.find()} == {"exp05"}


def test_the_model_is_built_as_stated(root, places):
    prepare(root, decoder="deeplabv3plus", background="class", seeds=[7]).runs()
    ((backbone, decoder, named),) = places
    assert (backbone, decoder) == ("prithvi_600m", "deeplab")
    assert (named["scale"], named["weights"], named["outputs"], named["seed"]) == (
        "demo",
        "pretrained",
        12,
        7,
    )


def test_the_line_of_progress_names_a_variant(root, tmp_path, caplog):
    write_notebook(tmp_path, **STATED)
    with caplog.at_level("INFO", "wusu_lib.training"):
        prepare(root, decoder="unet", seeds=[7]).runs()
    assert "exp05 with decoder unet, seed 7: 2 epochs, best" in caplog.text


def test_the_record_says_what_where_and_on_what(root):
    (run,) = prepare(root).runs()
    record = run.record
    assert record["parameters"]["prediction"] == STATED["prediction"]
    assert len(record["data"]["fingerprint"]) == 16
    assert record["data"]["patches"] == {"train": 10, "val": 4, "test": 4}
    assert set(record["versions"]) >= {"torch", "terratorch", "lightning", "timm"}
    assert {"commit", "dirty"} == set(record["git"])
    assert "Lake" in record["absent"]["train"]
    for background in ("ignore", "class"):
        assert set(record["metrics"][background]) == {"train", "val", "test"}
    scores = run.scores("val", LabelSpace("class"))
    assert scores["mIoU"] == pytest.approx(record["metrics"]["class"]["val"]["mIoU"])
    assert scores["loss"] == record["losses"]["val"]


def with_torch(monkeypatch, version):
    """As if another torch were installed."""
    versions = provenance.versions
    monkeypatch.setattr(provenance, "versions", lambda names=(): versions(names) | {"torch": version})


def test_a_run_of_other_code_is_named_and_taken_only_if_so_asked(root, places, monkeypatch):
    (before,) = prepare(root).runs()
    installed = provenance.versions(["torch"])["torch"]
    with_torch(monkeypatch, "0.0")
    told = f"torch {installed} instead of 0.0"
    (taken,) = prepare(root, reuse="any code").runs()
    assert (taken.key, len(places)) == (before.key, 1)
    assert taken.differs == (told,)
    assert [run.key for run in prepare(root, reuse="any code").stored()] == [before.key]
    assert prepare(root).stored() == []
    with pytest.warns(UserWarning, match=f'{before.key} has equal .* code: {told}.* set reuse="any code"'):
        (after,) = prepare(root).runs()
    assert (after.key != before.key, len(places)) == (True, 2)
    assert after.differs == ()
    with_torch(monkeypatch, "1.0")
    (latest,) = prepare(root, reuse="any code").runs()
    assert (latest.key, len(places)) == (after.key, 2)


@pytest.mark.parametrize(
    "change", [{"epochs": 1}, {"learning_rate": 1e-4}, {"decoder": "fpn"}, {"normalisation": "burnscars"}]
)
def test_another_parameter_is_another_run(root, places, change):
    prepare(root).runs()
    prepare(root, **change).runs()
    assert len(places) == 2


def test_a_demo_trains_on_one_thread_and_gives_back_the_others(root, monkeypatch):
    during, build = [], model_build.build
    monkeypatch.setattr(
        model_build, "build", lambda *a, **k: during.append(torch.get_num_threads()) or build(*a, **k)
    )
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        prepare(root, epochs=1).runs()
        assert during == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_other_data_is_another_run(root, tmp_path, places):
    prepare(root).runs()
    prepare(tiny.write_tree(tmp_path / "tree", train=11)).runs()
    assert len(places) == 2


def test_a_baseline_is_its_notebooks_own_experiment_at_this_ones_budget(root, tmp_path, places):
    own = {**STATED, "name": "exp04", "decoder": "fpn", "epochs": 9, "learning_rate": 0.004, "seeds": [0]}
    write_notebook(tmp_path, **{**own, "prediction": "val mIoU rises by at least 0.01 over exp03"})
    (run,) = prepare(root, seeds=[5]).baseline()
    assert run.experiment == "exp04"
    stated = run.parameters
    assert (stated["decoder"], stated["learning_rate"]) == ("fpn", 0.004)
    assert (stated["epochs"], stated["seeds"], stated["data_root"]) == (2, [5], str(root))
    assert len(places) == 1
    experiment.open_notebook("exp04", data_root=str(root), epochs=2, seeds=[5]).runs()
    assert len(places) == 1  # what a baseline trained, its own notebook reads


def test_a_verdict_compares_with_the_baseline(root, tmp_path):
    write_notebook(tmp_path, **{**STATED, "name": "exp04"})
    exp = prepare(root)
    difference, verdict = exp.judge(exp.runs(), exp.baseline())
    assert difference.value == 0.0  # the same experiment under another name
    assert verdict.demo


def test_a_baseline_that_is_not_there_is_told(root, tmp_path):
    write_notebook(tmp_path, **{**STATED, "name": "exp01"})
    with pytest.raises(FileNotFoundError, match="notebooks there: exp01"):
        prepare(root).baseline()


def test_one_weight_file_cannot_serve_two_backbones(root, tmp_path):
    write_notebook(tmp_path, **{**STATED, "name": "exp04", "backbone": "prithvi_300m"})
    weights = tmp_path / "some.safetensors"
    weights.write_bytes(b"weights")
    with pytest.raises(ValueError, match="give a folder that holds prithvi_600m and prithvi_300m"):
        prepare(root, weights=str(weights)).baseline()


def test_the_content_of_a_weight_file_is_part_of_the_key(root, tmp_path, places):
    weights = tmp_path / "some.safetensors"
    for content in (b"one", b"two", b"two"):
        weights.write_bytes(content)
        prepare(root, weights=str(weights)).runs()
    assert len(places) == 2


def test_the_pixel_floor_is_a_run_like_any_other(root):
    exp = experiment.prepare({"name": "exp00", "split": "folders", "data_root": str(root)})
    (run,) = exp.runs()
    assert run.history.empty
    assert run.matrices.shape == (18, 12, 12)
    assert run.scores("val")["pixel_acc"] > 0.8
    assert np.isnan(run.scores("val")["loss"])
    patch = run.confusion.loc[run.confusion["split"] == "val", "patch"].iloc[0]
    assert run.prediction(patch).shape == (tiny.SIDE, tiny.SIDE)
    with pytest.raises(ValueError, match="states no prediction"):
        exp.baseline()
    with pytest.raises(ValueError, match="exp00 has no model with parts"):
        exp.parts()


def test_data_may_be_named_from_the_repository_or_from_here(root, tmp_path, monkeypatch):
    (root.parent / "notebooks").mkdir()
    monkeypatch.setenv("WUSU_ROOT", str(root.parent))
    monkeypatch.chdir(tmp_path)
    assert prepare(root.name).dossier.root == root
    monkeypatch.chdir(root)
    assert prepare(".").dossier.root == root


def test_data_that_is_not_there_is_told_where_it_was_looked_for(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(FileNotFoundError) as caught:
        prepare("nowhere")
    assert str(here / "nowhere") in str(caught.value)
    assert str(provenance.repository() / "nowhere") in str(caught.value)


def test_spoilt_data_is_refused_and_nothing_stored(tmp_path):
    root = tiny.write_tree(tmp_path / "tree")
    image = root / "train" / "HS" / "imgs" / "HS15_3.tif"
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"HS15_3\.tif"):
        prepare(root).runs()
    assert not store.root().exists()


def test_data_without_labelled_validation_patches_is_refused(tmp_path):
    root = tiny.write_tree(tmp_path / "tree")
    for mask in (root / "val" / "HS" / "class").iterdir():
        mask.unlink()
    with pytest.raises(ValueError, match=r"val.*missing|no labelled val patch"):
        prepare(root).runs()
    assert not store.root().exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"decoder": "deeplap"}, "deeplab"),
        ({"learning_rate": "fast"}, "expected a number"),
        ({"decodr": "unet"}, "did you mean decoder"),
        ({"data_root": "/nowhere"}, "data_root"),
        ({"weights": "/nowhere.pt"}, "weights"),
        ({"weights": "pretraned"}, "no file or folder"),
    ],
)
def test_a_mistake_is_told_before_torch_is_loaded(change, told, root):
    code = (
        "import sys\nfrom wusu_lib.experiment import experiment\n"
        f"try:\n    experiment.prepare({ {**STATED, 'data_root': str(root), **change}!r})\n"
        "except (ValueError, FileNotFoundError) as error:\n    print(error)\n"
        "print('torch' in sys.modules, 'terratorch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert told in done.stdout
    assert done.stdout.endswith("False False\n")


def relabel(tree: Path, value: int, **options) -> None:
    """Give unlabelled ground another code in every class mask."""
    for path in tree.rglob("class/*.tif"):
        mask = imagery.read(path)
        small_tree.write_raster(path, np.where(mask == 0, np.uint8(value), mask), **options)


def test_data_that_changed_since_it_was_checked_is_not_trained_on(tmp_path, places):
    tree = tiny.write_tree(tmp_path / "tree")
    exp = prepare(tree)
    relabel(tree, 255, nodata=255)
    with pytest.raises(ValueError, match="files of the data changed after they were checked"):
        exp.runs()
    assert places == []
    assert store.find() == []


def test_data_that_changes_while_it_is_trained_on_leaves_no_run(tmp_path, monkeypatch):
    tree = tiny.write_tree(tmp_path / "tree")
    exp = prepare(tree, epochs=1)
    build = model_build.build

    def late(*arguments, **named):
        relabel(tree, 255, nodata=255)
        return build(*arguments, **named)

    monkeypatch.setattr(model_build, "build", late)
    with pytest.raises(ValueError, match="files of the data changed after they were checked"):
        exp.runs()
    assert store.find() == []


def test_a_code_for_unlabelled_ground_makes_the_run_that_0_makes_under_another_key(tmp_path):
    tree = tiny.write_tree(tmp_path / "tree")
    plain = prepare(tree)
    (first,) = plain.runs()
    named = prepare(tree, unlabelled=255)
    assert named.key(42) != plain.key(42)
    relabel(tree, 255)
    with pytest.raises(ValueError, match=r"unknown class code 255 in 18 files: .*-p unlabelled 255"):
        prepare(tree)
    (second,) = prepare(tree, unlabelled=255).runs()
    assert second.key not in (first.key, named.key(42))
    assert second.record["metrics"] == first.record["metrics"]
    assert second.record["parameters"]["unlabelled"] == 255
