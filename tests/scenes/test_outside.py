"""What comes from outside is shown and never run, calls nobody, and its faults are told in plain words."""

import errno
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from command import ROOT
from small_scenes import noise, write_scene
from small_tree import write_tree

from wusu_lib import files, imagery
from wusu_lib.data import checks, inspection
from wusu_lib.experiment import parameters
from wusu_lib.models import weights
from wusu_lib.pages import style
from wusu_lib.runs import store
from wusu_lib.scenes import rasters, tool
from wusu_lib.scenes.viewer import page

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>{{data}}$\\foo$ [a](javascript:alert(1)) "
    "![b](http://127.0.0.1/b.png) `</code>` 汉字"
)


class Reader(HTMLParser):
    """Collects what a browser would run or fetch, and the texts in which MathJax would look for a formula."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attributes):
        safe = tag in {
            "p",
            "span",
            "strong",
            "em",
            "code",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "style",
        }
        self.found += [] if safe else [tag]
        self.found += [name for name, _ in attributes if name not in {"class", "id", "type"}]

    def handle_data(self, data):
        self.found += [data] if data.count("$") > 1 or ("\\" in data and data != "\\") else []


def alive(text: str) -> list[str]:
    """What of a HTML text is more than letters."""
    reader = Reader()
    reader.feed(text)
    return reader.found


def rendered(markdown: str) -> str:
    """As the book renders a computed sentence."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").render(markdown)


def test_hostile_text_in_a_table_a_sentence_and_a_caption_is_dead():
    frame = pd.DataFrame({HOSTILE: [HOSTILE], "n": [1.0]}, index=[HOSTILE])
    table = style.styled_table(frame, "t").format({"n": "{:.1f}"}, na_rep="–").format("{:g}", subset=["n"])
    for text in (
        table._repr_html_(),
        rendered(style.Sentence(f"**{HOSTILE}** `{HOSTILE}`").data),
        style.shown(HOSTILE),
    ):
        assert alive(text) == []
        assert "&lt;script&gt;alert(1)" in text
        assert "汉字" in text
    assert style.shown("a\udc80") == "a<span>&#92;</span>udc80"


def test_a_link_to_a_notebook_a_quotation_and_code_stay():
    text = rendered(style.Sentence("> see the [code book](codes.ipynb), `a<b`, **x** & y").data)
    assert text == (
        '<blockquote>\n<p>see the <a href="codes.ipynb">code book</a>, <code>a&lt;b</code>, '
        "<strong>x</strong> &amp; y</p>\n</blockquote>\n"
    )


def test_a_dollar_sign_in_a_figure_is_no_formula_and_lacking_letters_are_said(monkeypatch):
    monkeypatch.setattr(style, "CJK", ())
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *given, **_: shown.append(given))
    with style.style():
        figure = style.open_figure(1.0)
        figure.subplots().set_title("$\\foo$ 汉字")  # as a formula: ParseFatalException
    style.captioned(figure, "a", HOSTILE, HOSTILE)._ipython_display_()
    caption = shown[1][0].data
    assert style.NO_GLYPH in rendered(caption)
    assert alive(rendered(caption)) == []


def test_the_page_fills_its_places_in_one_pass():
    parts = dict.fromkeys(("summary", "notes", "style", "script"), "-")
    text = page._filled(title="{{data}}{{script}}", data="DATA", **parts)
    assert text.count("{{data}}{{script}}") == 2
    assert text.count("DATA") == 1


@pytest.mark.parametrize("bad", ["a\udc80", "a\0b"])
def test_a_label_that_no_file_can_hold_is_refused(bad):
    with pytest.raises(ValueError, match=r"date1: got 'a.* is no letter that a file can hold"):
        parameters.parse(tool.MapChangeParameters, {"date1": bad})


OFFLINE = """
import importlib, pkgutil, socket, sys
def refuse(*given, **_):
    raise SystemExit(f"looked up {given[:2]}")
def getaddrinfo(host, *rest, real=socket.getaddrinfo, **more):
    if host not in (None, "", "localhost", "127.0.0.1", "::1"):
        seen.append(host)
        raise OSError("no network")
    return real(host, *rest, **more)
def connect(self, to, real=socket.socket.connect):
    if self.family != socket.AF_UNIX and to[0] not in ("127.0.0.1", "::1"):
        seen.append(to)
        raise OSError("no network")
    return real(self, to)
seen = []
socket.getaddrinfo, socket.socket.connect = getaddrinfo, connect
sys.path[:0] = ["tests", "tests/scenes"]
import wusu_lib
for module in pkgutil.walk_packages(wusu_lib.__path__, "wusu_lib."):
    importlib.import_module(module.name)
import pathlib, time, tiny, small_scenes
from wusu_lib.scenes.maps import change_map
folder = pathlib.Path(sys.argv[1])
tree = tiny.write_tree(folder / "tree", 4, 2, 2)
tiny.train(folder / "run", tree, epochs=1)
pair = [small_scenes.write_scene(folder / f"{n}.tif", small_scenes.noise(70, 70, n)) for n in (1, 2)]
change_map(small_scenes.predictor(), *pair, folder / "maps")
time.sleep(1)  # for look-ups in the background
print("SEEN", seen)
"""


def test_importing_training_and_mapping_look_up_no_name(tmp_path):
    (tmp_path / "run").mkdir()
    told = {k: v for k, v in os.environ.items() if not k.startswith(("LIGHTLY", "HF_", "DO_NOT"))}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(tmp_path)],
        cwd=ROOT, env=told, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1:] == ["SEEN []"], done.stderr[-2000:]


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (
            OSError(errno.ENOSPC, "x"),
            OSError,
            "nothing more can be written .No space left on device.; make room",
        ),
        (OSError(errno.EDQUOT, "x"), OSError, "nothing more can be written .Disk quota exceeded"),
        (OSError("28800 requested and 12160 written"), OSError, "No space left on device"),  # numpy
        (rasterio.errors.RasterioIOError("TIFFAppendToStrip"), OSError, "No space left on device"),
        (MemoryError("Unable to allocate 410. GiB"), MemoryError, "memory does not suffice.*smaller window"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), MemoryError, "suffice"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), MemoryError, "suffice"),
        (RuntimeError("could not create a primitive"), MemoryError, "suffice"),
    ],
)
def test_a_full_disk_and_memory_are_told_in_one_sentence(error, kind, told, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_has_room", lambda folder: False)
    with pytest.raises(kind, match=told) as found, files.faults_told(tmp_path):
        raise error
    assert str(tmp_path) in str(found.value)


def test_other_faults_come_as_they_are_where_there_is_room(tmp_path):
    for error in (OSError("short"), RuntimeError("x"), FileNotFoundError(2, "x")):
        with pytest.raises(type(error)) as found, files.faults_told(tmp_path):
            raise error
        assert found.value is error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_writer_on_a_full_disk_names_the_folder(tmp_path):
    told = pytest.raises(OSError, match=f"{tmp_path}: nothing more can be written")
    with told, files.replacing(tmp_path / "a.json"), Path("/dev/full").open("wb") as full:
        full.write(bytes(2**20))
    assert not list(tmp_path.iterdir())


def no_room(*_, **__):
    raise OSError(errno.ENOSPC, "x")


def test_whoever_fills_the_disk_is_told_once_and_where(tmp_path, monkeypatch):
    """A run's tables, what is kept in the cache, the example scene; the innermost folder is named."""
    monkeypatch.setenv("WUSU_RUNS", str(tmp_path / "runs"))
    told = pytest.raises(OSError, match=r"key.partial: nothing more can be written")
    with told, store.making("exp05", "key", {"parameters": {"name": "exp05"}}):
        no_room()
    with pytest.raises(OSError, match=f"{tmp_path / 'cache'}: nothing more can be written"):
        files.kept(tmp_path / "cache" / "city", lambda path: None, no_room)
    monkeypatch.setattr(rasters, "write_image", no_room)
    with pytest.raises(OSError, match=f"{tmp_path / 'images'}: nothing more can be written"):
        tool.example_scene(tmp_path / "images")
    inner = pytest.raises(OSError, match=f"{tmp_path / 'a'}: nothing more")
    with inner, files.faults_told(tmp_path / "b"), files.faults_told(tmp_path / "a"):
        no_room()


@pytest.fixture
def pair(tmp_path):
    images = {f"t{n}": str(write_scene(tmp_path / f"a201{n}.tif", noise(96, 96, n))) for n in (1, 2)}
    return {"name": "map_change", "run": "exp05", "out": str(tmp_path / "out"), **images}


@pytest.mark.parametrize("run", ["exp00", "exp15"])
def test_a_run_without_a_segmentation_model_is_refused_before_training(run, pair):
    with pytest.raises(ValueError, match=f"run: {run} is not a segmentation run.*exp05"):
        tool.prepare(pair | {"run": run})


@pytest.mark.parametrize("run", ["results", "map_change"])
def test_a_notebook_that_is_no_experiment_is_no_run(run, pair):
    with pytest.raises(FileNotFoundError, match=f"run: got '{run}', which is neither"):
        tool.prepare(pair | {"run": run})


def test_a_window_has_an_upper_limit(pair):
    with pytest.raises(ValueError, match=r"window: .*less than or equal to 4096"):
        tool.prepare(pair | {"window": 100_000})


def test_a_truncated_image_is_noticed_before_any_work(pair):
    whole = Path(pair["t2"]).read_bytes()
    Path(pair["t2"]).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"t2: .*a2012.tif is truncated or damaged.*again"):
        tool.prepare(pair)


def test_a_coordinate_system_of_no_place_is_refused(tmp_path, pair):
    local = 'LOCAL_CS["local",UNIT["metre",1]]'
    for n in (1, 2):
        write_scene(pair[f"t{n}"], noise(96, 96, n), crs=local)
    with pytest.raises(ValueError, match=r"t1: .*tied to no place on Earth.*gdal_edit.py"):
        tool.prepare(pair)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("http://127.0.0.1:9/a.tif", "t1: got http://127.0.0.1:9/a.tif; addresses .* download"),
        ("/vsizip/tmp/a.zip", "t1: got /vsizip/tmp/a.zip; addresses and archives are not read"),
        ("/tmp", "t1: /tmp is a folder; give a GeoTIFF"),
        ("x" * 5000, "t1: 'x+' cannot be read .File name too long"),
        ("/dev/null", "t1: /dev/null is no plain file"),
    ],
)
def test_what_is_no_file_is_named_as_what_it_is(given, told, pair):
    with pytest.raises(ValueError, match=told):
        tool.prepare(pair | {"t1": given})


@pytest.mark.parametrize(
    ("name", "kind"), [("t1.tif", "a folder"), ("changes.html", "a folder"), (".strips", "a file")]
)
def test_a_folder_in_the_place_of_a_file_is_refused_first(name, kind, pair):
    out = Path(pair["out"])
    files.claim(out, "maps")
    (out / name).write_text("") if kind == "a file" else (out / name).mkdir()
    with pytest.raises(ValueError, match=f"out: .*{name} is {kind}, but its name is needed"):
        tool.prepare(pair)


def test_a_scene_that_does_not_fit_on_the_disk_is_refused_with_both_sizes(tmp_path):
    grid = rasters.Grid("", (1, 0, 0, 0, -1, 0), 10**8, 10**8)
    with pytest.raises(
        ValueError, match=r"100,000,000 x 100,000,000 px, for which 30,000,000.0 GB .* room for"
    ):
        tool._require_room(tmp_path, grid)


@pytest.mark.parametrize("shape", [(1, 10_000, 3), (10_000, 1, 3)])
def test_a_scene_of_one_line_is_shown(shape):
    assert min(imagery.shrink(np.ones(shape), 2).shape[:2]) == 1


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.setenv("WUSU_CACHE", str(tmp_path / "cache"))
    return write_tree(tmp_path / "tree")


def problems(tree):
    return inspection.inspect(tree).problems.set_index("file")["problem"].to_dict()


@pytest.mark.parametrize("to", ["/nowhere/at/all.tif", "itself"])
def test_a_link_that_leads_nowhere_is_a_row_of_the_table(tree, to):
    image = next(tree.glob("train/*/imgs/*.tif"))
    image.unlink()
    image.symlink_to(image.name if to == "itself" else to)
    assert problems(tree)[image.relative_to(tree).as_posix()] == "unreadable file"


def test_a_huge_image_of_a_tree_is_not_read(tree):
    image = next(tree.glob("train/*/imgs/*.tif"))
    shape = {"count": 4, "height": 60_000, "width": 60_000, "dtype": "uint8"}
    with rasterio.open(image, "w", driver="GTiff", sparse_ok=True, tiled=True, **shape):
        pass
    found = checks.check(tree).set_index("problem").loc["too large to be read"]
    assert found["file"] == image.relative_to(tree).as_posix()
    assert found["detail"].startswith("60000 x 60000 px")


@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, '{"Road": 1e400}'])
def test_a_mapping_that_no_reader_holds_is_not_understood(tree, text):
    (tree / "class_mapping.json").write_text(text)
    with pytest.raises(ValueError, match=r"class_mapping.json: .*expected each class with its code once"):
        inspection.inspect(tree)


def test_a_name_that_is_not_utf8_is_named(tmp_path):
    path = Path(os.fsdecode(b"/t/train/\xff/imgs/a.tif"))
    assert checks.Tally(Path("/t")).name(path) == "train/\\xff/imgs/a.tif"


def test_torchs_advice_to_read_without_its_guard_is_not_passed_on(tmp_path):
    import pickle

    (tmp_path / "w.pt").write_bytes(pickle.dumps(os.getcwd))
    with pytest.raises(ValueError, match="it holds other objects than tensors") as found:
        weights.read_checkpoint(tmp_path / "w.pt")
    assert "weights_only" not in str(found.value)


def test_the_library_reads_its_sources_in_an_ascii_locale():
    told = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code = (
        "from pathlib import Path; from wusu_lib.experiment import notebooks;"
        "from wusu_lib import provenance; notebooks.literals(Path('notebooks/exp05.ipynb'));"
        "provenance.code(('wusu_lib.scenes.maps',))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=told, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("code", [26914, 32650, 3031, 2263, 4326, 3857])
def test_a_scene_may_lie_anywhere_on_earth(code):
    """UTM far from Greenwich, a polar grid, one in feet, degrees, web mercator."""
    rasters._check_crs(rasterio.CRS.from_epsg(code), "a.tif", "t1")
