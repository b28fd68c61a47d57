"""What the values of masks mean: unlabelled ground, whole-number types, class_mapping.json."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from small_tree import write_raster

from wusu_lib import imagery, legend
from wusu_lib.change import codebook
from wusu_lib.data import checks, inspection
from wusu_lib.data.loading import PatchDataset
from wusu_lib.data.masks import LEGEND, ClassMask, coding_of, read_change, read_index
from wusu_lib.data.statistics import measure
from wusu_lib.data.tree import fingerprint, scan, scan_changes

MASK = "train/HS/class/HS15_0.tif"
CODES = np.array([[[0, 1, 2, 255], [3, 4, 6, 7], [8, 9, 10, 11], [12, 12, 255, 1]]], np.uint8)
INDEX = [[0, 1, 2, 0], [3, 4, 5, 6], [7, 8, 9, 10], [11, 11, 0, 1]]  # of CODES, 255 unlabelled


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mask.tif"


def test_declared_nodata_is_unlabelled(path: Path) -> None:
    write_raster(path, CODES, nodata=255)
    assert read_index(path).tolist() == INDEX


def test_what_a_mask_of_the_mask_hides_is_unlabelled(path: Path) -> None:
    write_raster(path, np.where(CODES == 255, np.uint8(1), CODES))
    with rasterio.open(path, "r+") as file:
        file.write_mask(CODES[0] != 255)
    assert read_index(path).tolist() == INDEX


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.int32, np.uint32])
def test_any_whole_number_type_is_read(path: Path, dtype: type) -> None:
    codes = CODES.astype(np.int32)
    codes[codes == 255] = -1 if np.iinfo(dtype).min else 77
    write_raster(path, codes.astype(dtype), nodata=int(codes[0, 0, 3]))
    assert read_index(path).tolist() == INDEX


def test_fractions_are_no_codes(path: Path) -> None:
    write_raster(path, CODES.astype(np.float32), nodata=255)
    with pytest.raises(ValueError, match=r"mask.tif: expected whole numbers \(uint8\), got float32"):
        read_index(path)


def test_a_class_declared_as_nodata_is_refused(path: Path) -> None:
    write_raster(path, np.where(CODES == 255, np.uint8(0), CODES), nodata=12)
    with pytest.raises(ValueError, match="declares 12 as nodata, which is the code of Bare surface; remove"):
        read_index(path)


def mark_unlabelled(tree: Path, code: int = 255, **options: object) -> None:
    """Write the tree's class masks with another code for unlabelled ground."""
    for file in tree.rglob("class/*.tif"):
        mask = imagery.read(file).astype(np.int16 if code < 0 else np.uint8)
        write_raster(file, np.where(mask == 0, mask.dtype.type(code), mask), **options)


def test_255_undeclared_is_one_error_that_says_how_to_map_it(tree: Path) -> None:
    mark_unlabelled(tree)
    with pytest.raises(ValueError, match="would spoil training") as refusal:
        checks.refuse(inspection.inspect(tree).problems)
    (line,) = str(refusal.value).splitlines()[1:]
    names = ", ".join(f"test/HS/class/HS15_{n}.tif" for n in (0, 1, 2))
    assert line.startswith(f"  unknown class code 255 in 24 files: {names} and 21 more (the first: on ")
    assert line.endswith(
        "known: [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]. If it marks ground without a label, say so: "
        "-p unlabelled 255)"
    )


@pytest.mark.parametrize(
    ("code", "options", "given"),
    [(255, {}, 255), (255, {"nodata": 255}, None), (-1, {}, -1), (-9999, {"nodata": -9999}, None)],
)
def test_another_code_for_unlabelled_gives_what_0_gives(
    tree: Path, code: int, options: dict, given: int | None
) -> None:
    plain = inspection.inspect(tree)
    classes = measure(plain.table).classes
    transitions = codebook.cross_tabulate(plain.table, plain.changes)
    mark_unlabelled(tree, code, **options)
    mapped = inspection.inspect(tree, given)
    checks.refuse(mapped.problems)
    np.testing.assert_array_equal(measure(mapped.table).classes, classes)
    np.testing.assert_array_equal(codebook.cross_tabulate(mapped.table, mapped.changes), transitions)
    sample = PatchDataset(mapped.table, [0.3] * 4, [0.2] * 4)[0]
    assert set(sample["mask"].unique().tolist()) <= {*range(11), 255}
    assert mapped.fingerprint != plain.fingerprint


def test_the_parameter_is_part_of_the_fingerprint(tree: Path) -> None:
    marks = [fingerprint(scan(tree, code)) for code in (None, 0, 255, 254)]
    assert marks[0] == marks[1]  # 0 is unlabelled anyway
    assert len(set(marks)) == 3
    assert inspection.inspect(tree, 255).fingerprint == marks[2]


def test_a_class_s_code_cannot_be_unlabelled(tree: Path) -> None:
    with pytest.raises(ValueError, match="unlabelled: got 12, which is the code of Bare surface"):
        inspection.inspect(tree, 12)


def test_a_nodata_value_declared_beside_the_mask_changes_the_fingerprint(tree: Path) -> None:
    before = fingerprint(scan(tree))
    note = tree / f"{MASK}.aux.xml"
    note.write_text("<PAMDataset><Metadata><MDI key='STATISTICS_MEAN'>3</MDI></Metadata></PAMDataset>")
    assert fingerprint(scan(tree)) == before
    note.write_text(
        "<PAMDataset><PAMRasterBand band='1'><NoDataValue>1</NoDataValue></PAMRasterBand></PAMDataset>"
    )
    assert fingerprint(scan(tree)) != before
    assert "name not understood" not in set(checks.check(tree)["problem"])


# class_mapping.json with the codes 1 to 11 without a gap, as another export numbers the classes.
GAPLESS = {name: number for number, name in enumerate(legend.NAMES[1:], start=1)}


def renumber(tree: Path, code_of_name: dict[str, int]) -> None:
    """Write the tree's class masks with other codes."""
    table = np.zeros(256, np.uint8)
    for land_class in legend.CLASSES:
        table[land_class.code] = code_of_name[land_class.name]
    for file in tree.rglob("class/*.tif"):
        write_raster(file, table[imagery.read(file)])


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(GAPLESS).encode(),
        json.dumps(GAPLESS).encode("utf-8-sig"),
        json.dumps(GAPLESS).encode("utf-16"),
        json.dumps({name.upper().replace(" ", "_"): code for name, code in GAPLESS.items()}).encode(),
        json.dumps({str(code): name for name, code in GAPLESS.items()}).encode(),
        json.dumps({name: str(code) for name, code in GAPLESS.items()} | {"Background": "0"}).encode(),
    ],
    ids=["plain", "byte order mark", "UTF-16", "underscores", "the other way", "codes as text"],
)
def test_other_codes_are_honoured(tree: Path, text: bytes) -> None:
    before = {row.patch: read_index(row.mask) for row in scan(tree).itertuples()}
    plain = fingerprint(scan(tree))
    renumber(tree, GAPLESS)
    (tree / "class_mapping.json").write_bytes(text)
    found = inspection.inspect(tree)
    checks.refuse(found.problems)
    for row in found.table.itertuples():
        np.testing.assert_array_equal(read_index(row.mask), before[row.patch])
    assert found.fingerprint != plain
    row = found.problems.query("file == 'class_mapping.json'").iloc[0]
    assert (row["severity"], row["count"]) == ("note", 7)
    assert row["detail"].startswith(
        "the class masks are read by it: Woodland 5 (6 in the legend), Grassland 6 (7 in the legend), "
    )


def test_exchanged_codes_exchange_the_classes(tree: Path) -> None:
    (tree / "class_mapping.json").write_text(json.dumps(GAPLESS | {"Road": 2, "Low building": 1}))
    write_raster(tree / MASK, np.array([[[1, 2, 11, 0]]], np.uint8))
    mask = scan(tree).set_index("patch").loc["train/HS15_0", "mask"]
    assert [legend.NAMES[i] for i in read_index(mask)[0]] == [
        "Low building",
        "Road",
        "Bare surface",
        "Unlabelled",
    ]


def test_a_mapping_that_agrees_is_the_legend_s(tree: Path) -> None:
    for text in ({"Road": 1, "Woodland": 6}, {"background": 0, "bare_surface": 12}, {}):
        (tree / "class_mapping.json").write_text(json.dumps(text))
        assert coding_of(tree) == LEGEND


def test_a_code_that_a_renumbering_mapping_does_not_name_is_unknown(tree: Path) -> None:
    (tree / "class_mapping.json").write_text(json.dumps({"Road": 1, "Woodland": 5, "Shrub": 7}))
    write_raster(tree / MASK, np.array([[[0, 1, 5, 6, 7, 7]]], np.uint8))
    mask = scan(tree).set_index("patch").loc["train/HS15_0", "mask"]
    with pytest.raises(ValueError, match=r"mask holds codes \[6, 7\]; expected only \[0, 1, 5\]"):
        read_index(mask)
    details = checks.check(tree).query(f"file == '{MASK}' and problem.str.startswith('unknown')")["detail"]
    assert "on 2 pixels (class_mapping.json calls it 'shrub', which is no class here)" in details.iloc[1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1, 2]", "holds a list and no object"),
        ('{"Road": 1', "Expecting"),
        ('{"Road": 1, "road": 2}', "'road' has two codes, 1 and 2"),
        ('{"Road": 1, "Low building": 1}', "code 1 stands for both 'road' and 'Low building'"),
        ('{"Road": "first"}', "'Road' and 'first' are no name with a whole number"),
        ('{"Road": 1.5}', "'Road' and 1.5 are no name with a whole number"),
        ('{"1": 2}', "are no name with a whole number"),
    ],
)
def test_a_mapping_that_cannot_be_understood_is_refused(tree: Path, text: str, reason: str) -> None:
    (tree / "class_mapping.json").write_text(text)
    with pytest.raises(ValueError, match=r"class_mapping.json: .*expected each class with its code") as error:
        inspection.inspect(tree)
    assert reason in str(error.value)
    row = checks.check(tree).query("file == 'class_mapping.json'").iloc[0]
    assert (row["severity"], row["problem"]) == ("error", "class codes not understood")
    assert reason in row["detail"]


def test_a_class_mask_stands_for_its_path_and_travels_to_other_processes() -> None:
    import pickle

    mask = ClassMask("/data/HS15_0.tif", LEGEND.with_unlabelled(255))
    assert Path(mask) == Path("/data/HS15_0.tif")
    assert f"{mask}" == "/data/HS15_0.tif"
    assert pickle.loads(pickle.dumps(mask)) == mask


def test_change_masks_of_another_type_and_with_nodata(path: Path) -> None:
    values = np.array([[[0, 30, -1], [7, 255, 0]]], np.int16)
    write_raster(path, values, nodata=-1)
    found, without = read_change(path)
    assert (found.dtype, found.tolist()) == (np.uint8, [[0, 30, 0], [7, 255, 0]])
    assert without is not None
    assert without.tolist() == [[False, False, True], [False, False, False]]
    write_raster(path, values)
    with pytest.raises(ValueError, match=r"mask.tif: values -1 to 255; expected 0 to 255"):
        read_change(path)


def test_nodata_0_of_a_change_mask_is_a_value(path: Path) -> None:
    write_raster(path, np.array([[[0, 1]]], np.uint8), nodata=0)
    found, without = read_change(path)
    assert found.tolist() == [[0, 1]]
    assert without is None


def test_what_a_change_mask_declares_as_nodata_is_no_evidence(tree: Path) -> None:
    file = tree / "train/HS/change/BCD/HS1516_0.tif"
    table, changes = scan(tree), scan_changes(tree)
    before = codebook.cross_tabulate(table, changes, "bcd")
    values = imagery.read(file)
    values[0, :4] = 9
    write_raster(file, values, nodata=9)
    after = codebook.cross_tabulate(table, changes, "bcd")
    assert after.sum() == before.sum()
    assert after[:-1].sum() == before[:-1].sum() - _labelled(tree, np.s_[:4])
    assert codebook.learn(after, "bcd").require().codes == {0: 0, 1: 1}


def _labelled(tree: Path, rows: slice) -> int:
    """Pixels of some rows of site train/HS_0 that are labelled in 15 and 16."""
    first, second = (imagery.read(tree / f"train/HS/class/HS{date}_0.tif")[0, rows] for date in (15, 16))
    return int(((first > 0) & (second > 0)).sum())
