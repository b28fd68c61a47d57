"""The per-pixel floor on small made trees: what it learns, what it ignores, that it repeats itself."""

import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from threadpoolctl import threadpool_info

from wusu_lib import legend
from wusu_lib.experiment import per_pixel
from wusu_lib.legend import ELEVEN, LabelSpace

# WUSU's files have no georeference by design.
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
COLOURS = {0: (90, 90, 90, 90), 1: (40, 40, 40, 40), 6: (30, 60, 30, 200), 8: (90, 70, 30, 10)}  # by code
SIZE = 32


def write(path: Path, array: np.ndarray) -> str:
    bands, height, width = array.shape
    profile = {"driver": "GTiff", "count": bands, "height": height, "width": width, "dtype": array.dtype}
    with rasterio.open(path, "w", **profile) as target:
        target.write(array)
    return str(path)


def patch(folder: Path, name: str, rng: np.random.Generator, codes=(0, 1, 6, 8), noise=4) -> dict:
    """One image whose pixels have the colour of their class, and its mask."""
    mask = rng.choice(codes, size=(SIZE, SIZE)).astype(np.uint8)
    colours = np.zeros((13, 4))
    for code, colour in COLOURS.items():
        colours[code] = colour
    image = colours[mask] + rng.normal(0, noise, (SIZE, SIZE, 4))
    image = np.moveaxis(image.clip(0, 255).astype(np.uint8), -1, 0)
    return {
        "patch": name,
        "image": write(folder / f"{name}.tif", image),
        "mask": write(folder / f"{name}_class.tif", mask[None]),
    }


@pytest.fixture
def table(tmp_path) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame([patch(tmp_path, f"p{i}", rng) for i in range(5)])


def truth(rows: pd.DataFrame) -> np.ndarray:
    return np.stack([legend.index_from_code(rasterio.open(path).read(1)) for path in rows["mask"]])


def test_it_learns_colours_and_gives_class_indices(table):
    guess = per_pixel.predict(per_pixel.fit(table[:3], seed=0), table[3:])
    expected = truth(table[3:])
    assert guess.shape == (2, SIZE, SIZE)
    assert guess.dtype == np.uint8
    labelled = expected > 0
    assert (guess[labelled] == expected[labelled]).mean() > 0.99
    assert set(np.unique(guess)) == {1, 5, 7}  # Road, Woodland, River: never Background


def test_background_can_be_a_class(table):
    classifier = per_pixel.fit(table[:3], seed=0, labels=LabelSpace("class"))
    assert classifier.classes_.tolist() == [0, 1, 5, 7]
    assert (per_pixel.predict(classifier, table[3:]) == truth(table[3:])).mean() > 0.98


def test_a_pixel_is_judged_by_itself(table, tmp_path):
    # The same pixels in another order give the same classes in that order, whatever the image is cut into.
    classifier = per_pixel.fit(table[:3], seed=0)
    image = rasterio.open(table["image"][4]).read()
    order = np.random.default_rng(1).permutation(SIZE * SIZE)
    mixed = image.reshape(4, -1)[:, order].reshape(image.shape)
    rows = pd.DataFrame({"image": [table["image"][4], write(tmp_path / "mixed.tif", mixed)]})
    straight, shuffled = per_pixel.predict(classifier, rows).reshape(2, -1)
    np.testing.assert_array_equal(shuffled, straight[order])


def test_rows_keep_their_order_however_many_are_read_at_a_time(table, monkeypatch):
    classifier = per_pixel.fit(table[:3], seed=0)
    together = per_pixel.predict(classifier, table)
    monkeypatch.setattr(per_pixel, "PIXELS_AT_A_TIME", 2 * SIZE * SIZE)
    np.testing.assert_array_equal(per_pixel.predict(classifier, table), together)
    np.testing.assert_array_equal(per_pixel.predict(classifier, table[::-1]), together[::-1])


def test_seeded(tmp_path, monkeypatch):
    monkeypatch.setattr(per_pixel, "PIXELS_PER_CLASS", 200)
    rng = np.random.default_rng(2)
    table = pd.DataFrame([patch(tmp_path, f"q{i}", rng, noise=60) for i in range(3)])
    first, again, other = (per_pixel.predict(per_pixel.fit(table, seed), table) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_sample_is_stratified(tmp_path, monkeypatch):
    monkeypatch.setattr(per_pixel, "PIXELS_PER_CLASS", 50)
    rng = np.random.default_rng(3)
    table = pd.DataFrame([patch(tmp_path, "a", rng, codes=[1] * 9 + [6] * 2 + [0])])
    rates = per_pixel._rates(table, ELEVEN)
    counts = np.bincount(truth(table).ravel(), minlength=12)
    assert rates[1] == pytest.approx(50 / counts[1])
    assert rates[[0, 2, 3]].tolist() == [0, 0, 0]
    drawn = np.bincount(per_pixel._sample(table, rates, np.random.default_rng(0))[1], minlength=12)
    assert drawn[0] == 0
    assert 25 < drawn[1] < 80
    assert 25 < drawn[5] < 80


def test_patches_without_a_mask_are_passed_over(table):
    with_more = pd.concat([table[:3], table[3:].assign(mask=None)])
    guess = [per_pixel.predict(per_pixel.fit(rows, seed=0), table[4:]) for rows in (table[:3], with_more)]
    np.testing.assert_array_equal(*guess)


def test_threads_are_given_back(table):
    def openmp() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"]

    per_pixel.fit(table[:3], seed=0)  # loads scikit-learn's OpenMP
    before, alive = openmp(), threading.active_count()
    per_pixel.predict(per_pixel.fit(table[:3], seed=0), table[3:])
    assert openmp() == before
    assert threading.active_count() == alive


@pytest.mark.parametrize("masks", ["missing", "unlabelled"])
def test_nothing_to_learn(table, tmp_path, masks):
    blank = np.zeros((1, SIZE, SIZE), dtype=np.uint8)
    empty = write(tmp_path / "empty.tif", blank) if masks == "unlabelled" else None
    with pytest.raises(ValueError, match="hold 0 classes to learn; expected at least 2"):
        per_pixel.fit(table.assign(mask=empty), seed=0)


def test_wrong_files_are_named(table, tmp_path):
    three = write(tmp_path / "three.tif", np.zeros((3, SIZE, SIZE), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"three.tif: 3 bands of uint8; expected 4 of uint8"):
        per_pixel.fit(table.assign(image=three), seed=0)
    five = write(tmp_path / "five.tif", np.full((1, SIZE, SIZE), 5, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"five.tif: mask holds codes \[5\]"):
        per_pixel.fit(table.assign(mask=five), seed=0)
    small = write(tmp_path / "small.tif", np.zeros((4, 16, 16), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"size \(32, 32\); expected \(16, 16\) as its image"):
        per_pixel.fit(table.assign(image=small), seed=0)
    classifier = per_pixel.fit(table, seed=0)
    with pytest.raises(ValueError, match=r"small.tif: size \(16, 16\); expected \(32, 32\) as the first"):
        per_pixel.predict(classifier, pd.concat([table[:1], table[:1].assign(image=small)]))
    with pytest.raises(ValueError, match="no patches to predict"):
        per_pixel.predict(classifier, table[:0])
