"""What the mini city shows: overlap, classes, changes, radiometry, planted errors."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from city_patches import AREAS, COLS, DATES, ROWS, SIZE, SPLITS, STRIDE, mosaic, read, tiles

from wusu_lib import legend
from wusu_lib.synthetic import planted

# WUSU's files carry no georeference, and neither do these.
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def test_neighbours_share_half_their_pixels(images: dict, classes: dict) -> None:
    for key, image in images.items():
        for stack in (image, classes[key][:, :, None]):
            np.testing.assert_array_equal(stack[:, :-1, ..., STRIDE:], stack[:, 1:, ..., :STRIDE])
            np.testing.assert_array_equal(stack[:-1, ..., STRIDE:, :], stack[1:, ..., :STRIDE, :])


def test_train_and_test_are_two_halves_of_one_scene(images: dict) -> None:
    """No shared pixels, but the ground goes on: the columns at the seam are alike, others are not."""
    for area, date in itertools.product(AREAS, DATES):
        left = images["train", area, date][::2, -1, :, :, -1].ravel()
        right = images["test", area, date][::2, 0, :, :, 0].ravel()
        far = images["test", area, date][::2, 3, :, :, 0].ravel()
        assert not np.array_equal(left, right)
        assert np.corrcoef(left, right)[0, 1] > 0.75
        assert np.corrcoef(left, far)[0, 1] < 0.6


def test_changes_follow_from_the_class_masks(city: Path, classes: dict) -> None:
    pairs: set[tuple[int, int, int]] = set()
    for split, area, (first, second) in itertools.product(SPLITS, AREAS, ((15, 16), (16, 18))):
        binary = tiles(city, split, area, "change/BCD", f"{first}{second}")[:, :, 0]
        semantic = tiles(city, split, area, "change/SCD", f"{first}{second}")[:, :, 0]
        before, after = classes[split, area, first], classes[split, area, second]
        changed = (before != after) & (before > 0) & (after > 0)
        np.testing.assert_array_equal(binary, changed)
        np.testing.assert_array_equal(semantic > 0, changed)
        triples = np.stack([before[changed], after[changed], semantic[changed]])
        pairs |= set(map(tuple, np.unique(triples, axis=1).T.tolist()))
    codes = {(a, b): code for a, b, code in pairs}
    assert len(codes) == len(pairs) == len(set(codes.values()))  # a function both ways
    assert len(codes) > 20
    in_order = [code for _, code in sorted(codes.items())]
    assert in_order != sorted(in_order)  # the book is not simply counted up


def test_share_of_change_in_each_interval(classes: dict) -> None:
    for area, (first, second) in itertools.product(AREAS, ((15, 16), (16, 18))):
        before, after = (np.stack([mosaic(classes[s, area, d]) for s in SPLITS]) for d in (first, second))
        labelled = (before > 0) & (after > 0)
        assert 0.04 < (before != after)[labelled].mean() < 0.10


def test_train_statistics_are_within_15_percent_of_the_studys(images: dict) -> None:
    counts = np.zeros((4, 256))
    for (split, _, _), stack in images.items():
        if split == "train":
            for band in range(4):
                counts[band] += np.bincount(stack[:, :, band].ravel(), minlength=256)
    levels = np.arange(256) / 255
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ levels
    std = np.sqrt(share @ levels**2 - mean**2)
    np.testing.assert_allclose(mean, [0.23868, 0.23585, 0.23366, 0.27393], rtol=0.15)
    np.testing.assert_allclose(std, [0.13306, 0.13383, 0.13835, 0.16141], rtol=0.15)


def test_first_date_is_the_brightest_and_the_last_the_darkest(images: dict) -> None:
    for area in AREAS:
        means = [images["train", area, d].mean(axis=(0, 1, 3, 4)) for d in DATES]
        assert (means[0] > means[1]).all()
        assert (means[1] > means[2]).all()


def test_unlabelled_share(classes: dict) -> None:
    for split in SPLITS:
        stack = np.stack([classes[split, a, d] for a in AREAS for d in DATES])
        assert 0.30 < (stack == 0).mean() < 0.45


@pytest.mark.parametrize("rows", [slice(0, ROWS), slice(0, 3), slice(5, ROWS)], ids=["all", "upper", "lower"])
@pytest.mark.parametrize("split", SPLITS)
def test_every_class_is_in_every_split_with_a_long_tail(classes: dict, split: str, rows: slice) -> None:
    stack = np.stack([classes[split, a, d][rows] for a in AREAS for d in DATES])
    counts = np.bincount(stack.ravel(), minlength=12)[1:]
    assert counts.min() > 300
    assert counts.max() > 4 * counts.min()


def test_nir_is_highest_over_woodland_and_lowest_over_water(images: dict, classes: dict) -> None:
    wood, river, lake = (legend.NAMES.index(n) for n in ("Woodland", "River", "Lake"))
    for area, date in itertools.product(AREAS, DATES):
        image = np.stack([images[s, area, date] for s in SPLITS])
        index = np.stack([classes[s, area, date] for s in SPLITS])
        mean = {k: image.transpose(0, 1, 2, 4, 5, 3)[index == k].mean(axis=0) for k in (wood, river, lake)}
        assert mean[wood].argmax() == 3
        assert mean[river].argmin() == 3
        assert mean[lake].argmin() == 3


def test_leaves_are_off_in_ja16_only(images: dict, classes: dict) -> None:
    """NIR over red in woodland, as shares of the scene's means, so that gain does not matter."""
    wood, ratio = legend.NAMES.index("Woodland"), {}
    for area, date in itertools.product(AREAS, DATES):
        image, index = images["train", area, date], classes["train", area, date]
        mean = image.transpose(0, 1, 3, 4, 2)[index == wood].mean(axis=0) / image.mean(axis=(0, 1, 3, 4))
        ratio[area, date] = mean[3] / mean[2]
    leafless = ratio.pop(("JA", 16))
    assert leafless < 0.85 * min(ratio.values())


def test_planted_errors_are_where_the_list_says(city: Path) -> None:
    table = planted(city)
    assert set(table.kind) == {"unlabelled", "mislabelled"}
    assert (table.true_code != table.given_code).all()
    assert ((table.given_code == 0) == (table.kind == "unlabelled")).all()
    for row in table.itertuples():
        split, name = row.patch.split("/")
        mask = read(city / split / row.area / "class" / f"{name}.tif")[0]
        box = mask[row.top : row.bottom, row.left : row.right]
        assert (box == row.given_code).sum() >= row.pixels > 0


def test_planted_errors_are_few_and_mistakes_last_while_the_object_stands(city: Path) -> None:
    table = planted(city)
    labelled = 0.6 * 2 * 3 * 2 * ROWS * COLS * SIZE * SIZE
    assert 0.001 < table.pixels.sum() / labelled < 0.03
    wrong = table[table.kind == "mislabelled"].groupby("object")
    assert (wrong.given_code.nunique() == 1).all()
    assert (wrong.date.nunique() == 3).mean() > 0.5
