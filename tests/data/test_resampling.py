"""The scene at a coarser pixel: against a plain reference, put together without a seam, cut evenly."""

import time

import numpy as np
import pandas as pd
import pytest
from small_tree import class_scenes, write_tree

from wusu_lib.data import resampling, splits
from wusu_lib.data.tree import scan
from wusu_lib.legend import IGNORE, LabelSpace


def squares(values, factor):
    """Each square of a [H, W] array that becomes one pixel, row by row."""
    height, width = values.shape
    return [
        [values[y : y + factor, x : x + factor] for x in range(0, width, factor)]
        for y in range(0, height, factor)
    ]


def plain_majority(index, factor):
    """One pixel at a time: the commonest of what counts, of equals the lowest; 255 where nothing counts."""

    def commonest(square):
        counted = square[square != IGNORE].tolist()
        return min(set(counted), key=lambda k: (-counted.count(k), k)) if counted else IGNORE

    return np.array([[commonest(square) for square in row] for row in squares(index, factor)], dtype=np.uint8)


def plain_mean(band, factor, covered):
    """Half up, in whole numbers; 0 where nothing counts."""

    def mean(square, counts):
        kept = square[counts].tolist()
        return (2 * sum(kept) + len(kept)) // (2 * len(kept)) if kept else 0

    pairs = zip(squares(band, factor), squares(covered, factor), strict=True)
    return np.array([[mean(*each) for each in zip(*rows, strict=True)] for rows in pairs], dtype=np.uint8)


@pytest.mark.parametrize("factor", [1, 2, 3, 5, 8, 32, 128])
@pytest.mark.parametrize("shape", [(40, 48), (41, 7), (1, 33), (130, 67)])
def test_both_equal_a_plain_reference(factor, shape):
    rng = np.random.default_rng([factor, *shape])
    index = rng.integers(0, 12, shape).astype(np.uint8)
    index[rng.random(shape) < 0.3] = IGNORE
    index[: shape[0] // 2, : shape[1] // 2] = IGNORE  # whole squares without a pixel that counts
    assert (resampling.majority(index, factor) == plain_majority(index, factor)).all()
    image, covered = rng.integers(0, 256, (4, *shape)).astype(np.uint8), index != IGNORE
    expected = np.stack([plain_mean(band, factor, covered) for band in image])
    assert (resampling.area_mean(image, factor, covered) == expected).all()


def test_ties_go_to_the_first_of_the_legend_and_unlabelled_ground_has_a_vote():
    assert resampling.majority(np.array([[3, 1], [1, 3]], np.uint8), 2) == 1
    assert resampling.majority(np.array([[4, 0], [0, 0]], np.uint8), 2) == 0
    assert resampling.majority(np.array([[4, IGNORE], [IGNORE, IGNORE]], np.uint8), 2) == 4


@pytest.mark.parametrize("factor", [0, 129, 2.5, -1])
def test_a_factor_that_cannot_be_is_refused(factor):
    with pytest.raises(ValueError, match="whole number of pixels from 1 to 128"):
        resampling.majority(np.zeros((4, 4), np.uint8), factor)
    with pytest.raises(ValueError, match="whole number of pixels from 1 to 128"):
        resampling.area_mean(np.zeros((4, 4, 4), np.uint8), factor)


def test_a_scene_is_resampled_many_times_as_fast_as_pixel_by_pixel():
    """A pixel of the scene, so that the plain loop need not run over all of it."""
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(0, 12, (88, 69)), np.ones((80, 80), int))[:7025, :5500].astype(np.uint8)
    part = scene[:400, :400]
    clock = time.process_time()
    plain_majority(part, 8)
    plain = (time.process_time() - clock) / part.size
    clock = time.process_time()
    found = resampling.majority(scene, 8)
    fast = (time.process_time() - clock) / scene.size
    print(f"{fast * scene.size:.2f} s, {plain / fast:.0f} times as fast")  # noqa: T201 (read with -s)
    assert found.shape == (879, 688)
    assert plain > 8 * fast  # 17 times was seen


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Half-overlapping patches of 32 px, cut from scenes of 80 x 64 px."""
    return write_tree(tmp_path_factory.mktemp("tree") / "tree", dates=(15, 16))


@pytest.fixture(scope="module")
def table(tree):
    found = scan(tree)
    return splits.assign(found, "folders"), splits.shared_ground(found)


@pytest.mark.parametrize("factor", [1, 3, 4])
def test_the_mosaic_is_the_scene_that_the_patches_were_cut_from(table, factor):
    rows, overlaps = table
    pieces = list(resampling.mosaics(rows, overlaps.layout, factor))
    assert [(piece.split, piece.date) for piece in pieces] == [
        ("test", 15), ("test", 16), ("train", 15), ("train", 16),
    ]  # fmt: skip
    scenes = class_scenes(np.random.default_rng([0, 0]), 80, 64, 2)  # as the tree's, of the training folder
    for piece, scene in zip(pieces[2:], scenes, strict=True):
        assert piece.shape == (80, 64)
        assert (piece.index == resampling.majority(scene, factor)).all()
        places = piece.places.set_index("patch")
        assert places.loc["train/HS15_5" if piece.date == 15 else "train/HS16_5", ["y", "x"]].tolist() == [
            16,
            32,
        ]


def test_a_missing_patch_leaves_a_hole_that_counts_nowhere(table):
    rows, overlaps = table
    corner = rows[~rows["site"].isin(["train/HS_0", "train/HS_1", "train/HS_3", "train/HS_4"])]
    piece = list(resampling.mosaics(corner, overlaps.layout, 4))[2]
    assert (piece.index[:8, :8] == IGNORE).all()
    assert (piece.image[:, :8, :8] == 0).all()
    assert (piece.index[8:] != IGNORE).all()
    for background in ("ignore", "class"):
        at = pd.DataFrame({"patch": ["a"], "split": ["train"], "piece": [0], "y": [4], "x": [0]})
        options = {"mean": [0.5] * 4, "std": [0.2] * 4, "labels": LabelSpace(background)}
        sample = resampling.WindowSamples(at, [piece], 8, **options)[0]
        assert (sample["mask"][:4] == IGNORE).all()
        ids = LabelSpace(background).train_id_from_index(piece.index[8:12, :8])
        assert (sample["mask"][4:].numpy() == ids).all()


def test_windows_to_learn_from_are_as_many_as_asked_and_spread_over_all_ground(table):
    rows, overlaps = table
    pieces = list(resampling.mosaics(rows, overlaps.layout, 2))
    side = resampling.side_of(pieces, 32)
    assert side == 32  # of 40 x 32 px
    found = resampling.windows(pieces, side, 24)
    train = found[found["split"] == "train"]
    assert len(train) == 24
    assert train["piece"].value_counts().tolist() == [12, 12]
    assert train.groupby("piece")["y"].agg(["min", "max"]).to_numpy().tolist() == [[0, 8], [0, 8]]
    test = found[found["split"] == "test"]
    assert test.groupby("piece")["y"].apply(list).tolist() == [[0, 8], [0, 8]]
    assert not test["patch"].duplicated().any()


def test_ground_that_is_smaller_than_a_patch_makes_smaller_windows(table):
    rows, overlaps = table
    pieces = list(resampling.mosaics(rows, overlaps.layout, 8))
    assert resampling.side_of(pieces, 32) == 8  # of 10 x 8 px
    image, index = resampling.padded(pieces[0], 9)
    assert image.shape == (4, 10, 9)
    assert (index[:, 8:] == IGNORE).all()


@pytest.mark.parametrize(
    ("shape", "side", "number"), [((75, 105), 75, 140), ((50, 60), 20, 7), ((38, 53), 38, 140)]
)
def test_corners_lie_inside(shape, side, number):
    found = resampling.corners(shape, side, number)
    assert len(found) == number
    y, x = np.array(found).T
    assert y.min() >= 0
    assert (y + side).max() <= shape[0]
    assert (x + side).max() <= shape[1]
    assert len(set(found)) >= min(number, (shape[0] - side + 1) * (shape[1] - side + 1)) // 2


def test_a_map_brought_to_the_finer_grid_and_back_is_itself():
    coarse = np.random.default_rng(0).integers(0, 12, (7, 5)).astype(np.uint8)
    fine = resampling.enlarge(coarse, 4, (27, 18))
    assert fine.shape == (27, 18)
    assert (resampling.majority(fine, 4) == coarse).all()
