"""Statistics: exact against numpy on all pixels, fast against reading, normalisations by name."""

import json
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_tree import real_imagery, write_raster, write_tree

from wusu_lib import imagery
from wusu_lib.data import statistics
from wusu_lib.data.tree import scan


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    root = write_tree(tmp_path_factory.mktemp("statistics"), rows=2, columns=3)
    for path in root.rglob("class/*16_*.tif"):
        path.unlink()
    return scan(root)


def pixels(table: pd.DataFrame) -> np.ndarray:
    """All pixels [C, N] on the scale 0 to 1."""
    return np.concatenate([imagery.read(p).reshape(4, -1) for p in table["image"]], axis=1) / 255


def test_moments_and_percentiles_are_those_of_all_pixels(table: pd.DataFrame) -> None:
    measured = statistics.measure(table)
    values = pixels(table)
    np.testing.assert_allclose(measured.mean(), values.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(measured.std(), values.std(axis=1), rtol=1e-12)
    levels = (0, 2, 50, 98, 100)
    expected = np.percentile(values, levels, axis=1, method="inverted_cdf")
    np.testing.assert_array_equal(measured.percentile(levels), expected)
    np.testing.assert_array_equal(measured.percentile(98), expected[3])


def test_literal_figures(tmp_path: Path) -> None:
    image = np.zeros((4, 2, 2), np.uint8)
    image[1] = [[0, 0], [255, 255]]
    image[3] = [[51, 51], [51, 255]]
    write_raster(tmp_path / "train/HS/imgs/HS15_0.tif", image)
    write_raster(tmp_path / "train/HS/class/HS15_0.tif", np.array([[[0, 12], [6, 6]]], np.uint8))
    measured = statistics.measure(scan(tmp_path))
    np.testing.assert_allclose(measured.mean(), [0, 0.5, 0, 0.4], atol=1e-15)
    np.testing.assert_allclose(measured.std(), [0, 0.5, 0, 0.12**0.5], atol=1e-15)  # 3 x 0.04 + 0.36, over 4
    np.testing.assert_allclose(measured.percentile(50), [0, 0, 0, 0.2], atol=1e-15)
    # unlabelled, woodland (code 6, index 5) and bare surface (code 12, index 11)
    assert measured.class_frequency().tolist() == [0.25, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 0, 0.25]


def test_counts_by_date(table: pd.DataFrame) -> None:
    measured = statistics.measure(table)
    assert measured.dates == (15, 16, 18)
    assert measured.bands.shape == (3, 4, 256)
    assert (measured.bands.sum(axis=2) == 12 * 32 * 32).all()
    assert measured.classes.sum(axis=1).tolist() == [12 * 32 * 32, 0, 12 * 32 * 32]  # 2016 has no masks
    by_date = measured.by_date()
    values = pixels(table[table["date"] == 18])
    row = by_date[(by_date["date"] == 18) & (by_date["band"] == "NIR")].iloc[0]
    assert row["mean"] == pytest.approx(values[3].mean(), rel=1e-12)
    assert row["std"] == pytest.approx(values[3].std(), rel=1e-12)
    assert row["p98"] == np.percentile(values[3], 98, method="inverted_cdf")
    assert row["pixels"] == 12 * 32 * 32


def test_only_the_rows_given_count(table: pd.DataFrame) -> None:
    train = table[table["folder"] == "train"]
    np.testing.assert_allclose(statistics.measure(train).mean(), pixels(train).mean(axis=1), rtol=1e-12)


def test_to_dict_and_back_through_json(table: pd.DataFrame) -> None:
    measured = statistics.measure(table)
    back = statistics.Statistics.from_dict(json.loads(json.dumps(measured.to_dict())))
    assert back.dates == measured.dates
    np.testing.assert_array_equal(back.bands, measured.bands)
    np.testing.assert_array_equal(back.classes, measured.classes)


def test_frequency_is_nan_without_masks(table: pd.DataFrame) -> None:
    assert np.isnan(statistics.measure(table[table["date"] == 16]).class_frequency()).all()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """24 images of the published size with masks, compressed."""
    root = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    image = rng.normal(90, 25, (4, 512, 512)).clip(0, 255).astype(np.uint8)
    mask = np.kron(rng.choice([0, 1, 2, 6, 9], (32, 32)), np.ones((16, 16), int)).astype(np.uint8)[None]
    for index in range(24):
        write_raster(
            root / f"train/HS/imgs/HS15_{index}.tif", np.roll(image, index, axis=1), compress="deflate"
        )
        write_raster(root / f"train/HS/class/HS15_{index}.tif", mask, compress="deflate")
    return scan(root)


def test_it_takes_at_most_twice_as_long_as_reading(large: pd.DataFrame) -> None:
    def read_all() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(imagery.read, [*large["image"], *large["mask"]]))

    def seconds(run: Callable[[], object]) -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    # The shortest of five, taken in turn, so that another load does not fall on one of them only.
    times = [(seconds(lambda: statistics.measure(large)), seconds(read_all)) for _ in range(5)]
    measuring, reading = map(min, zip(*times, strict=True))
    assert measuring <= 2 * reading


def test_counting_by_pairs_is_the_same_count() -> None:
    values = np.random.default_rng(0).integers(0, 256, (2, 401, 401)).astype(np.uint8)
    for array in (values, values[0], values[0, :7]):  # by pairs, odd, small
        np.testing.assert_array_equal(statistics._histogram(array), np.bincount(array.ravel(), minlength=256))


def test_memory_does_not_grow_with_the_data(large: pd.DataFrame) -> None:
    tracemalloc.start()
    statistics.measure(large)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 14 * 2**20  # four files at a time, of the 24 MB of images


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((1, 32, 32), 5, np.uint8), r"HS15_0.tif: mask holds codes \[5\]"),
        (np.zeros((2, 32, 32), np.uint8), "HS15_0.tif: expected one band, got 2"),
        (np.zeros((1, 32, 32), np.float32), "HS15_0.tif: expected whole numbers .*got float32"),
    ],
)
def test_a_bad_mask_is_named(tmp_path: Path, array: np.ndarray, message: str) -> None:
    tree = write_tree(tmp_path, rows=1, columns=1)
    write_raster(tree / "train/HS/class/HS15_0.tif", array)
    with pytest.raises(ValueError, match=message):
        statistics.measure(scan(tree))


def test_no_rows_is_an_error(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="the table is empty"):
        statistics.measure(table.iloc[:0])


def test_percentile_outside_0_to_100_is_an_error(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="expected values from 0 to 100"):
        statistics.measure(table).percentile(101)


def test_wusu_is_as_measured(table: pd.DataFrame) -> None:
    measured = statistics.measure(table)
    mean, std = statistics.normalisation("wusu", measured)
    np.testing.assert_array_equal(mean, measured.mean())
    np.testing.assert_array_equal(std, measured.std())


def test_fixed_normalisations_are_those_of_their_sources() -> None:
    mean, std = statistics.normalisation("burnscars")
    assert mean.tolist() == [0.0333, 0.0570, 0.0589, 0.2323]
    assert std.tolist() == [0.0227, 0.0268, 0.0400, 0.0779]
    mean, std = statistics.normalisation("prithvi")
    np.testing.assert_allclose(mean * 1e4, [1087, 1342, 1433, 2734], rtol=1e-12)
    np.testing.assert_allclose(std * 1e4, [2248, 2179, 2178, 1850], rtol=1e-12)


def test_backbone_is_what_its_weights_expect() -> None:
    expected = ([0.3, 0.4, 0.4, 0.4], [0.1, 0.2, 0.2, 0.2])
    mean, std = statistics.normalisation("backbone", None, expected)
    assert (mean.tolist(), std.tolist()) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("imagenet", "got 'imagenet'; allowed: wusu, burnscars, prithvi, backbone"),
        ("wusu", "needs statistics"),
        ("backbone", "needs the mean and deviation"),
    ],
)
def test_normalisation_that_cannot_be(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        statistics.normalisation(name)


def test_a_band_that_does_not_vary_cannot_normalise() -> None:
    bands = np.zeros((1, 4, 256), np.int64)
    bands[..., 7] = 10
    constant = statistics.Statistics((15,), bands, np.zeros((1, 12), np.int64))
    with pytest.raises(ValueError, match="does not vary"):
        statistics.normalisation("wusu", constant)


def test_real_imagery() -> None:
    table = scan(real_imagery())
    measured = statistics.measure(table[table["split"] == "train"])
    assert measured.dates == (11, 14)
    assert measured.classes.sum(axis=1).tolist() == [0, 8 * 256 * 256]
    labelled = np.flatnonzero(measured.class_frequency())
    assert set(labelled) <= {0, 1, 5, 6, 9}  # road, woodland, grassland, structure
