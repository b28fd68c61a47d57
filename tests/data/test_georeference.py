"""Files that say where they lie or what their bands are: what contradicts the tree is told, in one row."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from small_tree import write_raster

from wusu_lib import imagery
from wusu_lib.data import checks

IMAGE = "train/HS/imgs/HS15_0.tif"
MASK = "train/HS/class/HS15_0.tif"
HERE = Affine(1, 0, 500_000, 0, -1, 3_400_000)
LOCAL = 'LOCAL_CS["site grid",UNIT["metre",1]]'
KINDS = (
    "dates lie apart", "not rectified", "dates on other grids", "coordinate systems differ",
    "pixels of another size", "bands marked in another order", "black collar", "image and mask lie apart",
    "bands in another order", "alpha instead of near infrared",
)  # fmt: skip


def found(tree: Path) -> pd.DataFrame:
    problems = checks.check(tree)
    return problems[problems["problem"].isin(KINDS)].reset_index(drop=True)


def rows(tree: Path) -> list[tuple]:
    """Severity, problem, file and count of what the files say of themselves."""
    return list(found(tree)[["severity", "problem", "file", "count"]].itertuples(index=False, name=None))


def place(tree: Path, pattern: str, **options: object) -> None:
    """Write files again with a place of their own."""
    for path in sorted(tree.glob(pattern)):
        write_raster(path, imagery.read(path), **options)


def edit(tree: Path, pattern: str, **attributes: object) -> None:
    """Set attributes of files' datasets: descriptions, colorinterp, gcps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        for path in sorted(tree.glob(pattern)):
            with rasterio.open(path, "r+") as file:
                for name, value in attributes.items():
                    setattr(file, name, value)


def test_a_tree_that_says_nothing_has_nothing_to_be_told(tree: Path) -> None:
    assert rows(tree) == []


def test_a_tree_that_is_placed_alike_has_nothing_to_be_told(tree: Path) -> None:
    place(tree, "*/HS/*/*.tif", crs="EPSG:32650", transform=HERE)
    assert rows(tree) == []
    place(tree, "*/HS/class/*.tif")  # masks often lose their place
    assert rows(tree) == []


@pytest.mark.parametrize("crs", ["EPSG:32650", None])
def test_a_mask_elsewhere_than_its_image_is_refused(tree: Path, crs: str | None) -> None:
    place(tree, "*/HS/*/*.tif", crs=crs, transform=HERE)
    place(tree, MASK, crs=crs, transform=HERE @ Affine.translation(30, 40))
    assert rows(tree) == [("error", "image and mask lie apart", IMAGE, 1)]
    assert "by 50 pixels" in found(tree)["detail"][0]
    with pytest.raises(ValueError, match="image and mask lie apart"):
        checks.refuse(checks.check(tree))


def test_a_pixel_s_corner_or_centre_is_no_other_place(tree: Path) -> None:
    place(tree, "*/HS/*/*.tif", crs="EPSG:32650", transform=HERE)
    place(tree, MASK, crs="EPSG:32650", transform=HERE @ Affine.translation(0.3, 0.4))
    assert rows(tree) == []


@pytest.mark.parametrize("crs", ["EPSG:32650", None])
def test_dates_of_a_site_on_other_ground_are_refused(tree: Path, crs: str | None) -> None:
    place(tree, "*/HS/*/*.tif", crs=crs, transform=HERE)
    place(tree, "train/HS/*/HS18_0.tif", crs=crs, transform=HERE @ Affine.translation(8000, 0))
    assert rows(tree) == [("error", "dates lie apart", IMAGE, 1)]
    assert found(tree)["detail"][0] == (
        "2018 lies 8e+03 pixels from 2015, by the transforms: other ground under the same name"
    )


def test_dates_on_other_grids_are_a_warning_in_one_row(tree: Path) -> None:
    place(tree, "*/HS/*/*.tif", crs="EPSG:32650", transform=HERE)
    place(tree, "*/HS/*/HS16_*.tif", crs="EPSG:32650", transform=HERE @ Affine.translation(0, 2))
    assert rows(tree) == [("warning", "dates on other grids", "test/HS/imgs/HS15_0.tif", 8)]
    assert found(tree)["detail"][0] == (
        "2016 lies 2 pixels from 2015, by the transforms; change is told pixel by pixel; and 7 more files"
    )


@pytest.mark.parametrize(("crs", "name"), [(LOCAL, "a local system"), (None, "none"), ("EPSG:4547",) * 2])
def test_another_coordinate_system_in_one_of_two_is_a_warning(tree: Path, crs: str | None, name: str) -> None:
    place(tree, "*/HS/*/*.tif", crs="EPSG:32650", transform=HERE)
    place(tree, MASK, crs=crs, transform=HERE)
    assert rows(tree) == [("warning", "coordinate systems differ", IMAGE, 1)]
    assert found(tree)["detail"][0].startswith(f"image: EPSG:32650, class mask: {name}; whether they lie on")
    place(tree, MASK, crs="EPSG:32650", transform=HERE)
    place(tree, "train/HS/*/HS16_0.tif", crs=crs, transform=HERE)
    assert found(tree)["detail"][0].startswith(f"2015: EPSG:32650, 2016: {name}; whether they lie on")


def test_control_points_alone_are_a_warning(tree: Path) -> None:
    points = [GroundControlPoint(r, c, 5e5 + c, 34e5 - r) for r, c in ((0, 0), (0, 32), (32, 0))]
    edit(tree, "*/HS/imgs/*.tif", gcps=(points, rasterio.CRS.from_epsg(32650)))
    assert rows(tree) == [("warning", "not rectified", "test/HS/imgs/HS15_0.tif", 24)]


def test_a_sensor_model_alone_is_a_warning(tree: Path) -> None:
    from rasterio.rpc import RPC

    one = [1.0] + [0.0] * 19
    model = RPC(10, 5, 30, 1, one, one, 16, 16, 114, 1, one, one, 16, 16, None, None)
    edit(tree, IMAGE, rpcs=model)
    assert rows(tree) == [("warning", "not rectified", IMAGE, 1)]


@pytest.mark.parametrize(
    ("crs", "side", "words"),
    [
        ("EPSG:32650", 10, "a pixel is 10 m; WUSU has 1 m"),
        ("EPSG:2265", 30 / 0.3048, "a pixel is 30 m; WUSU has 1 m"),  # a grid in feet
        ("EPSG:4326", 10 / 111_320, "a pixel is 10 m; WUSU has 1 m"),
        (None, 10, "a pixel is 10 units (no coordinate system says which); WUSU has 1 m"),
    ],
)
def test_pixels_of_another_size_are_a_warning(tree: Path, crs: str | None, side: float, words: str) -> None:
    # At the equator in degrees, so that a degree is equally long both ways.
    place(tree, "*/HS/*/*.tif", crs=crs, transform=Affine(side, 0, 0, 0, -side, 0))
    assert rows(tree) == [("warning", "pixels of another size", "test/HS/imgs/HS15_0.tif", 24)]
    assert found(tree)["detail"][0].startswith(words)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("red", "green", "blue", "nir"), [("error", "bands in another order", IMAGE, 1)]),
        (("NIR", "Red", "Green", "Blue"), [("error", "bands in another order", IMAGE, 1)]),
        (("Blue", "Green", "Red", "Near_Infrared"), []),
        (("one", "two", "three", "four"), []),
    ],
)
def test_bands_named_in_another_order_are_refused(tree: Path, names: tuple, expected: list) -> None:
    edit(tree, IMAGE, descriptions=names)
    assert rows(tree) == expected


@pytest.mark.parametrize(
    ("fourth", "expected"),
    [
        ("nir", [("error", "bands in another order", IMAGE, 1)]),
        ("undefined", [("warning", "bands marked in another order", IMAGE, 1)]),
        ("alpha", []),  # what GDAL marks any four bands with
    ],
)
def test_bands_marked_red_green_blue(tree: Path, fourth: str, expected: list) -> None:
    marks = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp[fourth]]
    edit(tree, IMAGE, colorinterp=marks)
    assert rows(tree) == expected


@pytest.mark.parametrize("opaque", [1.0, 0.6])
def test_alpha_as_the_fourth_band_is_refused(tree: Path, opaque: float) -> None:
    image = imagery.read(tree / IMAGE)
    image[3] = np.where(np.random.default_rng(0).random(image[3].shape) < opaque, 255, 0)
    write_raster(tree / IMAGE, image)
    assert rows(tree) == [("error", "alpha instead of near infrared", IMAGE, 1024)]


def test_a_labelled_black_collar_is_a_warning(tree: Path) -> None:
    image, mask = imagery.read(tree / IMAGE), imagery.read(tree / MASK)
    image[:, :4] = np.random.default_rng(0).integers(0, 3, (4, 4, 32))  # noise of compression
    image[:, 20:24, 10:14] = 0  # a shadow, which touches no edge
    mask[:] = 1
    mask[0, 0] = 0
    write_raster(tree / IMAGE, image)
    write_raster(tree / MASK, mask)
    assert rows(tree) == [("warning", "black collar", IMAGE, 1)]
    assert found(tree)["detail"][0].startswith(
        "96 pixels (9%) from the edge in are black (at most 2 in every"
    )
    mask[0, :4] = 0
    write_raster(tree / MASK, mask)
    assert rows(tree) == []
