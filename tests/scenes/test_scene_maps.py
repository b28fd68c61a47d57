"""Maps of scenes as files: what is in them, what GDAL makes of them, and what is refused."""

import struct

import numpy as np
import pytest
import rasterio
from gdal_info import gdal_info
from small_scenes import Local, noise, predictor, read, write_scene

from wusu_lib import legend, transitions
from wusu_lib.change import decoding
from wusu_lib.legend import LabelSpace
from wusu_lib.scenes import maps, rasters
from wusu_lib.scenes.sweep import Tiling, decide

SIZE = (700, 1100)  # more than a tile of 512 px, so that there are overviews


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two dates, the second half a pixel aside, with a corner of the first without data."""
    folder = tmp_path_factory.mktemp("images")
    first = noise(*SIZE)
    first[:, :40, :50] = 0
    return (
        write_scene(folder / "a.tif", first, nodata=0),
        write_scene(folder / "b.tif", noise(*SIZE, 1), origin=(500_000.5, 3_000_000.0)),
    )


@pytest.fixture(scope="module")
def made(images, tmp_path_factory):
    return maps.change_map(
        predictor(), *images, tmp_path_factory.mktemp("maps"), tiling=Tiling(256, 32, 4), tolerance=1
    )


def test_the_maps_agree_with_each_other(made):
    codes = [read(path) for path in (made.t1, made.t2)]
    before, after = (legend.index_from_code(code) for code in codes)
    labels, confidence = read(made.fromto), read(made.confidence)
    assert before.shape == SIZE == labels.shape
    np.testing.assert_array_equal(
        labels, decoding.drop_slivers(transitions.from_to(before, after), before, after, 1)
    )
    np.testing.assert_array_equal(labels == 255, (before == 0) | (after == 0))
    np.testing.assert_array_equal(confidence == 0, labels == 255)
    assert (before[:40, :50] == 0).all()
    assert (before == 0).mean() < 0.01
    values, numbers = np.unique(labels, return_counts=True)
    assert made.record["pixels"] == {
        str(v): n for v, n in zip(values.tolist(), numbers.tolist(), strict=True)
    }


def first_bytes(path) -> list[tuple[int, list[int]]]:
    """Of each directory of a TIFF in the file's order: where it stands and where its tiles begin."""
    data = path.read_bytes()
    assert data[:4] == b"II*\0"
    place, found = struct.unpack_from("<I", data, 4)[0], []
    while place:
        number = struct.unpack_from("<H", data, place)[0]
        entries = [struct.unpack_from("<HHII", data, place + 2 + 12 * k) for k in range(number)]
        _, kind, count, value = next(entry for entry in entries if entry[0] == 324)  # TileOffsets
        assert kind == 4
        tiles = [value] if count == 1 else list(struct.unpack_from(f"<{count}I", data, value))
        found.append((place, [tile for tile in tiles if tile]))
        place = struct.unpack_from("<I", data, place + 2 + 12 * number)[0]
    return found


@pytest.mark.parametrize("name", ["t1", "t2", "fromto", "confidence"])
def test_they_are_cloud_optimised(name, made):
    path = getattr(made, name)
    with rasterio.open(path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.block_shapes == [(512, 512)]
        assert file.overviews(1) == [2, 4][: len(file.overviews(1))] != []
        assert file.nodata == (255 if name == "fromto" else 0)
        assert file.crs.to_epsg() == 32650
    directories = first_bytes(path)
    assert len(directories) > 1
    assert max(place for place, _ in directories) < min(min(tiles) for _, tiles in directories)
    starts = [min(tiles) for _, tiles in directories]
    assert starts == sorted(starts, reverse=True)  # the smallest overview's pixels come first


def test_gdal_reads_names_and_colours(made):
    report = gdal_info(made.fromto)
    assert "Low building to Excavation" in report
    assert "0: Unchanged" in report
    assert "255: Unlabelled" in report
    assert "Color Table (RGB with 256 entries)" in report
    assert "<GDALRasterAttributeTable" in report
    assert "Lake" in gdal_info(made.t1)
    assert "Scale:" in gdal_info(made.confidence)
    with rasterio.open(made.fromto) as file:
        table = file.colormap(1)
    expected = transitions.colour_table()
    assert [table[value][:3] for value in range(111)] == [tuple(rgb) for rgb in expected[:111].tolist()]


def test_the_same_maps_again_take_no_work(made, images):
    before = {file.name: file.stat().st_mtime_ns for file in made.folder.iterdir()}
    model = predictor()
    model.model = broken(model.model)
    again = maps.change_map(model, *images, made.folder, tiling=Tiling(256, 32, 4), tolerance=1)
    assert again.record == made.record
    assert {file.name: file.stat().st_mtime_ns for file in made.folder.iterdir()} == before
    with pytest.raises(RuntimeError, match="asked"):  # another tiling is another map
        maps.change_map(model, *images, made.folder, tiling=Tiling(256, 64, 4), tolerance=1)
    with pytest.raises(ValueError, match="no complete maps"):
        _ = made.record


def broken(model):
    def forward(images):
        raise RuntimeError("the model was asked")

    model.forward = forward
    return model


def test_of_merged_classes_the_first_code_stands_for_both(tmp_path, images):
    made = maps.change_map(predictor(labels=LabelSpace("class", "merged")), *images, tmp_path / "merged")
    codes = read(made.t1)
    assert codes.shape == SIZE
    assert not np.isin(codes, [3, 5, 9]).any()
    assert "2: Building" in gdal_info(made.t1)


def test_cleaning_by_squares_is_cleaning_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(maps, "SQUARE", 64)
    rng = np.random.default_rng(0)
    coarse = [np.kron(rng.integers(0, 12, (40, 50)), np.ones((6, 6))).astype(np.uint8) for _ in range(2)]
    before, after = (np.where(rng.random(c.shape) < 0.1, 3, c).astype(np.uint8) for c in coarse)
    wanted = maps.Cleaning(2, {"High building": 60, "Road": 45, "Lake": 5})

    class Whole:
        """In place of a store: the two maps in memory."""

        class job:  # noqa: N801
            grid = rasters.Grid("", (1, 0, 0, 0, -1, 0), *before.shape)

        @staticmethod
        def read(channel, top, left, height, width):
            return (before, after)[channel][top : top + height, left : left + width]

    found = np.zeros_like(before)
    for top, left, height, width in squares(*before.shape):
        found[top : top + height, left : left + width] = maps.cleaned_changes(
            Whole, wanted, top, left, height, width
        )
    labels = decoding.drop_slivers(transitions.from_to(before, after), before, after, wanted.tolerance)
    np.testing.assert_array_equal(found, decoding.drop_small(labels, wanted.smallest))
    assert (found != transitions.from_to(before, after)).mean() > 0.01


def squares(height, width, side=64):
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield top, left, min(side, height - top), min(side, width - left)


def test_a_prior_decides_on_both_dates_together():
    rng = np.random.default_rng(1)
    likely = rng.dirichlet(np.full(11, 0.3), (2, 30, 40)).transpose(0, 3, 1, 2).astype(np.float32)
    valid = np.ones((2, 30, 40), dtype=bool)
    valid[1, 5] = False
    counts = rng.integers(1, 9, (12, 12)) + 200 * np.eye(12, dtype=int)
    prior = decoding.learn_prior([counts])
    found = decide(likely, valid, range(1, 12), prior)
    both = valid.all(axis=0)
    np.testing.assert_array_equal(found[:2, both], decoding.decode(likely, prior)[:, both])
    assert (found[0, 5] == likely[0].argmax(axis=0)[5] + 1).all()
    assert (found[1:, 5] == 0).all()
    joint = likely[0][:, None] * likely[1][None] * np.exp(prior.ratio[0])[..., None, None]
    a, b = found[0].astype(int) - 1, np.maximum(found[1].astype(int) - 1, 0)
    rows, columns = np.indices(a.shape)
    share = joint[a, b, rows, columns] / joint.sum(axis=(0, 1))
    assert np.abs(found[2].astype(int) - np.maximum(np.rint(255 * share), 1))[both].max() <= 1
    plain = decide(likely, valid, range(1, 12))
    product = np.rint(255 * likely.max(axis=1).prod(axis=0))
    assert np.abs(plain[2].astype(int) - np.maximum(product, 1))[both].max() <= 1
    assert (plain[0] == plain[1])[both].mean() < (found[0] == found[1])[both].mean()


def test_mistakes_are_named_before_any_work(tmp_path, images):
    model = predictor()
    model.model = broken(model.model)
    with pytest.raises(ValueError, match="same image"):
        maps.change_map(model, images[0], images[0], tmp_path / "x")
    copy = tmp_path / "copy.tif"
    copy.write_bytes(images[0].read_bytes())
    with pytest.raises(ValueError, match="same image"):
        maps.change_map(model, images[0], copy, tmp_path / "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="nothing can be written there"):
        maps.change_map(model, *images, tmp_path / "file")
    with pytest.raises(ValueError, match="engine: got 'dask'; allowed: local, ray"):
        maps.change_map(model, *images, tmp_path / "x", engine="dask")
    with pytest.raises(ValueError, match="couples 3 dates; expected 2"):
        maps.change_map(model, *images, tmp_path / "x", prior=decoding.learn_prior([np.ones((12, 12))] * 2))
    with pytest.raises(ValueError, match="expected at most 4096"):
        maps.change_map(model, *images, tmp_path / "x", smallest=5000)
    with pytest.raises(ValueError, match="unknown classes"):
        maps.change_map(model, *images, tmp_path / "x", smallest={"Castle": 5})


def test_a_pair_smaller_than_a_window(tmp_path):
    paths = [write_scene(tmp_path / f"{n}.tif", noise(30, 20, n), crs=None) for n in range(2)]
    made = maps.change_map(predictor(Local), *paths, tmp_path / "out")
    assert read(made.fromto).shape == (30, 20)
    assert read(made.fromto).max() < 111


def test_merged_classes_have_one_palette_in_the_files():
    labels = [transitions.NAMES.index(f"Arable land to {name}") for name in ("Low building", "High building")]
    merged = LabelSpace("ignore", "merged")
    style = rasters.change_style(merged)
    assert [style.colours[label].tolist() for label in labels] == [[169, 68, 13]] * 2
    assert style.names[labels[0]] == "Arable land to Building"
    building = legend.CODES[legend.NAMES.index("Low building")]
    assert rasters.class_style(merged).colours[building].tolist() == [
        0x94,
        0x1B,
        0x0C,
    ]
