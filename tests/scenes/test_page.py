"""The page of changes: what it holds, and how it behaves in a browser, at a desk and on a phone."""

import json
import re
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from rasterio.transform import from_origin
from small_tree import write_raster

from wusu_lib.change import from_to
from wusu_lib.figures.imagery import rgb, stretch
from wusu_lib.scenes.page import MOST, page
from wusu_lib.scenes.page_pictures import NO_DATA, pictures, reduction
from wusu_lib.scenes.polygons import polygons
from wusu_lib.scenes.rasters import pair

BROWSER = next((b for n in ("chromium", "chromium-browser", "google-chrome") if (b := shutil.which(n))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH: install Debian's")
DESK = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 375, "height": 812}, "has_touch": True, "is_mobile": True}
HEIGHT, WIDTH = 240, 320
FIELD, LOW, EXCAVATION, BARE = 4, 2, 10, 11


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Two images and the polygons of two changes between them: a building and an excavation with a hole."""
    folder = tmp_path_factory.mktemp("scene")
    rng = np.random.default_rng(0)
    before = np.full((HEIGHT, WIDTH), FIELD, dtype=np.uint8)
    before[:, 160:] = BARE
    after = before.copy()
    after[60:120, 140:180] = LOW
    after[150:210, 200:290] = EXCAVATION
    after[170:190, 230:260] = BARE
    grid = {"crs": "EPSG:26914", "transform": from_origin(500_000, 4_600_000, 1, 1)}
    for name, low in (("t1", 60), ("t2", 90)):
        image = rng.integers(low, 160, (4, HEIGHT, WIDTH), dtype=np.uint8)
        write_raster(folder / f"{name}.tif", image, **grid)
    write_raster(folder / "fromto.tif", from_to(before, after)[None], **grid)
    write_raster(folder / "confidence.tif", np.full((1, HEIGHT, WIDTH), 204, dtype=np.uint8), **grid)
    changes = polygons(folder / "fromto.tif", folder / "confidence.tif", dates=("2015", "2018"))
    return folder, changes


@pytest.fixture(scope="module")
def made(scene):
    folder, changes = scene
    return page(folder / "t1.tif", folder / "t2.tif", changes, folder / "out", dates=("2015", "2018"))


def content(path):
    return json.loads(re.search(r'id="data">(.*?)</script>', path.read_text(), re.S).group(1))


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser):
    """Open a page; what it logs and asks for is checked when the test ends."""
    said, contexts = [], []

    def go(path, **options):
        contexts.append(browser.new_context(**options))
        tab = contexts[-1].new_page()
        tab.on("console", lambda m: said.append(m.text) if m.type == "error" else None)
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda r: None if r.url == path.as_uri() else said.append(r.url[:100]))
        tab.goto(path.as_uri())
        tab.wait_for_function("document.getElementById('handle').style.left !== ''")
        return tab

    yield go
    for context in contexts:
        context.close()
    assert said == []


def on_screen(tab, column, row):
    """Where a pixel of the scene is on the screen while the whole scene is shown."""
    box = tab.locator("#map").bounding_box()
    scale = min(box["width"] / WIDTH, box["height"] / HEIGHT)
    left, top = (box["width"] - WIDTH * scale) / 2, (box["height"] - HEIGHT * scale) / 2
    return box["x"] + left + column * scale, box["y"] + top + row * scale


def colour_at(tab, x, y):
    """What the canvas shows at a place on the screen, [red, green, blue]."""
    return tab.evaluate(
        """([x, y]) => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
        const map = document.getElementById("map"), box = map.getBoundingClientRect();
        const at = [(x - box.x) * map.width / box.width, (y - box.y) * map.height / box.height];
        done([...map.getContext("2d").getImageData(at[0], at[1], 1, 1).data].slice(0, 3)); })))""",
        [x, y],
    )


def test_the_file_holds_all_that_it_shows(made, scene):
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


def test_a_large_scene_is_averaged_down_and_the_page_says_so(scene, tmp_path):
    _, changes = scene
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (4, 4100, 500), dtype=np.uint8)
    write_raster(tmp_path / "a.tif", image)
    write_raster(tmp_path / "b.tif", image[:, ::-1])
    made = page(tmp_path / "a.tif", tmp_path / "b.tif", changes.iloc[:0], tmp_path)
    assert made.reduction == reduction(4100, 500) == 3
    shown = content(made.path)
    assert shown["size"] == [167, 1367]  # the last block of either side is narrower
    small = pictures(pair(tmp_path / "a.tif", tmp_path / "b.tif"))[0]
    means = image[:, :4098, :498].reshape(4, 1366, 3, 166, 3).mean(axis=(2, 4))
    assert np.corrcoef(small[:1366, :166, 0].ravel(), means[2].ravel())[0, 1] > 0.99
    assert "3 x 3 pixels of the scene are one here" in made.path.read_text()


def test_the_largest_page_stays_small_enough_to_send(scene, tmp_path):
    _, changes = scene
    rng = np.random.default_rng(3)
    for name in "ab":  # as restless as imagery of a city at 1 m; smooth ground gives much less
        image = rng.normal(90, 22, (4, 2000, 2000)).clip(0, 255).astype(np.uint8)
        write_raster(tmp_path / f"{name}.tif", image)
    made = page(tmp_path / "a.tif", tmp_path / "b.tif", changes, tmp_path)
    assert made.reduction == 1
    assert made.path.stat().st_size < 8e6


def test_of_very_many_polygons_the_largest_are_drawn(scene, tmp_path):
    folder, changes = scene
    many = changes.iloc[[0] * (MOST + 5)]
    made = page(folder / "t1.tif", folder / "t2.tif", many, tmp_path)
    assert made.polygons == len(content(made.path)["polygons"]) == MOST
    assert "Of 5,005 polygons the 5,000 of the largest changes are drawn." in made.path.read_text()


def test_text_cannot_break_out_of_the_page(scene, tmp_path):
    folder, changes = scene
    dates = ("</script><b>", "2 & 3")
    made = page(folder / "t1.tif", folder / "t2.tif", changes, tmp_path, dates=dates, title="<i>{{data}}")
    text = made.path.read_text()
    assert content(made.path)["dates"] == list(dates)
    assert "<b>" not in text
    assert "<i>" not in text


@needs_browser
@pytest.mark.parametrize("options", [DESK, PHONE], ids=["desk", "phone"])
def test_a_click_on_a_polygon_tells_its_figures(made, visit, options):
    tab = visit(made.path, **options)
    info, press = tab.locator("#info"), tab.touchscreen.tap if "has_touch" in options else tab.mouse.click
    assert "Click a polygon" in info.inner_text()
    tab.locator("#handle").press("Home")  # out of the way
    press(*on_screen(tab, 150, 90))
    assert info.inner_text().split("\n\n") == [
        "Arable land → Low building",
        "1,200 m², confidence 80 %",
        "Part of a change of 2,400 m² in all",
    ]
    press(*on_screen(tab, 245, 160))
    assert info.inner_text().startswith("Bare surface → Excavation")
    press(*on_screen(tab, 60, 180))
    assert "Click a polygon" in info.inner_text()
    assert tab.evaluate("document.documentElement.scrollWidth") <= options["viewport"]["width"]


@needs_browser
def test_the_handle_moves_by_pointer_and_by_keys(made, visit):
    tab = visit(made.path, **DESK)
    handle = tab.locator("#handle")
    assert handle.get_attribute("role") == "slider"
    assert handle.get_attribute("aria-valuenow") == "50"
    handle.focus()
    steps = {"ArrowRight": "52", "PageUp": "62", "Home": "0", "ArrowLeft": "0", "End": "100"}
    for key, value in steps.items():
        tab.keyboard.press(key)
        assert handle.get_attribute("aria-valuenow") == value
    assert handle.get_attribute("aria-valuetext") == "2015 on the left 100 %, 2018 on the right"
    tab.keyboard.press("Home")
    stage = tab.locator("#stage").bounding_box()
    tab.mouse.move(stage["x"] + 5, stage["y"] + 300)
    tab.mouse.down()
    tab.mouse.move(stage["x"] + stage["width"] / 4, stage["y"] + 200, steps=4)
    tab.mouse.up()
    assert handle.get_attribute("aria-valuenow") == "25"


@needs_browser
def test_the_first_date_is_left_of_the_handle(made, visit, tmp_path):
    """Dark before, bright after: the same pixel brightens when the handle passes it."""
    tab = visit(made.path, **DESK)
    place = on_screen(tab, 60, 60)
    brightness = {}
    for key in ("End", "Home"):
        tab.locator("#handle").press(key)
        tab.wait_for_timeout(100)
        brightness[key] = np.mean(
            [colour_at(tab, place[0] + dx, place[1] + dy) for dx in (0, 9, 18) for dy in (0, 9, 18)]
        )
    assert brightness["End"] + 20 < brightness["Home"]


@needs_browser
def test_polygons_and_classes_can_be_switched_off(made, visit):
    tab = visit(made.path, **DESK)
    place = on_screen(tab, 245, 160)
    with_it = colour_at(tab, *place)
    tab.get_by_label("To excavation: 4,800 m²").uncheck()
    without = colour_at(tab, *place)
    assert with_it[2] < without[2] - 20  # the colour of excavations is brown: little blue
    tab.mouse.click(*place)
    assert "Click a polygon" in tab.locator("#info").inner_text()
    tab.mouse.click(*on_screen(tab, 150, 90))
    assert "Low building" in tab.locator("#info").inner_text()
    tab.get_by_label("All polygons").uncheck()
    tab.mouse.click(*on_screen(tab, 150, 90))
    assert "Click a polygon" in tab.locator("#info").inner_text()


@needs_browser
def test_zoom_and_drag_move_what_is_clicked(made, visit):
    tab = visit(made.path, **DESK)
    place = on_screen(tab, 150, 90)
    tab.mouse.move(*place)
    tab.mouse.wheel(0, -600)  # zooms in about the pointer, which stays on its building
    tab.mouse.click(*place)
    assert "Arable land → Low building" in tab.locator("#info").inner_text()
    tab.mouse.down()
    tab.mouse.move(place[0] - 150, place[1], steps=5)
    tab.mouse.up()
    assert "Low building" in tab.locator("#info").inner_text()  # a drag is no click
    tab.mouse.click(*place)
    assert "Bare surface → Low building" in tab.locator("#info").inner_text()
    tab.mouse.click(*place)
    tab.get_by_label("Show the whole scene").click()
    tab.mouse.click(*on_screen(tab, 245, 180))  # the hole of the excavation
    assert "Click a polygon" in tab.locator("#info").inner_text()
    tab.mouse.click(*on_screen(tab, 245, 160))
    assert "Excavation" in tab.locator("#info").inner_text()


@needs_browser
def test_two_fingers_zoom(made, visit):
    tab = visit(made.path, **PHONE)
    tab.locator("#handle").press("Home")
    x, y = on_screen(tab, 150, 90)
    box = tab.locator("#map").bounding_box()
    tab.evaluate(
        """([x, y]) => { const map = document.getElementById("map");
        map.setPointerCapture = () => {};  // made-up pointers cannot be captured
        const send = (kind, id, dx) => map.dispatchEvent(
            new PointerEvent(kind, {pointerId: id, clientX: x + dx, clientY: y}));
        send("pointerdown", 1, -20); send("pointerdown", 2, 20);
        send("pointermove", 1, -60); send("pointermove", 2, 60);
        send("pointerup", 1, -60); send("pointerup", 2, 60); }""",
        [x, y],
    )
    assert "Click a polygon" in tab.locator("#info").inner_text()
    # three times as large about (150, 90): the border at column 160 is now 30 times the old scale away
    old = min(box["width"] / WIDTH, box["height"] / HEIGHT)
    tab.touchscreen.tap(x + 24 * old, y)
    assert "Bare surface → Low building" not in tab.locator("#info").inner_text()
    tab.touchscreen.tap(x + 36 * old, y)
    assert "Bare surface → Low building" in tab.locator("#info").inner_text()


@needs_browser
def test_the_list_leads_to_a_change_without_a_mouse(made, visit):
    tab = visit(made.path, **DESK)
    buttons = tab.locator("#largest button")
    assert buttons.all_inner_texts() == ["Excavation, 4,800 m²", "Low building, 2,400 m²"]
    buttons.last.focus()
    tab.keyboard.press("Enter")
    assert "Low building" in tab.locator("#info").inner_text()


@needs_browser
def test_it_is_dark_where_the_reader_wants_it(made, visit):
    seen = {}
    for scheme in ("light", "dark"):
        tab = visit(made.path, color_scheme=scheme, **DESK)
        seen[scheme] = sum(
            map(int, re.findall(r"\d+", tab.evaluate("getComputedStyle(document.body).backgroundColor"))[:3])
        )
    assert seen["dark"] < 150 < 600 < seen["light"]


@needs_browser
def test_no_change_is_said_and_the_dates_can_still_be_compared(scene, visit, tmp_path):
    folder, changes = scene
    made = page(folder / "t1.tif", folder / "t2.tif", changes.iloc[:0], tmp_path, dates=("2015", "2018"))
    tab = visit(made.path, **DESK)
    text = tab.locator("body").inner_text()
    assert "No change of the kind and size asked for was found between 2015 and 2018." in text
    assert tab.locator("#largest").count() == 0
    tab.locator("#handle").press("End")
    assert tab.locator("#handle").get_attribute("aria-valuenow") == "100"


def test_the_page_is_part_of_the_installed_package():
    root = Path(__file__).parents[2]
    declared = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert declared["wusu_lib.scenes"] == ["page.*"]
    assert {p.suffix for p in (root / "wusu_lib/scenes").glob("page.*")} == {".html", ".css", ".js", ".py"}
