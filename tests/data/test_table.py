"""The patch table: names, pairs, layouts that are accepted and refused."""

import shutil
from pathlib import Path

import pytest
from small_tree import write_tree

from wusu_lib.data.tree import fingerprint, scan, scan_changes

COLUMNS = ["patch", "site", "folder", "split", "area", "date", "index", "image", "mask", "block"]


def test_a_row_says_all_that_the_name_says(clean_tree: Path) -> None:
    table = scan(clean_tree)
    assert list(table.columns) == COLUMNS
    assert len(table) == 2 * 3 * 12
    row = table[table["patch"] == "test/HS16_7"].iloc[0]
    assert row[["site", "folder", "split", "area", "date", "index", "block"]].tolist() == [
        "test/HS_7", "test", "test", "HS", 16, 7, "test/HS_7",
    ]  # fmt: skip
    assert Path(row["image"]) == (clean_tree / "test/HS/imgs/HS16_7.tif").resolve()
    assert Path(row["mask"]) == (clean_tree / "test/HS/class/HS16_7.tif").resolve()


def test_rows_are_sorted_by_number_not_by_name(clean_tree: Path) -> None:
    table = scan(clean_tree)
    first = table[(table["folder"] == "train") & (table["date"] == 15)]
    assert first["index"].tolist() == list(range(12))  # by name 10 would come before 2


def test_files_are_paired_by_parsed_name_not_by_order(tree: Path) -> None:
    (tree / "train/HS/class/HS15_0.tif").unlink()
    (tree / "train/HS/class/HS15_3.tif").rename(tree / "train/HS/class/HS15_003.tif")
    rows = scan(tree).set_index("patch")
    assert rows.loc[["train/HS15_0"], "mask"].isna().all()
    assert Path(rows.loc["train/HS15_1", "mask"]).name == "HS15_1.tif"
    assert Path(rows.loc["train/HS15_3", "mask"]).name == "HS15_003.tif"


def test_changes_are_listed_by_interval(clean_tree: Path) -> None:
    changes = scan_changes(clean_tree)
    assert list(changes.columns) == ["folder", "area", "date1", "date2", "index", "site", "bcd", "scd"]
    assert len(changes) == 2 * 2 * 12
    assert set(zip(changes["date1"], changes["date2"], strict=True)) == {(15, 16), (16, 18)}
    row = changes[(changes["site"] == "test/HS_7") & (changes["date2"] == 18)].iloc[0]
    assert Path(row["scd"]).relative_to(clean_tree.resolve()).as_posix() == "test/HS/change/SCD/HS1618_7.tif"


def test_parent_of_the_published_folder_is_accepted(tmp_path: Path) -> None:
    write_tree(tmp_path / "OpenWUSU512", rows=1, columns=1)
    assert len(scan(tmp_path)) == 6


def test_relative_root_is_accepted(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree.parent)
    assert scan("tree").equals(scan(tree))


def test_resplit_tree_has_its_own_validation_folder(tmp_path: Path) -> None:
    write_tree(tmp_path, rows=1, columns=2, folders=("train", "val", "test"))
    assert scan(tmp_path)["split"].value_counts().to_dict() == {"train": 6, "val": 6, "test": 6}


def test_partial_trees_are_read(tree: Path) -> None:
    shutil.rmtree(tree / "train/HS/change")
    shutil.rmtree(tree / "test/HS/change")
    for path in tree.rglob("HS16_*.tif"):
        path.unlink()
    assert sorted(scan(tree)["date"].unique()) == [15, 18]
    assert scan_changes(tree).empty


def test_unreadable_names_are_left_out(tree: Path) -> None:
    for name in ("HS15.tif", "HS1516_0.tif", "notes.txt", ".hidden"):
        (tree / "train/HS/imgs" / name).write_bytes(b"")
    assert len(scan(tree)) == 24


@pytest.mark.parametrize("content", [None, "photo.jpg"])
def test_another_folder_is_refused_with_the_expected_layout(tmp_path: Path, content: str | None) -> None:
    root = tmp_path / "nowhere"
    if content:
        root.mkdir()
        (root / content).touch()
    with pytest.raises(FileNotFoundError, match=r"nowhere: not a WUSU tree .*HS/\{imgs,class\}/HS15_0.tif"):
        scan(root)


def test_a_tree_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train/HS/imgs").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="no image found"):
        scan(tmp_path)


def test_fingerprint_depends_on_names_and_contents_only(tree: Path, tmp_path: Path) -> None:
    table = scan(tree)
    mark = fingerprint(table)
    assert len(mark) == 16
    assert int(mark, 16) >= 0
    copy = scan(shutil.copytree(tree, tmp_path / "elsewhere"))
    assert fingerprint(copy.sample(frac=1, random_state=0)) == mark
    assert fingerprint(table.iloc[1:]) != mark
    (tree / "train/HS/imgs/HS15_0.tif").rename(tree / "train/HS/imgs/HS15_9.tif")
    assert fingerprint(scan(tree)) != mark


def test_fingerprint_sees_one_changed_byte(tree: Path) -> None:
    table = scan(tree)
    mark = fingerprint(table)
    path = Path(table["mask"].iloc[0])
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert fingerprint(table) != mark


def test_real_imagery(naip_wv: Path) -> None:
    table = scan(naip_wv)
    assert table.groupby(["folder", "area", "date"]).size().to_dict() == {
        ("test", "WV", 11): 8, ("test", "WV", 14): 8, ("train", "WV", 11): 8, ("train", "WV", 14): 8,
    }  # fmt: skip
    assert table.groupby("date")["mask"].count().to_dict() == {11: 0, 14: 16}
