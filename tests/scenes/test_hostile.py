"""Text from outside in every field that takes any: notebooks run, the book is built, a browser opens it."""

import re
import shutil
import subprocess

import pytest
import rasterio
import yaml
from command import BIN, ROOT, papermill
from small_scenes import noise, write_scene
from small_tree import write_tree
from test_page_in_browser import BROWSER, DESK, PHONE, needs_browser

from wusu_lib.experiment import experiment

# Without a slash, which the name of a file cannot hold.
NAME = (
    "<img src=x onerror=alert(1)><svg onload=alert(2)>{{data}}{{script}}$\\foo$ *b* "
    "[a](javascript:alert(3)) `汉字`"
)
TEXT = f"{NAME}</script><script>alert(4)</script> | x"
SPAN = '"><script>alert(5)</script>'
CRS = (
    'PROJCS["<script>alert(6)</script>$x$",GEOGCS["<b>w</b>",'
    'DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],'
    'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],'
    'PARAMETER["latitude_of_origin",0],PARAMETER["central_meridian",117],PARAMETER["scale_factor",0.9996],'
    'PARAMETER["false_easting",500000],PARAMETER["false_northing",0],UNIT["metre",1]]'
)
PAGES = ("tool", "data", "failed")
# Elements that the text would be, if it were more: the page's own data may hold it as letters.
MADE = """[...document.querySelectorAll('img[onerror], svg[onload], a[href^=javascript], script')]
    .map(element => element.outerHTML)
    .filter(text => !text.startsWith('<script') || /^<script[^>]*>alert/.test(text))"""


def scene(path, seed):
    """An image whose tags, band names and coordinate system speak as well."""
    write_scene(path, noise(96, 96, seed), crs=rasterio.CRS.from_wkt(CRS))
    with rasterio.open(path, "r+") as file:
        file.update_tags(TIFFTAG_IMAGEDESCRIPTION=TEXT, TIFFTAG_DATETIME=TEXT, TIFFTAG_SOFTWARE=TEXT)
        file.descriptions = [TEXT] * 4
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of a hostile name, in which all that the notebooks read and write lies."""
    return tmp_path_factory.mktemp("all") / NAME


@pytest.fixture(scope="module")
def executed(folder):
    """What papermill said and left behind: page -> (finished process, executed notebook)."""
    tree = write_tree(folder / "tree", size=64, stride=64)
    images = tree / "train" / "HS" / "imgs"
    shutil.copy(next(images.iterdir()), images / f"{NAME}.tif")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WUSU_RUNS", str(folder / "runs"))
        patch.setenv("WUSU_CACHE", str(folder / "cache"))
        (run,) = experiment.prepare(
            {
                "name": "exp05", "prediction": "val mIoU rises by at least 0.01 over exp04", "split": "study",
                "data_root": str(tree), "backbone": "prithvi_300m", "decoder": "fpn", "epochs": 1,
            }
        ).runs()  # fmt: skip
        pair = {f"t{n}": scene(folder / f"{n}{NAME}.tif", n) for n in (1, 2)}
        pair |= {"date1": TEXT, "date2": SPAN, "name": TEXT, "run": run.folder, "out": folder / "out"}
        data = {"data_root": tree, "split": "study"}
        done = {}
        for page, notebook, given in (
            ("tool", "map_change", pair), ("data", "exp00", data), ("failed", "exp00", data),
        ):  # fmt: skip
            if page == "failed":
                (tree / "class_mapping.json").write_text(f'{{"Road": "{SPAN[2:]}", "{SPAN[2:]}": 3}}')
            out = folder.parent / f"{page}.ipynb"  # papermill fills in braces of this name itself
            source = ROOT / "notebooks" / f"{notebook}.ipynb"
            done[page] = papermill(source, out, ROOT / "notebooks", folder / "runs", **given), out
    return done


@pytest.fixture(scope="module")
def site(executed, tmp_path_factory):
    """The book of these pages."""
    source = tmp_path_factory.mktemp("book")
    shutil.copytree(ROOT / "book", source / "book", ignore=shutil.ignore_patterns("log"))
    (source / "book" / "log").mkdir()
    shutil.copy(ROOT / "_config.yml", source)
    chapters = [{"file": f"book/log/{page}"} for page in PAGES]
    (source / "_toc.yml").write_text(
        yaml.safe_dump({"format": "jb-book", "root": "book/intro", "chapters": chapters})
    )
    for page, (_, notebook) in executed.items():
        shutil.copy(notebook, source / "book" / "log" / f"{page}.ipynb")
    built = subprocess.run([BIN / "jupyter-book", "build", source], capture_output=True, text=True)
    assert built.returncode == 0, (built.stdout + built.stderr)[-3000:]
    return source / "_build" / "html" / "book" / "log"


def test_the_notebooks_end_well_or_with_a_sentence(executed):
    assert executed["tool"][0].returncode == 0, executed["tool"][0].stderr[-3000:]
    assert executed["data"][0].returncode == 0, executed["data"][0].stderr[-3000:]
    assert executed["failed"][0].returncode != 0
    assert re.search(r"ValueError: .*class_mapping.json", executed["failed"][0].stderr)


@needs_browser
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desktop"])
@pytest.mark.parametrize("page", [*PAGES, "changes"])
def test_nothing_of_it_is_alive_in_the_browser(site, folder, page, size):
    """No script runs, nothing is fetched, and the words stand there letter by letter, not as formulas."""
    from playwright.sync_api import sync_playwright

    file = folder / "out" / "changes.html" if page == "changes" else site / f"{page}.html"
    alerts, asked = [], []
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        tab = chromium.new_page(**size)
        tab.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
        tab.on("requestfailed", lambda request: asked.append(request.url))
        tab.goto(file.as_uri())
        tab.wait_for_timeout(1000)
        text = tab.inner_text("body")
        made = tab.evaluate(MADE)
        chromium.close()
    assert alerts == []
    assert [address for address in asked if address.endswith("/x")] == []
    assert made == []
    expected = {"failed": "<script>alert(5)</script>"}.get(page, NAME)
    assert expected in " ".join(text.split())
