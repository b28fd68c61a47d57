"""The mini city: WUSU's layout to the letter, reproducible, and statistically like the real thing."""

import hashlib
import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from wusu_lib import legend
from wusu_lib.synthetic import demo, demo_city, history, layout, optics, planted, scene, tree, write
from wusu_lib.synthetic.acquisition import ACQUISITIONS
from wusu_lib.synthetic.frame import Frame

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{NotGeoreferencedWarning.__module__}.NotGeoreferencedWarning"
)

ROWS, COLS, SIZE, STRIDE = 8, 6, 128, 64
AREAS, DATES, SPLITS = ("HS", "JA"), (15, 16, 18), ("train", "test")
TINY = {"patch_size": 64, "rows": 3, "cols": 2}


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


def tiles(root: Path, split: str, area: str, folder: str, dates: str) -> np.ndarray:
    """All patches of one split, area and date: [ROWS, COLS, C, SIZE, SIZE]."""
    files = [root / split / area / folder / f"{area}{dates}_{k}.tif" for k in range(ROWS * COLS)]
    return np.stack([read(f) for f in files]).reshape(ROWS, COLS, -1, SIZE, SIZE)


def mosaic(stack: np.ndarray) -> np.ndarray:
    """Half a scene [H, W] from its overlapping patches [ROWS, COLS, SIZE, SIZE]: each pixel once."""
    half = np.zeros(((ROWS + 1) * STRIDE, (COLS + 1) * STRIDE), dtype=stack.dtype)
    for row, col in itertools.product(range(ROWS), range(COLS)):
        y, x = row * STRIDE, col * STRIDE
        half[y : y + SIZE, x : x + SIZE] = stack[row, col]
    return half


def digests(root: Path) -> dict[str, str]:
    files = sorted(f for f in root.rglob("*") if f.is_file())
    return {str(f.relative_to(root)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The demo city in a cache of its own, and the processor time it took."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WUSU_CACHE", str(tmp_path_factory.mktemp("cache")))
        start = time.process_time()
        root = demo_city()
        seconds = time.process_time() - start
        assert demo_city() == root
    return root, seconds


@pytest.fixture(scope="module")
def city(made: tuple[Path, float]) -> Path:
    return made[0]


@pytest.fixture(scope="module")
def images(city: Path) -> dict[tuple[str, str, int], np.ndarray]:
    keys = itertools.product(SPLITS, AREAS, DATES)
    return {(s, a, d): tiles(city, s, a, "imgs", str(d)) for s, a, d in keys}


@pytest.fixture(scope="module")
def classes(city: Path) -> dict[tuple[str, str, int], np.ndarray]:
    """Class index, [ROWS, COLS, SIZE, SIZE] by (split, area, date)."""
    keys = itertools.product(SPLITS, AREAS, DATES)
    return {
        (s, a, d): legend.index_from_code(tiles(city, s, a, "class", str(d))[:, :, 0]) for s, a, d in keys
    }


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


def test_history_takes_plausible_steps_only() -> None:
    plan = layout.plan((1152, 896), 0.4, np.random.default_rng(0))
    before, between, after = history.unfold(plan, np.random.default_rng(1))
    steps = [(a[k], b[k]) for a, b in ((before, between), (between, after)) for k in a if a[k] != b[k]]
    assert len(steps) > 10
    assert all(new in history.NEXT[old] for old, new in steps)


def test_frame_inverts() -> None:
    frame = Frame(0.42, 7.0, 430.0, (1.0, 2.0))
    y, x = np.meshgrid(np.linspace(0, 6400, 9), np.linspace(0, 6656, 9))
    back_y, back_x = frame.yx(*frame.uv(y, x))
    np.testing.assert_allclose(back_y, y, atol=0.01)
    np.testing.assert_allclose(back_x, x, atol=0.01)


def test_shadow_falls_away_from_the_sun() -> None:
    """Sun in the south at 45 degrees: a post of 10 m darkens 10 px to the north of it, and nothing else."""
    south = replace(ACQUISITIONS["HS", 15], sun_azimuth=180.0, sun_elevation=45.0)
    height = np.zeros((40, 9), dtype=np.uint8)
    height[30, 4] = 10
    dark = optics.shadows(height, south)
    assert np.argwhere(dark).tolist() == [[y, 4] for y in range(20, 30)]


def test_dates_are_registered_to_less_than_a_pixel() -> None:
    """The blur moves a point by the date's shift, and by less than one pixel."""
    point = np.zeros((1, 21, 21), dtype=np.float32)
    point[0, 10, 10] = 1
    for acquisition in ACQUISITIONS.values():
        seen = optics.blur(point, acquisition.shift)[0]
        y, x = (float((seen * grid).sum() / seen.sum()) - 10 for grid in np.mgrid[:21, :21])
        assert np.hypot(y, x) < 1
        # correlation looks the shift up, so the point moves against it
        assert (-y, -x) == pytest.approx(acquisition.shift, abs=0.02)


def test_nir_has_no_detail_of_its_own_below_4_m() -> None:
    """A pattern that only NIR has at 1 m comes back through the panchromatic band, and so in all bands."""
    bands = np.full((4, 64, 64), 0.2, dtype=np.float32)
    bands[3, :, ::2] += 0.2
    sharp = optics.pan_sharpen(bands)[:, 8:-8, 8:-8]
    contrast = (sharp.max(axis=(1, 2)) - sharp.min(axis=(1, 2))) / sharp.mean(axis=(1, 2))
    np.testing.assert_allclose(contrast, contrast[0], rtol=0.02)
    assert contrast[3] < 0.3  # 0.67 before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patch_size": 127}, "patch_size: got 127"),
        ({"patch_size": 8}, "at least 16"),
        ({"rows": 0}, "rows, cols: got 0, 2"),
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
    monkeypatch.setattr(demo, "ARGUMENTS", {"seed": 1, "areas": ("HS",), **TINY})
    return tmp_path


def test_two_askers_write_once(tiny_demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real = [], tree.write

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
    monkeypatch.setitem(demo.ARGUMENTS, "seed", 2)
    assert demo_city() != first


def test_every_use_can_be_drawn() -> None:
    used = {use for alike in layout.MANDATORY for use in alike} | set(layout.REST)
    used |= {use for following in history.NEXT.values() for use in following}
    assert used <= set(scene.DRAWERS)
    assert set(history.NEXT) <= set(scene.DRAWERS)
