"""The dossier: worked out once, stored, and worked out anew when a file or the code changes."""

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_tree import write_raster
from test_layout import graph, modules

from wusu_lib import imagery
from wusu_lib.data import checks, inspection, splits
from wusu_lib.data import tree as tree_data
from wusu_lib.data.tree import file_state, fingerprint, scan, scan_changes


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
    monkeypatch.setattr(
        inspection, "check", lambda root, *more: (calls.append(root), original(root, *more))[1]
    )
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


def relabel(tree: Path, in_place: bool) -> None:
    """Give every class mask other labels, with its old size and its old times of access and modification."""
    for path in sorted(tree.rglob("class/*.tif")):
        before = path.stat()
        content = bytearray(path.read_bytes())
        mask = imagery.read(path)
        start = content.find(mask.tobytes())
        assert start > 0  # an uncompressed TIFF: the labels stand in it as they are
        content[start : start + mask.size] = np.where(mask == 1, np.uint8(2), np.uint8(1)).tobytes()
        other = path if in_place else path.with_suffix(".copy")
        other.write_bytes(content)
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.replace(path)
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.mark.parametrize("in_place", [True, False])
def test_a_tree_relabelled_with_its_old_sizes_and_times_is_noticed(
    tree: Path, worked_out: list[Path], in_place: bool
) -> None:
    before = inspection.inspect(tree)
    relabel(tree, in_place)
    after = inspection.inspect(tree)
    assert len(worked_out) == 2
    assert after.fingerprint != before.fingerprint
    assert after.fingerprint == fingerprint(scan(tree))


@pytest.mark.parametrize(("age", "waited"), [(0.005, [0.02]), (0.05, [])])
def test_a_file_so_young_that_a_change_could_get_its_time_is_waited_for(
    tree: Path, monkeypatch: pytest.MonkeyPatch, age: float, waited: list[float]
) -> None:
    now, waits = 10**18, []
    monkeypatch.setattr(inspection, "file_state", lambda path: (1, 1, 1, now - round(age * 1e9)))
    monkeypatch.setattr(inspection.time, "time_ns", lambda: now)
    monkeypatch.setattr(inspection.time, "sleep", waits.append)
    inspection.inspect(tree).require_unchanged()
    assert waits == 3 * waited  # before the check, after it, and when asked


def test_content_is_read_where_asked_for(
    tree: Path, worked_out: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WUSU_VERIFY", "content")
    state = file_state
    frozen: dict[str, tuple[int, int, int, int]] = {}

    def unmoved(path: str | Path) -> tuple[int, int, int, int]:
        """As on a file system that keeps no times of change."""
        return frozen.setdefault(os.fspath(path), state(path))

    monkeypatch.setattr(tree_data, "file_state", unmoved)
    monkeypatch.setattr(inspection, "file_state", unmoved)
    before = inspection.inspect(tree)
    assert inspection.inspect(tree).fingerprint == before.fingerprint
    relabel(tree, in_place=True)
    after = inspection.inspect(tree)
    assert len(worked_out) == 2
    assert after.fingerprint != before.fingerprint
    monkeypatch.setenv("WUSU_VERIFY", "")
    quick = inspection.inspect(tree)
    relabel(tree, in_place=True)
    assert inspection.inspect(tree).fingerprint == quick.fingerprint  # which is why one may ask for it


def test_another_value_of_wusu_verify_is_refused(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WUSU_VERIFY", "all")
    with pytest.raises(ValueError, match="WUSU_VERIFY: got 'all'; expected \"content\", or nothing"):
        inspection.inspect(tree)


def test_files_that_change_while_they_are_checked_are_noticed(
    tree: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = splits.shared_ground

    def late(table: pd.DataFrame) -> splits.Overlaps:
        relabel(tree, in_place=True)
        return audit(table)

    monkeypatch.setattr(inspection, "shared_ground", late)
    with pytest.raises(ValueError, match="tree: files of the data changed after they were checked"):
        inspection.inspect(tree)
    assert list((cache / "dossiers").glob("*.json")) == []


def test_files_that_change_between_check_and_use_are_noticed(tree: Path) -> None:
    found = inspection.inspect(tree)
    found.require_unchanged()
    relabel(tree, in_place=True)
    with pytest.raises(ValueError, match="files of the data changed after they were checked"):
        found.require_unchanged()
    inspection.inspect(tree).require_unchanged()
    (tree / "class_mapping.json").write_text("{}")
    with pytest.raises(ValueError, match="files of the data changed after they were checked"):
        found.require_unchanged()


def test_every_file_that_works_out_what_is_kept_counts() -> None:
    """What the check and the audit reach in the library, but for how files are found and written."""
    edges, reached, waiting = graph(), set(), {"data.inspection"}
    while waiting:
        reached |= waiting
        waiting = set().union(*(edges[name] for name in waiting)) - reached
    paths = modules()
    missing = {
        name for name in reached if paths[name].resolve() not in {p.resolve() for p in inspection.CODE}
    }
    about_files = {"", "files", "provenance", "transitions"}  # the last: of tensors only
    assert {name for name in missing if name.split(".")[0] != "synthetic"} <= about_files
    assert "data.masks" in reached - missing
