"""Every kind of bad input is found, in one table, with its file and its count."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from small_tree import write_raster, write_tree

from wusu_lib import imagery
from wusu_lib.data import checks
from wusu_lib.data.tree import scan

IMAGE = "train/HS/imgs/HS15_0.tif"
MASK = "train/HS/class/HS15_0.tif"
BCD = "train/HS/change/BCD/HS1516_0.tif"
SCD = "train/HS/change/SCD/HS1516_0.tif"


def raster(path: Path) -> np.ndarray:
    return imagery.read(path)


def rewrite(tree: Path, name: str, edit: Callable[[np.ndarray], np.ndarray]) -> None:
    write_raster(tree / name, edit(raster(tree / name)))


def found(tree: Path, severity: str | None = None) -> set[tuple]:
    problems = checks.check(tree)
    chosen = problems if severity is None else problems[problems["severity"] == severity]
    return set(chosen[["severity", "problem", "file", "count"]].itertuples(index=False, name=None))


def test_a_clean_tree_has_nothing_but_the_note_on_counts(clean_tree: Path) -> None:
    problems = checks.check(clean_tree)
    assert list(problems.columns) == ["severity", "problem", "file", "detail", "count"]
    assert problems[["severity", "problem", "count"]].values.tolist() == [
        ["note", "other counts than published", 36],
        ["note", "other counts than published", 36],
    ]
    assert "12 of HS15, 12 of HS16, 12 of HS18; WUSU as published has 288" in problems["detail"][0]
    checks.refuse(problems)


def truncate(tree: Path) -> None:
    content = (tree / IMAGE).read_bytes()
    (tree / IMAGE).write_bytes(content[: len(content) // 2])


def truncate_compressed(tree: Path) -> None:
    write_raster(tree / IMAGE, raster(tree / IMAGE), compress="deflate")
    truncate(tree)


def unknown_codes(mask: np.ndarray) -> np.ndarray:
    mask[0, 0, :7] = 5
    mask[0, 1, :3] = 77
    return mask


DAMAGE: dict[str, tuple[Callable[[Path], object], set[tuple]]] = {
    "truncated": (truncate, {("error", "unreadable file", IMAGE, 1)}),
    "truncated, compressed": (truncate_compressed, {("error", "unreadable file", IMAGE, 1)}),
    "no raster": (lambda t: (t / MASK).write_text("?"), {("error", "unreadable file", MASK, 1)}),
    "empty file": (lambda t: (t / SCD).write_bytes(b""), {("error", "unreadable file", SCD, 1)}),
    "three bands": (
        lambda t: rewrite(t, IMAGE, lambda a: a[:3]), {("error", "wrong number of bands", IMAGE, 3)},
    ),
    "mask of two bands": (
        lambda t: rewrite(t, MASK, lambda a: np.concatenate([a, a])),
        {("error", "wrong number of bands", MASK, 2)},
    ),
    "16 bits": (
        lambda t: rewrite(t, IMAGE, lambda a: a.astype(np.uint16)), {("error", "wrong dtype", IMAGE, 1)},
    ),
    "image and mask smaller": (
        lambda t: [rewrite(t, name, lambda a: a[:, :24]) for name in (IMAGE, MASK)],
        {("error", "wrong size", IMAGE, 1), ("error", "wrong size", MASK, 1)},
    ),
    "mask smaller": (
        lambda t: rewrite(t, MASK, lambda a: a[:, :, :24]),
        {("error", "wrong size", MASK, 1), ("error", "image and mask differ in size", IMAGE, 1)},
    ),
    "unknown codes": (
        lambda t: rewrite(t, MASK, unknown_codes),
        {("error", "unknown class code 5", MASK, 7), ("error", "unknown class code 77", MASK, 3)},
    ),
    "empty image": (
        lambda t: rewrite(t, IMAGE, lambda a: np.full_like(a, 9)), {("error", "empty image", IMAGE, 1024)},
    ),
    "no mask": (lambda t: (t / MASK).unlink(), {("error", "missing mask", IMAGE, 1)}),
    "no image": (lambda t: (t / IMAGE).unlink(), {("error", "missing image", MASK, 1)}),
    "twice": (
        lambda t: (t / "train/HS/imgs/HS15_00.tif").write_bytes((t / IMAGE).read_bytes()),
        {("error", "two files for one patch", "train/HS/imgs/HS15_00.tif", 1)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_an_error_and_refused_with_the_file_named(tree: Path, kind: str) -> None:
    damage, expected = DAMAGE[kind]
    damage(tree)
    assert found(tree, "error") == expected
    with pytest.raises(ValueError, match="would spoil training") as refusal:
        checks.refuse(checks.check(tree))
    for _, problem, file, _ in expected:
        (line,) = (line for line in str(refusal.value).splitlines() if problem in line)
        assert file in line


def test_all_problems_are_in_one_table_the_worst_first(tree: Path) -> None:
    truncate(tree)
    rewrite(tree, "test/HS/class/HS16_1.tif", unknown_codes)
    (tree / SCD).unlink()
    (tree / "test/HS/imgs/Thumbs.db").touch()
    problems = checks.check(tree)
    assert problems["severity"].tolist() == ["error"] * 3 + ["warning"] + ["note"] * 3
    assert problems["problem"].tolist()[3:5] == ["missing change mask", "name not understood"]


def test_errors_of_one_kind_are_one_line_with_a_count_and_the_first_files(tree: Path) -> None:
    for path in sorted((tree / "train/HS/class").glob("*.tif")):
        path.write_bytes(b"")
    (tree / "test/HS/imgs/HS16_1.tif").unlink()
    with pytest.raises(ValueError, match="would spoil training") as refusal:
        checks.refuse(checks.check(tree))
    first, *lines = str(refusal.value).splitlines()
    assert first.startswith("13 problems in the data would spoil training")
    assert len(lines) == 2
    assert lines[0].startswith("  test/HS/class/HS16_1.tif: missing image (")
    names = ", ".join(f"train/HS/class/HS15_{n}.tif" for n in (0, 1, 2))
    assert lines[1].startswith(f"  unreadable file in 12 files: {names} and 9 more (the first: ")


def test_warnings_do_not_stop_training(tree: Path) -> None:
    rewrite(tree, IMAGE, lambda a: np.concatenate([a[:3], np.full_like(a[:1], 7)]))
    assert ("warning", "constant band", IMAGE, 1) in found(tree)
    checks.refuse(checks.check(tree))


def test_a_date_without_any_mask_is_a_note(tree: Path) -> None:
    for path in tree.rglob("class/HS16_*.tif"):
        path.unlink()
    assert found(tree, "error") == set()
    notes = checks.check(tree).query("problem == 'no masks for a date'")
    assert notes[["severity", "detail", "count"]].values.tolist() == [
        ["note", "test: none of 4 HS16 patches", 4],
        ["note", "train: none of 4 HS16 patches", 4],
    ]


def test_a_site_that_lacks_a_date_is_a_warning(tree: Path) -> None:
    (tree / IMAGE).unlink()
    (tree / MASK).unlink()
    problems = checks.check(tree)
    assert "HS15_0.tif is not there" in problems[problems["problem"] == "missing date"]["detail"].tolist()
    assert found(tree, "error") == set()


def test_the_name_counts_where_the_folder_says_another_area(tree: Path) -> None:
    (tree / "train/HS").rename(tree / "train/JA")
    assert (
        len(checks.check(tree).query("problem == 'area contradicts folder' and severity == 'warning'")) == 40
    )
    assert set(scan(tree)["area"]) == {"HS"}


def test_an_unlabelled_mask_is_a_note(tree: Path) -> None:
    rewrite(tree, MASK, np.zeros_like)
    assert ("note", "mask without a label", MASK, 1024) in found(tree)


def test_the_same_image_under_two_names(tree: Path) -> None:
    (tree / "train/HS/imgs/HS16_0.tif").write_bytes((tree / IMAGE).read_bytes())
    row = checks.check(tree).query("problem == 'same image twice'").iloc[0]
    assert (row["severity"], {row["file"], row["detail"].split()[-1]}) == (
        "warning", {IMAGE, "train/HS/imgs/HS16_0.tif"},
    )  # fmt: skip


def flip_labelled(tree: Path, name: str, n: int) -> int:
    """Contradict the class masks on the first ``n`` pixels labelled in 15 and 16; returns their number."""
    before, after = raster(tree / MASK), raster(tree / "train/HS/class/HS16_0.tif")
    labelled = np.flatnonzero((before > 0) & (after > 0))[:n]

    def edit(change: np.ndarray) -> np.ndarray:
        flat = change.ravel()
        flat[labelled] = np.where(flat[labelled] == 0, 1, 0)
        return change

    rewrite(tree, name, edit)
    return len(labelled)


DISGUISES = {
    "turned": lambda image: np.rot90(image, 1, (1, 2)),
    "turned and flipped": lambda image: np.rot90(image, 1, (1, 2))[:, ::-1],
    "upside down": lambda image: image[:, ::-1, ::-1],
    "brighter by 1": lambda image: np.minimum(image, 254) + 1,
    "gains": lambda image: np.clip(image * np.array([1.1, 0.9, 1.2, 1.05])[:, None, None], 0, 255),
    "resampled": lambda image: np.kron(image[:, ::2, ::2], np.ones((1, 2, 2))),
    "half a pixel": lambda image: (image.astype(float) + np.roll(image, (1, 1), (1, 2))) / 2,
    "bands": lambda image: image[[2, 0, 3, 1]],
    "noisy": lambda image: image + (np.random.default_rng(0).random(image.shape[1:]) < 0.02),
}


@pytest.fixture(scope="module")
def wide_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HS, three dates, 2 x 2 half-overlapping sites of 64 px in train and in test."""
    return write_tree(tmp_path_factory.mktemp("wide"), size=64, rows=2, columns=2)


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_patch_in_disguise_is_found(wide_tree: Path, tmp_path: Path, disguise: str) -> None:
    root = Path(shutil.copytree(wide_tree, tmp_path / "tree"))
    image = raster(root / "train/HS/imgs/HS15_0.tif")
    write_raster(root / "test/HS/imgs/HS16_2.tif", DISGUISES[disguise](image).astype(np.uint8))
    problems = checks.check(root)
    (row,) = problems[problems["problem"] == "patch again in disguise"].itertuples()
    assert row.file == "test/HS/imgs/HS16_2.tif"
    assert row.detail.startswith("looks like train/HS/imgs/HS15_0.tif")
    turned = disguise in ("turned", "turned and flipped", "upside down")
    assert ("turned or flipped" in row.detail) == turned
    assert not checks.check(wide_tree)["problem"].isin(checks.COPIES).any()


def test_ground_of_another_date_under_another_name_is_found(wide_tree: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(wide_tree, tmp_path / "tree"))
    for kind in ("imgs", "class"):
        shutil.copy(root / f"train/HS/{kind}/HS18_0.tif", root / f"test/HS/{kind}/HS15_2.tif")
        (root / f"train/HS/{kind}/HS18_0.tif").unlink()
    problems = checks.check(root)
    (row,) = problems[problems["problem"] == "same ground at another date"].itertuples()
    assert row.file == "test/HS/imgs/HS15_2.tif"
    assert row.detail.startswith("looks like train/HS/imgs/HS1")


def test_looks_of_many_images_are_compared_in_little_time() -> None:
    rng = np.random.default_rng(0)
    looks = rng.standard_normal((2000, 10, 10)).astype(np.float32)
    looks /= np.linalg.norm(looks, axis=(1, 2), keepdims=True)
    looks[1999] = looks[3].T
    start = time.process_time()
    assert [pair[:2] for pair in checks._alike(looks)] == [(3, 1999)]
    assert time.process_time() - start < 5


def test_few_contradictory_pixels_are_counted_in_a_note(tree: Path) -> None:
    assert flip_labelled(tree, BCD, 5) == 5
    contradictions = {row for row in found(tree) if "contradicts" in row[1]}
    assert contradictions == {
        ("note", "BCD contradicts the class masks", BCD, 5),
        ("note", "SCD contradicts BCD", SCD, 5),
    }


def test_a_wrong_bcd_mask_is_a_warning(tree: Path) -> None:
    n = flip_labelled(tree, BCD, 10_000)
    assert n > 500
    assert ("warning", "BCD contradicts the class masks", BCD, n) in found(tree)


def test_unlabelled_ground_cannot_contradict(tree: Path) -> None:
    before, after = raster(tree / MASK), raster(tree / "train/HS/class/HS16_0.tif")
    unlabelled = (before == 0) | (after == 0)
    assert unlabelled.sum() > 20
    for name in (BCD, SCD):
        rewrite(tree, name, lambda a: np.where(unlabelled, np.uint8(1 if a.max() < 2 else 120), a))
    assert not {row for row in found(tree) if row[1].endswith("contradicts the class masks")}


def test_an_scd_mask_with_another_code_book_is_a_warning(clean_tree: Path, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "t")
    scd = raster(tree / SCD)
    n = int((scd > 0).sum())
    assert n > 30
    rewrite(tree, SCD, lambda a: np.where(a > 0, np.uint8(99), np.uint8(0)))
    rows = {row for row in found(tree) if "contradicts" in row[1]}
    assert rows == {("warning", "SCD contradicts the class masks", SCD, n)}


def permute_bands(tree: Path, order: list[int]) -> None:
    for path in tree.rglob("imgs/*.tif"):
        write_raster(path, raster(path)[order])


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ([0, 1, 3, 2], {"not the highest band over Woodland", "not the lowest band over River"}),
        ([3, 2, 1, 0], {"not the highest band over Woodland", "not the lowest band over River"}),
        ([2, 1, 0, 3], {"red minus blue is lower over soil"}),
    ],
)
def test_another_band_order_is_a_warning(tree: Path, order: list[int], words: set[str]) -> None:
    permute_bands(tree, order)
    details = checks.check(tree).query("problem == 'band order' and severity == 'warning'")["detail"].tolist()
    assert all(any(word in detail for detail in details) for word in words)
    assert all("HS15: blue" in detail for detail in details)


def test_band_order_is_not_judged_without_woodland_and_water(tree: Path) -> None:
    for path in tree.rglob("class/*.tif"):
        write_raster(path, np.where(np.isin(raster(path), (6, 8, 9)), np.uint8(1), raster(path)))
    rows = checks.check(tree).query("problem == 'band order'")
    assert rows["severity"].tolist() == ["note"]


def test_every_file_is_read_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    original = rasterio.open
    monkeypatch.setattr(
        rasterio, "open", lambda path, *a, **k: (opened.append(str(path)), original(path, *a, **k))[1]
    )
    checks.check(tree)
    assert sorted(opened) == sorted(str(p.resolve()) for p in tree.rglob("*.tif"))


def test_real_imagery_has_no_errors(naip_wv: Path) -> None:
    problems = checks.check(naip_wv)
    assert problems["severity"].tolist() == ["warning", "note", "note"]
    assert problems["problem"].tolist() == ["band order", "no masks for a date", "no masks for a date"]
    checks.refuse(problems)


def test_refusing_takes_any_table_of_problems() -> None:
    empty = pd.DataFrame([], columns=["severity", "problem", "file", "detail", "count"])
    checks.refuse(empty)
