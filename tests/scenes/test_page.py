"""The page of changes: what it holds, and how it behaves in a browser, at a desk and on a phone."""

import json
import re
import tomllib
from pathlib import Path

import numpy as np
from small_tree import write_raster

from wusu_lib.imagery import rgb, stretch
from wusu_lib.scenes.rasters import pair
from wusu_lib.scenes.viewer.page import MOST, NO_DATA, pictures, reduction, write_page


def content(path):
    return json.loads(re.search(r'id="data">(.*?)</script>', path.read_text(), re.S).group(1))


def test_the_file_holds_all_that_it_shows(made, page_scene):
    shown = content(made.path)
    assert shown["dates"] == ["2015", "2018"]
    assert all(picture.startswith("data:image/jpeg;base64,") for picture in shown["pictures"])
    assert [(p["from"], p["to"], p["area"], p["whole"], p["confidence"]) for p in shown["polygons"]] == [
        ("Bare surface", "Excavation", 4800, 4800, 0.8),
        ("Arable land", "Low building", 1200, 2400, 0.8),
        ("Bare surface", "Low building", 1200, 2400, 0.8),
    ]
    assert shown["totals"] == {"Excavation": 4800, "Low building": 2400}
    assert not re.search(r'(?:src|href)="(?!data:)', made.path.read_text())
    assert "://" not in made.path.read_text()


def test_polygons_stand_at_their_pixels(made):
    excavation = content(made.path)["polygons"][0]
    assert excavation["box"] == [200, 150, 290, 210]
    outer, hole = (np.cumsum(np.reshape(ring, (-1, 2)), axis=0) / 10 for ring in excavation["rings"])
    assert outer.min(axis=0).tolist() == [200, 150]
    assert hole.max(axis=0).tolist() == [260, 190]


def test_both_dates_have_the_same_stretch_and_no_data_is_grey(tmp_path):
    rng = np.random.default_rng(1)
    images = [rng.integers(low, 200, (4, 90, 70), dtype=np.uint8) for low in (1, 80)]
    images[1][:, :30] = 0
    for name, image in zip("ab", images, strict=True):
        write_raster(tmp_path / f"{name}.tif", image, nodata=0)
    shown = pictures(pair(tmp_path / "a.tif", tmp_path / "b.tif"))
    low, high = stretch([images[0], images[1][:, 30:]])
    assert np.array_equal(shown[0], np.round(255 * rgb(images[0], low, high)).astype(np.uint8))
    assert np.array_equal(shown[1][30:], np.round(255 * rgb(images[1][:, 30:], low, high)).astype(np.uint8))
    assert (shown[1][:30] == NO_DATA).all()


def test_a_large_scene_is_averaged_down_and_the_page_says_so(page_scene, tmp_path):
    _, changes = page_scene
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (4, 4100, 500), dtype=np.uint8)
    write_raster(tmp_path / "a.tif", image)
    write_raster(tmp_path / "b.tif", image[:, ::-1])
    made = write_page(tmp_path / "a.tif", tmp_path / "b.tif", changes.iloc[:0], tmp_path / "out")
    assert made.reduction == reduction(4100, 500) == 3
    shown = content(made.path)
    assert shown["size"] == [167, 1367]  # the last block of either side is narrower
    small = pictures(pair(tmp_path / "a.tif", tmp_path / "b.tif"))[0]
    means = image[:, :4098, :498].reshape(4, 1366, 3, 166, 3).mean(axis=(2, 4))
    assert np.corrcoef(small[:1366, :166, 0].ravel(), means[2].ravel())[0, 1] > 0.99
    assert "3 x 3 pixels of the scene are one here" in made.path.read_text()


def test_the_largest_page_stays_small_enough_to_send(page_scene, tmp_path):
    _, changes = page_scene
    rng = np.random.default_rng(3)
    for name in "ab":  # as restless as imagery of a city at 1 m; smooth ground gives much less
        image = rng.normal(90, 22, (4, 2000, 2000)).clip(0, 255).astype(np.uint8)
        write_raster(tmp_path / f"{name}.tif", image)
    made = write_page(tmp_path / "a.tif", tmp_path / "b.tif", changes, tmp_path / "out")
    assert made.reduction == 1
    assert made.path.stat().st_size < 8e6


def test_of_very_many_polygons_the_largest_are_drawn(page_scene, tmp_path):
    folder, changes = page_scene
    many = changes.iloc[[0] * (MOST + 5)]
    made = write_page(folder / "t1.tif", folder / "t2.tif", many, tmp_path)
    assert made.polygons == len(content(made.path)["polygons"]) == MOST
    assert "Of 5,005 polygons the 5,000 of the largest changes are drawn." in made.path.read_text()


def test_text_cannot_break_out_of_the_page(page_scene, tmp_path):
    folder, changes = page_scene
    dates = ("</script><b>", "2 & 3")
    made = write_page(
        folder / "t1.tif", folder / "t2.tif", changes, tmp_path, dates=dates, title="<i>{{data}}"
    )
    text = made.path.read_text()
    assert content(made.path)["dates"] == list(dates)
    assert "<b>" not in text
    assert "<i>" not in text


def test_the_page_is_part_of_the_installed_package():
    root = Path(__file__).parents[2]
    declared = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert declared["wusu_lib.scenes.viewer"] == ["page.*"]
    assert {p.suffix for p in (root / "wusu_lib/scenes/viewer").glob("page.*")} == {
        ".html",
        ".css",
        ".js",
        ".py",
    }
