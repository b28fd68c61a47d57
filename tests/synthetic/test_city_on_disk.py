"""The mini city on disk: WUSU's layout to the letter, the same bytes for the same seed, written once."""

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import rasterio
from city_patches import AREAS, COLS, DATES, ROWS, SIZE, SPLITS, TINY, digests

from wusu_lib import imagery, legend, synthetic
from wusu_lib.data import inspection, splits
from wusu_lib.data.tree import demo_city
from wusu_lib.synthetic import planted, tree, write

# WUSU's files carry no georeference, and neither do these.
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def test_takes_under_20_seconds_of_processor_time(made: tuple[Path, float]) -> None:
    assert made[1] < 20


def test_files_are_wusus_and_no_others(city: Path) -> None:
    expected = {"class_mapping.json", "planted.csv"}
    for split, area, index in itertools.product(SPLITS, AREAS, range(ROWS * COLS)):
        base = f"{split}/{area}"
        expected |= {f"{base}/{k}/{area}{d}_{index}.tif" for k in ("imgs", "class") for d in DATES}
        expected |= {
            f"{base}/change/{k}/{area}{d}_{index}.tif" for k in ("BCD", "SCD") for d in ("1516", "1618")
        }
    found = {f.relative_to(city).as_posix() for f in city.rglob("*") if f.is_file()}
    assert found == expected


@pytest.mark.parametrize(("folder", "name", "bands"), [("imgs", "HS15_0", 4), ("class", "HS15_0", 1)])
def test_format(city: Path, folder: str, name: str, bands: int) -> None:
    with rasterio.open(city / "test/HS" / folder / f"{name}.tif") as file:
        assert file.driver == "GTiff"
        assert file.dtypes == ("uint8",) * bands
        assert file.shape == (SIZE, SIZE)
        assert file.crs is None
        assert file.transform == rasterio.Affine.identity()
        assert file.compression == rasterio.enums.Compression.deflate


def test_class_mapping(city: Path) -> None:
    mapping = json.loads((city / "class_mapping.json").read_text())
    assert mapping["Road"] == 1
    assert mapping["Woodland"] == 6
    assert mapping == {c.name: c.code for c in legend.CLASSES}


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    first, again, other = (
        digests(write(tmp_path / name, seed=seed, areas=("JA",), **TINY))
        for name, seed in (("first", 3), ("again", 3), ("other", 4))
    )
    assert first == again
    assert first.keys() == other.keys()
    assert first["train/JA/imgs/JA15_0.tif"] != other["train/JA/imgs/JA15_0.tif"]


def test_one_area_does_not_depend_on_the_other(tmp_path: Path) -> None:
    alone = digests(write(tmp_path / "alone", areas=("JA",), **TINY))
    both = digests(write(tmp_path / "both", **TINY))
    assert {k: v for k, v in both.items() if "/JA/" in k} == {k: v for k, v in alone.items() if "/JA/" in k}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patch_size": 127}, "patch_size: got 127"),
        ({"patch_size": 8}, "at least 16"),
        ({"rows": 0}, "rows, cols: got 0, 2, 2"),
        ({"cols": (2, 0)}, "rows, cols: got 3, 2, 0"),
        ({"stride": 65}, "stride: got 65; expected 1 to 64"),
        ({"areas": ("HS", "XX")}, "allowed: HS, JA"),
        ({"areas": ()}, "allowed: HS, JA"),
    ],
)
def test_impossible_arguments(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "city", **(TINY | arguments))
    assert not (tmp_path / "city").exists()


def test_never_writes_into_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="new or an empty folder"):
        write(tmp_path, **TINY)


def test_planted_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"planted\.csv"):
        planted(tmp_path)


@pytest.fixture
def tiny_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("WUSU_CACHE", str(tmp_path))
    monkeypatch.setitem(tree.CITIES, "small", {"seed": 1, "areas": ("HS",), **TINY})
    return tmp_path


def test_two_askers_write_once(tiny_demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real = [], synthetic.write

    def counted(*args: object, **kwargs: object) -> Path:
        calls.append(args)
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(tree, "write", counted)
    with ThreadPoolExecutor(2) as pool:
        roots = list(pool.map(lambda _: demo_city(), range(2)))
    assert roots[0] == roots[1]
    assert len(calls) == 1


def test_an_interrupted_writing_leaves_no_city(tiny_demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> pd.DataFrame:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tree, "_write_tables", interrupted)
        with pytest.raises(KeyboardInterrupt):
            demo_city()
    assert not [f for f in tiny_demo.iterdir() if f.is_dir()]
    assert (demo_city() / "class_mapping.json").is_file()


def test_other_arguments_make_another_city(tiny_demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = demo_city()
    monkeypatch.setitem(tree.CITIES["small"], "seed", 2)
    assert demo_city() != first
    monkeypatch.setitem(tree.CITIES, "large", {**tree.CITIES["small"], "cols": 3})
    assert demo_city("large") not in (first, demo_city())


def test_parts_of_other_widths_and_strides_share_no_ground(tmp_path: Path) -> None:
    """Train 1 x 2 and test 1 x 3 patches, 56 px apart: what two neighbours share is 8 px wide."""
    root = write(tmp_path / "city", patch_size=64, rows=1, cols=(2, 3), stride=56, areas=("HS",))
    table = inspection.inspect(root).table
    assert table.groupby("folder")["site"].nunique().to_dict() == {"train": 2, "test": 3}
    read = {(r.folder, r.index): imagery.read(r.image) for r in table[table["date"] == 15].itertuples()}
    for folder, last in (("train", 1), ("test", 2)):
        for i in range(last):
            assert (read[folder, i][..., 56:] == read[folder, i + 1][..., :8]).all()
    assert set(splits.shared_ground(table).pairs["pixels"]) == {8 * 64}
