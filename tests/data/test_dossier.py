"""The dossier: worked out once, stored, and worked out anew when a file or the code changes."""

import os
import time
from pathlib import Path

import pandas as pd
import pytest
from small_tree import write_raster

from wusu_lib import imagery
from wusu_lib.data import checks, inspection, splits
from wusu_lib.data.tree import fingerprint, scan, scan_changes


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("WUSU_CACHE", str(folder))
    return folder


@pytest.fixture
def worked_out(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The trees that were examined, one entry each time."""
    calls: list[Path] = []
    original = checks.check
    monkeypatch.setattr(inspection, "check", lambda root: (calls.append(root), original(root))[1])
    return calls


def test_it_holds_what_the_parts_give(tree: Path) -> None:
    result = inspection.inspect(tree)
    table = scan(tree)
    assert result.root == tree.resolve()
    assert result.table.equals(table)
    assert result.changes.equals(scan_changes(tree))
    pd.testing.assert_frame_equal(result.problems, checks.check(tree))
    overlaps = splits.shared_ground(table)
    pd.testing.assert_frame_equal(result.overlaps.pairs, overlaps.pairs)
    pd.testing.assert_frame_equal(result.overlaps.layout, overlaps.layout)
    assert result.fingerprint == fingerprint(table)


def test_a_second_call_reads_no_file_and_gives_the_same(tree: Path, worked_out: list[Path]) -> None:
    first = inspection.inspect(tree)
    start = time.perf_counter()
    second = inspection.inspect(tree)
    assert time.perf_counter() - start < 0.5
    assert len(worked_out) == 1
    for name in ("table", "changes", "problems"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name))
    pd.testing.assert_frame_equal(first.overlaps.layout, second.overlaps.layout)
    assert first.fingerprint == second.fingerprint


def test_a_touched_added_or_removed_file_is_noticed(tree: Path, worked_out: list[Path]) -> None:
    path = tree / "train/HS/class/HS15_0.tif"
    inspection.inspect(tree)
    os.utime(path, (1, 1))
    inspection.inspect(tree)
    path.rename(tree / "train/HS/class/HS15_9.tif")
    assert set(inspection.inspect(tree).problems["problem"]) >= {"missing mask", "missing image"}
    path.unlink(missing_ok=True)
    assert len(worked_out) == 3


def test_a_damaged_store_is_replaced(tree: Path, cache: Path, worked_out: list[Path]) -> None:
    first = inspection.inspect(tree)
    (stored,) = (cache / "dossiers").glob("*.json")
    stored.write_text(stored.read_text()[:100])
    assert inspection.inspect(tree).fingerprint == first.fingerprint
    assert len(worked_out) == 2


def test_an_unreadable_image_leaves_the_problems_and_no_audit(tree: Path) -> None:
    (tree / "train/HS/imgs/HS15_0.tif").write_bytes(b"")
    result = inspection.inspect(tree)
    assert result.overlaps is None
    assert result.problems["problem"][0] == "unreadable file"
    assert len(result.fingerprint) == 16


def test_an_image_without_mask_does_not_stop_the_audit(tree: Path) -> None:
    mask = tree / "train/HS/class/HS15_0.tif"
    write_raster(mask, imagery.read(mask) * 0 + 5)
    assert len(inspection.inspect(tree).overlaps.pairs) == 12


def test_there_must_be_a_tree(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not a WUSU tree"):
        inspection.inspect(tmp_path / "nowhere")


def test_a_changed_change_mask_changes_its_fingerprint_only(tree: Path) -> None:
    before = inspection.inspect(tree)
    mask = tree / "train/HS/change/SCD/HS1516_0.tif"
    write_raster(mask, imagery.read(mask) + 1)
    after = inspection.inspect(tree)
    assert after.fingerprint == before.fingerprint
    assert after.change_fingerprint != before.change_fingerprint
    assert len(after.change_fingerprint) == 16
