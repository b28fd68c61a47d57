"""Two dates on one grid: what lies on the same ground comes to the same pixel."""

import dataclasses

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.warp import calculate_default_transform
from rasterio.warp import transform as reproject_points
from small_scenes import UTM, noise, write_scene

from wusu_lib.scenes import rasters

ORIGIN = (500_000.0, 3_000_000.0)


def hills(x, y) -> np.ndarray:
    """Smooth ground as a function of coordinates in UTM: uint8 [4, ...], so that every grid sees the same."""
    x, y = x - ORIGIN[0], y - ORIGIN[1]
    waves = [np.sin(x / 9 + k) * np.cos(y / (11 + k)) for k in range(4)]
    return np.rint(128 + 90 * np.stack(waves)).astype(np.uint8)


def sampled(height, width, origin, pixel=1.0, crs=UTM) -> np.ndarray:
    """The hills at the centres of a grid's pixels."""
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x, y = origin[0] + pixel * columns, origin[1] - pixel * rows
    if crs != UTM:
        moved = np.array(reproject_points(crs, UTM, x.ravel(), y.ravel()))
        x, y = moved.reshape(2, height, width)
    return hills(x, y)


def read(layer, top=0, left=0, height=None, width=None):
    height, width = height or layer.grid.height - top, width or layer.grid.width - left
    with layer.open() as reader:
        return reader.read(top, left, height, width)


def two(tmp_path, second, **options):
    first = write_scene(tmp_path / "a.tif", sampled(120, 150, ORIGIN))
    return first, write_scene(tmp_path / "b.tif", second, **options)


@pytest.mark.parametrize(
    ("shift", "pixel", "size"),
    [((0.5, 0.5), 1.0, (120, 150)), ((-7.3, 3.8), 1.0, (121, 150)), ((0.0, 0.0), 2.0, (60, 75)),
     ((-3.2, 2.1), 0.5, (300, 310))],
)  # fmt: skip
def test_other_grids_show_the_same_ground(shift, pixel, size, tmp_path):
    origin = (ORIGIN[0] + shift[0], ORIGIN[1] + shift[1])
    first, second = two(tmp_path, sampled(*size, origin, pixel), origin=origin, pixel=pixel)
    one, other = rasters.pair(first, second)
    assert other.warped
    assert one.grid == other.grid
    image1, valid1 = read(one)
    image2, valid2 = read(other)
    assert valid1.all()
    assert valid2[2:-2, 2:-2].all()
    difference = np.abs(image1.astype(int) - image2)[:, valid2]
    assert difference.max() < 8  # a shift of one pixel would make 10 to 20
    assert difference.mean() < 1


def test_another_coordinate_system(tmp_path):
    transform, width, height = calculate_default_transform(
        UTM, "EPSG:32651", 200, 200, *(ORIGIN[0] - 20, ORIGIN[1] - 180, ORIGIN[0] + 180, ORIGIN[1] + 20)
    )
    assert transform.a == pytest.approx(-transform.e)
    origin = (transform.c, transform.f)
    image = sampled(height, width, origin, transform.a, "EPSG:32651")
    first, second = two(tmp_path, image, crs="EPSG:32651", origin=origin, pixel=transform.a)
    one, other = rasters.pair(first, second)
    (image1, _), (image2, valid) = read(one), read(other)
    assert valid.mean() > 0.99
    assert np.abs(image1.astype(int) - image2)[:, valid].mean() < 1


def test_windows_of_a_warp_are_parts_of_the_whole(tmp_path):
    origin = (ORIGIN[0] + 0.3, ORIGIN[1] - 0.4)
    layers = rasters.pair(*two(tmp_path, sampled(119, 149, origin), origin=origin))
    whole, valid = read(layers[1])
    part, part_valid = read(layers[1], 30, 40, 50, 60)
    np.testing.assert_array_equal(part, whole[:, 30:80, 40:100])
    np.testing.assert_array_equal(part_valid, valid[30:80, 40:100])


def test_pixels_that_coincide_are_read_as_they_are(tmp_path):
    origin = (ORIGIN[0] + 30, ORIGIN[1] + 10)
    image = sampled(100, 200, origin)
    first, second = two(tmp_path, image, origin=origin)
    one, other = rasters.pair(first, second)
    assert not other.warped
    assert (one.grid.height, one.grid.width) == (90, 120)
    assert one.grid.transform[2::3] == (ORIGIN[0] + 30, ORIGIN[1])
    np.testing.assert_array_equal(read(one)[0], read(other)[0])
    np.testing.assert_array_equal(read(one)[0], image[:, 10:, :120])


def test_a_dark_infrared_pixel_is_data_however_the_band_is_marked(tmp_path):
    image = sampled(120, 150, ORIGIN)
    image[3, 20:40, 20:40] = 0  # GDAL marks the fourth band of such a file as alpha
    origin = (ORIGIN[0] + 0.5, ORIGIN[1])
    first, second = two(tmp_path, image, origin=origin)
    with rasterio.open(second) as file:
        assert file.colorinterp[3] == rasterio.enums.ColorInterp.alpha
    one, other = rasters.pair(second, first)
    assert read(one)[1].all()
    (found, valid) = read(rasters.pair(first, second)[1])
    inside = found[:, 24:36, 24:36]
    assert valid[2:-2, 2:-2].all()
    assert (inside[3] == 0).all()
    np.testing.assert_allclose(inside[:3], image[:3, 24:36, 23:35], atol=20)
    assert other.warped


@pytest.mark.parametrize("kind", ["nodata", "alpha", "mask"])
def test_ground_without_data_stays_so_in_a_warp(kind, tmp_path):
    image = sampled(120, 150, ORIGIN)
    image[:, :50] = 0
    image[0, 100, 100] = 0  # one band alone has the value: data
    path = tmp_path / "b.tif"
    origin = (ORIGIN[0] + 0.5, ORIGIN[1])
    if kind == "alpha":
        cover = np.where(np.arange(120)[:, None] < 50, 0, 255).repeat(150, axis=1).astype(np.uint8)
        write_scene(path, np.concatenate([image, cover[None]]), origin=origin, alpha="yes")
        with rasterio.open(path, "r+") as file:
            file.colorinterp = [*file.colorinterp[:4], rasterio.enums.ColorInterp.alpha]
    else:
        write_scene(path, image, origin=origin, **({"nodata": 0} if kind == "nodata" else {}))
    if kind == "mask":
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
            file.colorinterp = [rasterio.enums.ColorInterp.gray, *[rasterio.enums.ColorInterp.undefined] * 3]
            file.write_mask((np.arange(120)[:, None] >= 50).repeat(150, axis=1))
    first = write_scene(tmp_path / "a.tif", sampled(120, 150, ORIGIN))
    _, valid = read(rasters.pair(first, path)[1])
    assert not valid[:50].any()
    assert valid[51:119, 2:-2].all()
    _, direct = read(rasters.Layer(str(path), rasters.check(path, "image")))
    np.testing.assert_array_equal(direct, (np.arange(120)[:, None] >= 50).repeat(150, axis=1))


def test_without_a_coordinate_system_pixels_count(tmp_path):
    images = [noise(50, 60, n) for n in range(2)]
    paths = [write_scene(tmp_path / f"{n}.tif", image, crs=None) for n, image in enumerate(images)]
    for layer, image in zip(rasters.pair(*paths), images, strict=True):
        np.testing.assert_array_equal(read(layer)[0], image)


def test_pairs_that_cannot_be_compared(tmp_path):
    first = write_scene(tmp_path / "a.tif", noise(50, 60))
    far = write_scene(tmp_path / "far.tif", noise(50, 60), origin=(600_000.0, 3_000_000.0))
    with pytest.raises(
        ValueError, match=r"do not overlap: t1 covers x 500000 to 500060, .*t2 covers x 600000"
    ):
        rasters.pair(first, far)
    elsewhere = write_scene(tmp_path / "elsewhere.tif", noise(50, 60), crs="EPSG:32633")
    with pytest.raises(ValueError, match=r"\(EPSG:32650\).*\(EPSG:32633\)"):
        rasters.pair(first, elsewhere)
    plain = write_scene(tmp_path / "plain.tif", noise(50, 60), crs=None)
    with pytest.raises(ValueError, match="t2 has no coordinate reference system"):
        rasters.pair(first, plain)
    taller = write_scene(tmp_path / "taller.tif", noise(51, 60), crs=None)
    with pytest.raises(ValueError, match="t1 has 50 x 60 px and t2 51 x 60 px"):
        rasters.pair(plain, taller)


def test_images_that_cannot_be_mapped(tmp_path):
    with pytest.raises(FileNotFoundError, match="image: no such file"):
        rasters.check(tmp_path / "none.tif", "image")
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(ValueError, match="not a raster"):
        rasters.check(tmp_path / "text.tif", "image")
    cases = {
        "one band; expected 4 bands.*class map": noise(9, 9)[:1],
        "has 3 bands; expected 4 bands": noise(9, 9)[:3],
        "has 5 bands": np.concatenate([noise(9, 9), noise(9, 9)[:1]]),
        "holds uint16; expected.*gdal_translate -ot Byte -scale": noise(9, 9).astype(np.uint16) * 40,
    }
    for words, array in cases.items():
        path = write_scene(tmp_path / "b.tif", array)
        if len(array) == 5:
            with rasterio.open(path, "r+") as file:
                file.colorinterp = [rasterio.enums.ColorInterp.undefined] * 5
        with pytest.raises(ValueError, match=words):
            rasters.check(path, "image")


def test_a_rotated_grid_is_cut_where_both_lie(tmp_path):
    first = write_scene(tmp_path / "a.tif", noise(60, 60))
    path = write_scene(tmp_path / "b.tif", noise(60, 60, 1))
    with rasterio.open(path, "r+") as file:
        file.transform = Affine(0.866, 0.5, 500_020, 0.5, -0.866, 2_999_980)
    one, other = rasters.pair(first, path)
    assert one.grid.width < 60
    _, valid = read(other)
    assert 0.3 < valid.mean() < 1


def test_gdal_has_nothing_to_complain_of_and_uncovered_ground_is_no_data(tmp_path, caplog):
    """With a nodata value, and where the second image covers only a part of the first's window."""
    origin = (ORIGIN[0] + 40.5, ORIGIN[1] - 30.5)
    first, second = two(tmp_path, sampled(120, 150, origin), origin=origin, nodata=0)
    _, other = rasters.pair(first, second)
    grown = dataclasses.replace(other, grid=dataclasses.replace(other.grid, width=200, height=200))
    image, valid = read(grown)
    assert not caplog.records
    assert valid[2:80, 2:100].all()
    assert not valid[130:].any()
    assert not image[:, ~valid].any()
