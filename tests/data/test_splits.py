"""Splits: nothing shared after "blocks", the study's leak under "study", blocks that stay together."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from small_tree import write_tree

from wusu_lib.data import splits, tree
from wusu_lib.data.splits import LAYOUT_COLUMNS, PAIR_COLUMNS, Overlaps


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, Overlaps]:
    """Two areas, 8 x 3 half-overlapping sites of 32 px in train and in test, numbered at random."""
    root = write_tree(
        tmp_path_factory.mktemp("city"), rows=8, columns=3, areas=("HS", "JA"), dates=(15, 16), shuffled=True
    )
    table = tree.scan(root)
    return table, splits.shared_ground(table)


def made_up(places: dict[str, tuple[int, int]], size: int = 64) -> tuple[pd.DataFrame, Overlaps]:
    """Table and overlaps of sites at given places of one ground, without files."""
    rows, pairs = [], []
    for site in places:
        folder, name = site.split("/")
        area, index = name.split("_")
        rows.append(
            (f"{folder}/{area}15_{index}", site, folder, folder, area, 15, int(index), "", None, site)
        )
    names = list(places)
    for k, a in enumerate(names):
        for b in names[k + 1 :]:
            dy, dx = (places[b][i] - places[a][i] for i in (0, 1))
            if abs(dy) < size and abs(dx) < size:
                pairs.append((a, b, dy, dx, (size - abs(dy)) * (size - abs(dx))))
    columns = ["patch", "site", "folder", "split", "area", "date", "index", "image", "mask", "block"]
    layout = pd.DataFrame([(s, 0, y, x, size, size) for s, (y, x) in places.items()], columns=LAYOUT_COLUMNS)
    return pd.DataFrame(rows, columns=columns), Overlaps(pd.DataFrame(pairs, columns=PAIR_COLUMNS), layout)


def test_blocks_share_no_pixel_and_halve_the_ground(city: tuple) -> None:
    table, overlaps = city
    result = splits.assign(table, "blocks", overlaps)
    share = overlaps.share(result)
    assert share.to_numpy().tolist() == np.eye(3).tolist()
    sites = result.groupby(["split", "area"])["site"].nunique().to_dict()
    # 8 rows at half overlap: the cut costs one row, 3 and 4 are left
    assert sites == {
        ("train", "HS"): 24, ("train", "JA"): 24, ("val", "HS"): 9, ("val", "JA"): 9,
        ("test", "HS"): 12, ("test", "JA"): 12,
    }  # fmt: skip
    again = splits.shared_ground(result)  # by content, without the first audit
    assert again.share(result).to_numpy().tolist() == np.eye(3).tolist()


def test_no_gap_is_promised_between_the_halves() -> None:
    told = (Path(__file__).parents[2] / "book" / "data.md").read_text()
    assert "the parts may touch" in told
    assert " gap" not in told


def test_study_is_seeded_halves_that_leak(city: tuple) -> None:
    table, overlaps = city
    result = splits.assign(table, "study", overlaps)
    assert len(result) == len(table)
    assert result.groupby(["split", "area"])["site"].nunique().to_dict() == {
        ("train", "HS"): 24, ("train", "JA"): 24, ("val", "HS"): 12, ("val", "JA"): 12,
        ("test", "HS"): 12, ("test", "JA"): 12,
    }  # fmt: skip
    share = overlaps.share(result)
    assert share.loc["val", "test"] > 0.5
    assert share.loc["train", ["val", "test"]].tolist() == [0, 0]
    assert splits.assign(table, "study", overlaps).equals(result)
    assert not splits.assign(table, "study", overlaps, seed=43)["split"].equals(result["split"])


def test_folders_are_as_on_disk(city: tuple) -> None:
    table, overlaps = city
    result = splits.assign(table, "folders", overlaps)
    assert result["split"].equals(table["folder"])


@pytest.mark.parametrize("scheme", ["blocks", "study", "folders"])
def test_blocks_never_mix_areas_splits_or_components_and_keep_dates_together(
    city: tuple, scheme: str
) -> None:
    table, overlaps = city
    result = splits.assign(table, scheme, overlaps)
    assert (result.groupby("block")[["area", "split"]].nunique() == 1).all(axis=None)
    assert (result.groupby("site")[["block", "split"]].nunique() == 1).all(axis=None)
    assert result["block"].notna().all()


def test_blocks_are_one_footprint_wide_where_the_ground_is_small(city: tuple) -> None:
    table, overlaps = city
    result = (
        splits.assign(table, "folders", overlaps).drop_duplicates("site").merge(overlaps.layout, on="site")
    )
    # a half-scene is 144 x 64 px of 32 px patches: two tiles of two footprints are too few, so 4 x 2 of one
    assert result.groupby(["split", "area"])["block"].nunique().tolist() == [8, 8, 8, 8]
    centre = result["y"] + 16
    first = result["block"].str.contains("/0_")
    assert (centre[first] < 36).all()
    assert (centre[~first] >= 36).all()


def test_blocks_are_two_footprints_wide_where_there_is_room() -> None:
    steps = np.arange(0, 240, 16)  # 32 px patches at half overlap: 256 x 256 px, 4 x 4 tiles of 64 px
    y, x = (axis.ravel() for axis in np.meshgrid(steps, steps, indexing="ij"))
    sites = pd.DataFrame(
        {"y": y, "x": x, "height": 32, "width": 32, "split": "val", "area": "HS", "component": 0}
    )
    sites["site"] = [f"test/HS_{i}" for i in range(len(sites))]
    blocks = splits._blocks(sites)
    assert blocks.nunique() == 16
    expected = [f"val/HS/0/{(a + 16) // 64}_{(b + 16) // 64}" for a, b in zip(y, x, strict=True)]
    assert blocks.tolist() == expected


@pytest.mark.parametrize("scheme", ["blocks", "study"])
def test_a_validation_folder_is_kept(tmp_path: Path, scheme: str) -> None:
    table = tree.scan(write_tree(tmp_path, rows=2, columns=1, folders=("train", "val", "test")))
    result = splits.assign(table, scheme)
    assert result["split"].equals(table["folder"])


def test_unconnected_sites_are_contiguous_by_index(tmp_path: Path) -> None:
    table = tree.scan(write_tree(tmp_path, rows=3, columns=3, stride=32))
    result = splits.assign(table, "blocks")
    halves = result[result["folder"] == "test"].groupby("split")["index"].unique()
    assert sorted(halves["val"]) == [0, 1, 2, 3, 4]
    assert sorted(halves["test"]) == [5, 6, 7, 8]
    assert result["block"].nunique() == 18


def test_the_cut_is_across_the_longer_side() -> None:
    places = {f"test/HS_{k}": (k % 2 * 32, k // 2 * 32) for k in range(12)}  # 2 high, 6 wide
    table, overlaps = made_up(places)
    result = splits.assign(table, "blocks", overlaps).set_index("site")["split"]
    val, test = ([f"test/HS_{k}" for k in numbers] for numbers in (range(4), range(6, 12)))
    assert result.to_dict() == dict.fromkeys(val, "val") | dict.fromkeys(
        test, "test"
    )  # 4 and 5 lie on both sides


def test_sites_that_share_pixels_with_training_are_dropped() -> None:
    places = {"train/HS_0": (0, 0)} | {f"test/HS_{k}": (0, 40 + 64 * k) for k in range(6)}
    table, overlaps = made_up(places)
    result = splits.assign(table, "blocks", overlaps)
    assert "test/HS_0" not in set(result["site"])
    assert "train/HS_0" in set(result["site"])
    assert overlaps.share(result).to_numpy().tolist() == np.eye(3).tolist()


def test_a_cut_that_leaves_nothing_is_refused() -> None:
    table, overlaps = made_up({"test/HS_0": (0, 0), "test/HS_1": (0, 10), "test/HS_2": (0, 20)})
    with pytest.raises(ValueError, match=r"leaves .* of 3 sites"):
        splits.assign(table, "blocks", overlaps)


@given(
    places=st.lists(
        st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=6, max_size=25, unique=True
    ),
    n_train=st.integers(0, 4),
)
@settings(max_examples=60, deadline=None)
def test_blocks_never_share_pixels_wherever_patches_lie(places: list[tuple[int, int]], n_train: int) -> None:
    named = {f"{'train' if k < n_train else 'test'}/HS_{k}": place for k, place in enumerate(places)}
    table, overlaps = made_up(named)
    try:
        result = splits.assign(table, "blocks", overlaps)
    except ValueError:
        reject()  # the cut may leave nothing; hypothesis fails the test if that happens nearly always
    share = overlaps.share(result).to_numpy()
    assert share.tolist() == np.eye(len(share)).tolist()


def test_unknown_scheme_lists_the_known_ones(city: tuple) -> None:
    with pytest.raises(ValueError, match="got 'random'; allowed: blocks, study, folders"):
        splits.assign(city[0], "random", city[1])


def test_an_audit_of_another_table_is_refused(city: tuple) -> None:
    _, overlaps = made_up({"test/XX_0": (0, 0)})
    with pytest.raises(ValueError, match="audit does not know"):
        splits.assign(city[0], "blocks", overlaps)


def test_real_imagery(naip_wv: Path) -> None:
    result = splits.assign(tree.scan(naip_wv), "blocks")
    assert result.drop_duplicates("site")["split"].value_counts().to_dict() == {
        "train": 8,
        "val": 4,
        "test": 4,
    }
