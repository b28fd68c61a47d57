"""The page of changes in a browser, at a desk and on a phone."""

import re
import shutil

import numpy as np
import pytest
from made_page import HEIGHT, WIDTH

from wusu_lib.scenes.viewer.page import write_page

BROWSER = next((b for n in ("chromium", "chromium-browser", "google-chrome") if (b := shutil.which(n))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH: install Debian's")
DESK = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 375, "height": 812}, "has_touch": True, "is_mobile": True}


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
def test_no_change_is_said_and_the_dates_can_still_be_compared(page_scene, visit, tmp_path):
    folder, changes = page_scene
    made = write_page(
        folder / "t1.tif", folder / "t2.tif", changes.iloc[:0], tmp_path, dates=("2015", "2018")
    )
    tab = visit(made.path, **DESK)
    text = tab.locator("body").inner_text()
    assert "No change of the kind and size asked for was found between 2015 and 2018." in text
    assert tab.locator("#largest").count() == 0
    tab.locator("#handle").press("End")
    assert tab.locator("#handle").get_attribute("aria-valuenow") == "100"
