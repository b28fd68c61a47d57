"""The shared-pixel audit: any offset, exact extents, no false alarms, the layout, shares of ground."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_tree import write_raster, write_tree

from wusu_lib import imagery
from wusu_lib.data.splits import POPULAR, Overlaps, anchors, shared_ground
from wusu_lib.data.tree import scan


def scene(height: int = 200, width: int = 200, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (4, height, width), dtype=np.uint8)


def cut_tree(
    root: Path, image: np.ndarray, places: Iterable[tuple[str, int, int]], size: int = 64
) -> pd.DataFrame:
    """A table of sites cut from one scene at (folder, y, x), numbered in this order."""
    for index, (folder, y, x) in enumerate(places):
        write_raster(root / folder / f"HS/imgs/HS15_{index}.tif", image[:, y : y + size, x : x + size])
    return scan(root)


def offsets(overlaps: Overlaps) -> set[tuple]:
    return set(overlaps.pairs.itertuples(index=False, name=None))


@pytest.mark.parametrize(
    ("dy", "dx"), [(32, 0), (0, 32), (32, -32), (1, 0), (17, 40), (-45, 23), (0, -52), (0, 0)]
)
def test_any_whole_offset_is_found_exactly(tmp_path: Path, dy: int, dx: int) -> None:
    table = cut_tree(tmp_path, scene(), [("train", 60, 60), ("train", 60 + dy, 60 + dx)])
    expected = ("train/HS_0", "train/HS_1", dy, dx, (64 - abs(dy)) * (64 - abs(dx)))
    assert offsets(shared_ground(table)) == {expected}


def test_half_overlap_is_found_between_all_neighbours(tmp_path: Path) -> None:
    table = scan(write_tree(tmp_path, size=64, rows=4, columns=3, folders=("train",), shuffled=True))
    overlaps = shared_ground(table)
    beside = 4 * 2 + 3 * 3  # pairs to the right and pairs below share half a patch
    across = 2 * 3 * 2  # pairs along both diagonals share a quarter
    assert overlaps.pairs["pixels"].value_counts().to_dict() == {2048: beside, 1024: across}
    assert overlaps.layout["component"].nunique() == 1
    places = set(overlaps.layout[["y", "x"]].itertuples(index=False, name=None))
    assert places == {(32 * r, 32 * c) for r in range(4) for c in range(3)}


def test_layout_gives_the_true_positions(tmp_path: Path) -> None:
    places = [("train", 100, 3), ("test", 60, 40), ("train", 20, 77), ("test", 130, 130)]
    layout = shared_ground(cut_tree(tmp_path, scene(), places)).layout.set_index("site")
    assert list(layout.columns) == ["component", "y", "x", "height", "width"]
    joined = layout.loc[["train/HS_0", "test/HS_1", "train/HS_2"]]
    assert joined[["y", "x"]].values.tolist() == [[80, 0], [40, 37], [0, 74]]
    assert joined["component"].nunique() == 1
    alone = layout.loc["test/HS_3"]
    assert alone["component"] not in joined["component"].tolist()
    assert alone[["y", "x", "height", "width"]].tolist() == [0, 0, 64, 64]


def test_constant_ground_and_repeated_texture_are_no_evidence(tmp_path: Path) -> None:
    tile = scene(8, 8)
    image = np.tile(tile, (1, 40, 40))
    image[:, :, 64:128] = 77
    image[:, :, 128:] = scene(320, 192, seed=1)
    table = cut_tree(
        tmp_path, image, [("train", 0, 64), ("train", 64, 64), ("train", 0, 128), ("train", 70, 192)]
    )
    assert shared_ground(table).pairs.empty


def test_an_overlap_that_is_mostly_constant_is_found(tmp_path: Path) -> None:
    image = scene()
    image[:, :, 75:] = 0  # of the 32 shared columns, 11 have texture
    table = cut_tree(tmp_path, image, [("train", 20, 32), ("train", 20, 64)])
    assert offsets(shared_ground(table)) == {("train/HS_0", "train/HS_1", 0, 32, 2048)}


def test_pixels_that_agree_only_in_part_are_not_shared_ground(tmp_path: Path) -> None:
    image = scene()
    table = cut_tree(tmp_path, image, [("train", 0, 0), ("train", 0, 32)])
    changed = imagery.read(table["image"][1])
    changed[:, :, 16:32] = 255 - changed[:, :, 16:32]  # half of the ground that both show
    write_raster(Path(table["image"][1]), changed)
    assert shared_ground(table).pairs.empty


def test_sites_are_compared_on_a_date_that_both_have(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, size=64, rows=1, columns=3, folders=("train",))
    for name in (
        "HS15_1",
        "HS18_1",
        "HS16_2",
        "HS18_2",
    ):  # site 0: all dates, site 1: 16 only, site 2: 15 only
        (tree / f"train/HS/imgs/{name}.tif").unlink()
    table = scan(tree)
    assert offsets(shared_ground(table)) == {("train/HS_0", "train/HS_1", 0, 32, 2048)}


def test_each_site_is_read_on_one_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = scan(write_tree(tmp_path, size=64, rows=3, columns=3, folders=("train",)))
    read: list[str] = []
    original = imagery.read
    monkeypatch.setattr("wusu_lib.data.splits.read", lambda path: (read.append(path), original(path))[1])
    shared_ground(table)
    assert sorted(set(read)) == sorted(table[table["date"] == 15]["image"])
    assert len(read) == 1 + 9  # the first file twice, to learn the size


def test_share_is_the_fraction_of_the_union_of_pixels(tmp_path: Path) -> None:
    places = [("train", 0, 0), ("train", 0, 32), ("val", 0, 80), ("test", 100, 0)]
    table = cut_tree(tmp_path, scene(), places)
    share = shared_ground(table).share(table)
    assert list(share.index) == list(share.columns) == ["test", "train", "val"]
    # train covers columns 0 to 96, val 80 to 144: 16 columns in common, of train's 96 and val's 64
    assert share.loc["train", "val"] == pytest.approx(16 / 96, abs=1e-12)
    assert share.loc["val", "train"] == pytest.approx(16 / 64, abs=1e-12)
    assert share.loc["test", ["train", "val"]].tolist() == [0, 0]
    assert np.diag(share).tolist() == [1, 1, 1]


def test_ground_shows_where_splits_meet(tmp_path: Path) -> None:
    table = cut_tree(tmp_path, scene(), [("train", 0, 0), ("val", 0, 48)])
    ((component, splits, covered),) = shared_ground(table).ground(table)
    assert (component, splits, covered.shape) == (0, ["train", "val"], (2, 64, 112))
    assert covered.sum(axis=(1, 2)).tolist() == [4096, 4096]
    assert (covered.all(axis=0).any(axis=0)).nonzero()[0].tolist() == list(range(48, 64))


def test_anchors_move_with_the_content() -> None:
    image = scene(80, 90)
    hashes, rows, columns = anchors(image)
    moved = {
        (h, r - 5, c - 9) for h, r, c in zip(*map(np.ndarray.tolist, (hashes, rows, columns)), strict=True)
    }
    inside = {a for a in moved if 0 <= a[1] <= 66 and 0 <= a[2] <= 68}
    part = anchors(image[:, 5:75, 9:81])
    assert inside == set(zip(*map(np.ndarray.tolist, part), strict=True))
    assert 40 < len(inside) < 150  # 4,623 positions, one in 64
    assert all(len(anchors(np.full((4, 6, 6), value, np.uint8))[0]) == 0 for value in range(256))
    assert POPULAR >= 4  # half-overlapping patches hold each place four times


def test_images_smaller_than_a_window_have_no_anchor() -> None:
    assert [len(part) for part in anchors(scene(3, 50))] == [0, 0, 0]


def test_real_imagery_shares_no_ground(naip_wv: Path) -> None:
    overlaps = shared_ground(scan(naip_wv))
    assert overlaps.pairs.empty
    assert overlaps.layout["component"].nunique() == 16


def test_the_mini_city_overlaps_by_exactly_half(tmp_path: Path) -> None:
    synthetic = pytest.importorskip("wusu_lib.synthetic", reason="the mini city is not built yet")
    root = synthetic.write(tmp_path, patch_size=64, rows=4, cols=3, areas=("HS",))
    table = scan(root)
    overlaps = shared_ground(table)
    assert overlaps.pairs["pixels"].value_counts().to_dict() == {2048: 34, 1024: 24}
    index = overlaps.layout["site"].str.split("_").str[1].astype(int)
    assert (overlaps.layout["y"] == index // 3 * 32).all()
    assert (overlaps.layout["x"] == index % 3 * 32).all()
    assert overlaps.layout["component"].nunique() == 2
    assert overlaps.share(table).loc["train", "test"] == 0
