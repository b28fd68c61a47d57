"""A stored run maps images: what its record tells is enough, and its maps are those that it stored."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import rasterio
import small_tree
from small_scenes import read

from wusu_lib.data import tree
from wusu_lib.experiment import experiment
from wusu_lib.imagery import read as read_bands
from wusu_lib.measures.change import measure
from wusu_lib.pages import published
from wusu_lib.scenes import maps, rasters, tool
from wusu_lib.scenes.sweep import Tiling

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "naip_nd"
SIDE = 64


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one epoch on a small tree, with merged classes and its own statistics."""
    tree = small_tree.write_tree(tmp_path_factory.mktemp("tree"), size=SIDE, stride=SIDE)
    stated = {
        "name": "exp05", "prediction": "val mIoU rises by at least 0.01 over exp04", "scale": "demo",
        "data_root": str(tree), "split": "study", "backbone": "prithvi_300m", "decoder": "fpn",
        "classes": "merged", "epochs": 1, "learning_rate": 0.01, "precision": "32",
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WUSU_RUNS", str(tmp_path_factory.mktemp("runs")))
        yield experiment.prepare(stated).runs()[0]


@pytest.fixture(scope="module")
def predictor(run):
    return tool.load(run)


def test_it_predicts_what_the_run_stored(run, predictor):
    table = tree.scan(Path(run.record["data"]["root"])).set_index("patch")
    shown = run.confusion.query("split == 'val'")["patch"].tolist()
    images = np.stack([read_bands(table.loc[patch, "image"]) for patch in shown])
    likely = predictor.probabilities(images, np.ones((len(images), SIDE, SIDE), dtype=bool)).cpu().numpy()
    index = np.array(predictor.class_indices)[likely.argmax(axis=1)]
    stored = np.stack([run.prediction(patch) for patch in shown])
    assert (index == stored).mean() > 0.9999  # batches of another size may round otherwise
    assert len(np.unique(stored)) > 1
    assert (predictor.window, predictor.labels.classes, len(predictor.class_indices)) == (SIDE, "merged", 9)


def test_judged_on_its_own_ground_it_counts_what_the_run_counted(run, tmp_path, monkeypatch):
    monkeypatch.setenv("WUSU_CACHE", str(tmp_path))
    table = run.confusion.merge(
        tree.scan(Path(run.record["data"]["root"]))[["patch", "image", "mask"]], on="patch"
    )
    train = table[table["split"] == "train"]
    judged = published.judge_on(run, train, table, "own")
    own = run.confusion["split"].to_numpy() != "train"
    assert judged.confusion["patch"].tolist() == run.confusion["patch"][own].tolist()
    assert judged.confusion["split"].isin(["val", "test"]).all()
    counts = [
        measure("mIoU", run.labels).counts(matrices) for matrices in (judged.matrices, run.matrices[own])
    ]
    assert abs(counts[0] - counts[1]).sum() < 2e-4 * counts[1].sum()  # other batches may round otherwise
    monkeypatch.setattr(published, "stacks", None)  # what was counted once is read
    again = published.judge_on(run, train, table, "own")
    np.testing.assert_array_equal(again.matrices, judged.matrices)


def test_it_is_found_by_its_folder_and_can_be_sent_elsewhere(run, predictor):
    again = tool.load(str(run.folder))
    assert again.fingerprint == predictor.fingerprint
    linked = tool.load(str(run.folder.parents[1] / "exp05" / run.key))  # as the experiment links to it
    assert linked.fingerprint == predictor.fingerprint
    sent = pickle.loads(pickle.dumps(again))
    assert sent.fingerprint == predictor.fingerprint
    image, valid = np.full((1, 4, SIDE, SIDE), 90, dtype=np.uint8), np.ones((1, SIDE, SIDE), dtype=bool)
    np.testing.assert_array_equal(sent.probabilities(image, valid), predictor.probabilities(image, valid))
    other = tool.load(run)
    other.mean = [0.1, 0.2, 0.3, 0.4]
    assert other.fingerprint != predictor.fingerprint


def test_what_is_no_segmentation_run_is_refused(run):
    with pytest.raises(FileNotFoundError, match="no such notebook"):
        tool.load("exp99")
    run = type(run)(run.folder)
    del run.record["input"]
    with pytest.raises(ValueError, match="not a segmentation run"):
        tool.load(run)


def shift(first, second) -> tuple[int, int]:
    """By how many pixels (rows, columns) the second image lies aside, by the peak of their correlation."""
    spectra = [np.fft.fft2(image - image.mean()) for image in (first, second)]
    peak = np.fft.ifft2(spectra[0].conj() * spectra[1]).real.argmax()
    place = np.unravel_index(peak, first.shape)
    return tuple(int(p) if p < n // 2 else int(p) - n for p, n in zip(place, first.shape, strict=True))


def test_real_scenes_of_two_dates_line_up(predictor, tmp_path):
    if not SHARED.is_dir():
        pytest.skip(f"real imagery is not at {SHARED}")
    first, second = SHARED / "ND_20090818.tif", SHARED / "ND_20180716.tif"
    layers = rasters.pair(first, second)
    bands = []
    for layer in layers:
        with layer.open() as reader:
            bands.append(reader.read(0, 0, layer.grid.height, layer.grid.width)[0].astype(float))
    assert [shift(*pair) for pair in zip(*bands, strict=True)] == [(0, 0)] * 4
    made = maps.change_map(predictor, first, second, tmp_path, tiling=Tiling(128, 16, 4), tolerance=2)
    with rasterio.open(made.fromto) as found, rasterio.open(first) as a, rasterio.open(second) as b:
        assert found.crs == a.crs
        offset = ~a.transform @ (found.transform.c, found.transform.f)
        assert max(abs(value - round(value)) for value in offset) < 1e-6  # on the first date's pixels
        for outer in (a.bounds, b.bounds):
            half = found.res[0] / 2  # a pixel counts where its centre is covered
            assert found.bounds.left >= outer.left - half
            assert found.bounds.top <= outer.top + half
        assert found.width * found.height > 0.99 * a.width * a.height
    assert (read(made.fromto) != 255).mean() > 0.9
