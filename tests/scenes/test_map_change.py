"""The tool map_change: what it accepts, what it refuses, what comes out of it."""

import re
import threading
import time

import geopandas
import numpy as np
import pytest
import rasterio
import torch
from command import ROOT, loaded, papermill
from papermill import inspect_notebook
from rasterio.features import rasterize
from small_scenes import MEAN, STD, noise, write_scene
from torch import nn

from wusu_lib import provenance, transitions
from wusu_lib.experiment import notebooks, parameters, segmentation
from wusu_lib.experiment.segmentation import SegmentationParameters
from wusu_lib.pages import scene
from wusu_lib.scenes import polygons, rasters, tool
from wusu_lib.scenes.polygons import label_targets, resolve_targets
from wusu_lib.scenes.tool import MapChangeParameters, example_scene, judge_targets
from wusu_lib.training.progress import lasting

NOTEBOOK = ROOT / "notebooks" / "map_change.ipynb"
NAIP = ROOT.parent / "shared" / "data" / "naip_nd"
LAKE, ROAD, BUILDING = 8, 1, 2  # class indices


class Dark(nn.Module):
    """Lake where the near infrared is below the mean, else the class ``land`` (index)."""

    def __init__(self, land: int = ROAD, lake: int = LAKE) -> None:
        super().__init__()
        self.land, self.lake = land, lake

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = torch.full((len(images), 11, *images.shape[-2:]), -4.0)
        logits[:, self.lake - 1] = -4 * images[:, 3]
        logits[:, self.land - 1] = 4 * images[:, 3]
        return logits


def stated(folder, **changed):
    """A task on its images with a model that needs no training."""
    plain = {"run": "exp05", "tolerance": 0, "decode": "argmax", "radiometry": "training"}
    given = {"name": "map_change", **plain, "out": str(folder / "out"), **changed}
    job = tool.prepare(given)
    job.__dict__["predictor"] = segmentation.Predictor(Dark(), MEAN, STD, window=64)
    return job


def lakes(folder, **place):
    """Bright ground; between the dates a lake of 30 x 40 px and one of 3 x 3 px appear."""
    before = np.full((4, 100, 130), 180, dtype=np.uint8)
    after = before.copy()
    after[:, 20:50, 60:100] = after[:, 80:83, 10:13] = 40
    for name, image in (("a2015.tif", before), ("b_20180716.tif", after)):
        write_scene(folder / name, image, **place)
    return {"t1": str(folder / "a2015.tif"), "t2": str(folder / "b_20180716.tif")}


def test_the_notebook_states_every_parameter_with_type_and_help():
    declared = inspect_notebook(str(NOTEBOOK))
    assert set(declared) == set(MapChangeParameters.model_fields)
    for parameter in declared.values():
        assert parameter["inferred_type_name"] in {"str", "int", "float", "list"}, parameter
        assert len(parameter["help"]) > 3, parameter
    parameters.parse(MapChangeParameters, notebooks.literals(NOTEBOOK))


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ("[Building, Excavation, Road]", ["Building", "Excavation", "Road"]),  # as papermill's -p gives it
        ("['low building', \"Lake\"]", ["Low building", "Lake"]),
        ("Low building, Road", ["Low building", "Road"]),
        ("Water", ["Water"]),
        (["Road"], ["Road"]),
        ("[]", []),
        ("", []),
    ],
)
def test_targets_come_as_a_list_or_as_text(given, understood):
    assert parameters.parse(MapChangeParameters, {"targets": given}).targets == understood


@pytest.mark.parametrize("name", ["date1", "date2", "run", "out", "data_root"])
def test_a_label_and_a_folder_may_be_called_as_a_year(name):
    assert getattr(parameters.parse(MapChangeParameters, {name: 2018}), name) == "2018"


# 04, 2015.10, 2015_04, 1e3, 2015.0, nan, None and True, as papermill's -p hands them over.
@pytest.mark.parametrize("value", [4, 2015.1, 201504, 1000.0, 2015.0, float("nan"), None, True])
@pytest.mark.parametrize("name", ["date1", "run", "out", "data_root", "t1"])
def test_a_label_that_may_have_been_typed_otherwise_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}: got {value}, which need .* give it with -r instead of -p"):
        parameters.parse(MapChangeParameters, {name: value})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"targets": "[Bulding]"}, "targets: got 'Bulding'; known: Road, .*; did you mean Building"),
        ({"target": "[Road]"}, "target: not a parameter of map_change; did you mean targets"),
        ({"t1": "a.tif"}, "t2: missing, though t1 is given"),
        ({"minimum_area": -1.0}, "minimum_area: expected .*greater than or equal to 0"),
        ({"decode": "best"}, "decode: got 'best'; allowed: objects, argmax, map"),
        ({"engine": "dask"}, "engine: got 'dask'; allowed: local, ray"),
        ({"window": 64, "overlap": 40}, "overlap: got 40; expected at most half the window, 64"),
        ({"scale": "full"}, "data_root: must be given with scale"),
    ],
)
def test_a_mistake_is_told_in_words(given, told):
    with pytest.raises(ValueError, match=told):
        tool.prepare({"name": "map_change", **given})


def test_the_runs_experiment_is_told_its_data_and_their_code_of_unlabelled_ground():
    asked = MapChangeParameters(data_root="/data/city", unlabelled=255)
    defined = notebooks.literals(ROOT / "notebooks" / "exp06.ipynb")
    stated = parameters.parse(SegmentationParameters, {**defined, **tool._changed(asked)})
    assert (stated.scale, stated.data_root, stated.unlabelled) == ("demo", "/data/city", 255)


def test_inputs_that_are_not_there_are_named(tmp_path):
    images = lakes(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"run: got 'exp99'.*experiments: exp00"):
        tool.prepare({"name": "map_change", "run": "exp99", "out": str(tmp_path / "out")})
    with pytest.raises(FileNotFoundError, match="t1: no such file"):
        tool.prepare({"name": "map_change", **images, "t1": "none.tif", "out": str(tmp_path / "out")})
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"out: got .*, but nothing can be written there"):
        tool.prepare({"name": "map_change", **images, "out": str(tmp_path / "file" / "out")})


def test_papermill_tells_a_mistake_before_any_work(tmp_path):
    done = papermill(NOTEBOOK, tmp_path / "out.ipynb", tmp_path, tmp_path / "runs", targets="[Bulding, Road]")
    assert done.returncode != 0
    assert "targets: got 'Bulding'; known: Road, Low building" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_dates_are_read_from_the_files(tmp_path):
    images = lakes(tmp_path)
    assert stated(tmp_path, **images).dates == ("2015", "2018-07-16")
    with rasterio.open(images["t1"], "r+") as file:
        file.update_tags(TIFFTAG_DATETIME="2014:05:06 10:00:00")
    assert stated(tmp_path, **images).dates == ("2014-05-06", "2018-07-16")
    assert stated(tmp_path, **images, date1="before", date2=2018).dates == ("before", "2018")


@pytest.mark.parametrize("place", [{"pixel": 2.0}, {"crs": None}], ids=["UTM, 2 m", "no CRS"])
def test_from_two_images_to_files(tmp_path, place):
    job = stated(tmp_path, **lakes(tmp_path, **place), targets="[Water]", minimum_area=10.0)
    maps = job.maps()
    changes = job.changes(maps)
    metres = 4 if "pixel" in place else 1
    kept = [30 * 40 * metres] + [9 * metres] * (metres == 4)
    assert changes["area_m2"].tolist() == kept
    assert (changes["from"] + " to " + changes["to"]).unique().tolist() == ["Road to Lake"]
    written = job.write(changes)
    assert (written.polygons.geojson is None) == (place == {"crs": None})
    assert written.page.path.is_file()
    shown = scene.files_table(job, maps, written).data
    assert len(shown) == (6 if place == {"crs": None} else 7)
    assert "of at least 10 m²" in scene.found_sentence(job, changes).data
    table = scene.areas_table(job, maps).data
    assert table.iloc[0].tolist() == ["Road", "Lake", pytest.approx(1209 * metres / 1e4), 1209 / 13000]
    assert scene.largest_table(changes).data["m²"].tolist() == kept


def test_nothing_found_is_an_honest_report(tmp_path):
    job = stated(tmp_path, **lakes(tmp_path), targets="[Excavation]")
    maps = job.maps()
    changes = job.changes(maps)
    written = job.write(changes)
    assert changes.empty
    assert len(geopandas.read_file(written.polygons.geopackage)) == 0
    said = scene.found_sentence(job, changes).data
    assert said.startswith("No change to excavation of at least 50 m² was found between 2015 and 2018-07-16.")
    assert "no change was found" in scene.largest_table(changes).data["target"].tolist()
    assert scene.scene_changes_figure(job, changes).axes[0].get_title("left").startswith("New since 2015")


def test_light_unlike_the_training_images_is_warned_of(tmp_path):
    usual = stated(tmp_path, **lakes(tmp_path))
    usual.predictor.mean, usual.predictor.std = (0.7,) * 4, (0.2,) * 4
    assert "Warning" not in scene.radiometry_sentence(usual).data
    usual.predictor.mean = (0.1,) * 4
    said = scene.radiometry_sentence(usual).data
    assert "**Warning.**" in said
    assert "nir in 2018-07-16 (+" in said


def test_what_is_done_about_the_light_is_said(tmp_path):
    said = scene.radiometry_sentence(stated(tmp_path, **lakes(tmp_path), radiometry="scene")).data
    assert "brought to the mean and deviation of the training images" in said
    assert "brought to" not in scene.radiometry_sentence(stated(tmp_path, **lakes(tmp_path))).data


def test_the_page_in_the_report_cannot_break_out_of_its_frame(tmp_path):
    job = stated(tmp_path, **lakes(tmp_path), date1='"><script>alert(1)</script>')
    shown = scene.embedded(job.write(job.changes(job.maps()))).data
    assert shown.count("<") == 4  # div and iframe, opened and closed
    assert 'sandbox="allow-scripts"' in shown


def test_real_scenes_on_unlike_grids_line_up(tmp_path):
    """Polygons of new water cover the pixels that are dark in the second image and were not in the first."""
    if not NAIP.is_dir():
        pytest.skip(f"real imagery is not at {NAIP}")
    images = {"t1": str(NAIP / "ND_20140720.tif"), "t2": str(NAIP / "ND_20180716.tif")}
    job = stated(tmp_path, **images, targets="[Water]", minimum_area=500.0)
    maps = job.maps()
    changes = job.changes(maps)
    with rasterio.open(images["t1"]) as first, rasterio.open(images["t2"]) as second:
        assert first.transform != second.transform  # so there is something to line up
        assert first.shape != second.shape
    with rasterio.open(maps.fromto) as grid:
        bounds, labels, transform = grid.bounds, grid.read(1), grid.transform
        assert grid.crs == changes.crs
    left, bottom, right, top = changes.total_bounds
    assert bounds.left <= left
    assert right <= bounds.right
    assert bounds.bottom <= bottom
    assert top <= bounds.top
    drawn = rasterize(changes.geometry, out_shape=labels.shape, transform=transform) > 0
    wanted = label_targets(resolve_targets(["Water"]))[labels] > 0
    assert (drawn & wanted).sum() / drawn.sum() > 0.95  # simplified outlines cut through pixels at their rim
    nir = [layer_image(layer)[3] for layer in job.layers]
    threshold = 255 * MEAN[3]
    assert (nir[1][drawn] < threshold).mean() > 0.9
    assert (nir[0][drawn] >= threshold).mean() > 0.9
    back = geopandas.read_file(job.write(changes).polygons.geojson)
    assert back.crs == "EPSG:4326"
    assert np.allclose(back.to_crs(changes.crs).total_bounds, changes.total_bounds, atol=0.02)


def layer_image(layer):
    with layer.open() as reader:
        return reader.read(0, 0, layer.grid.height, layer.grid.width)[0]


def test_the_mini_city_is_put_together_without_a_seam(tmp_path):
    city = example_scene(tmp_path)
    with rasterio.open(city.t2) as file:
        image = file.read()
    assert image.shape == (4, 1088, 1088)
    assert city.truth.shape == (1088, 1088)
    steps = np.abs(np.diff(image.astype(int), axis=2)).mean(axis=(0, 1))
    assert steps[119::120].max() < 1.5 * np.median(steps)  # columns where patches begin and end
    assert np.isin(transitions.SECOND[np.unique(city.truth)], (2, 3, 10)).any()  # buildings, excavations


def test_found_and_right_are_counted_by_object(tmp_path):
    truth = np.zeros((40, 40), dtype=np.uint8)
    road, lake = (transitions.NAMES.index(f"Woodland to {name}") for name in ("Road", "Lake"))
    truth[2:12, 2:12] = road  # found: the polygon covers 60 of its 100 pixels
    truth[20:30, 2:12] = road  # missed: 40 of 100
    truth[35:37, 35:37] = road  # too small to count
    truth[2:12, 30:40] = transitions.UNLABELLED
    reported = truth * 0
    reported[2:12, 2:8] = reported[20:30, 2:6] = road
    reported[15:18, 20:30] = road  # wrong
    reported[2:12, 30:40] = road  # where nothing is known
    reported[33:36, 2:6] = lake  # wrong, of another target
    paths = [tmp_path / "fromto.tif", tmp_path / "confidence.tif"]
    for path in paths:
        write_scene(path, reported[None], crs=None)
    changes = polygons.polygons(*paths, ["Road", "Water"], tolerance=0)
    judged = judge_targets(truth, changes, ["Road", "Water"], 10)
    assert judged.loc["Road"].to_dict() == {"true": 2, "found": 1, "reported": 3, "right": 2}
    assert judged.loc["Water"].to_dict() == {"true": 0, "found": 0, "reported": 1, "right": 0}


def test_the_figures_share_one_extent(tmp_path):
    image = noise(60, 90)
    write_scene(tmp_path / "a2015.tif", image, pixel=2.0)
    write_scene(tmp_path / "b2018.tif", image[:, ::-1], pixel=2.0)
    given = {"t1": str(tmp_path / "a2015.tif"), "t2": str(tmp_path / "b2018.tif")}
    job = stated(tmp_path, **given, minimum_area=0.0)
    maps = job.maps()
    changes = job.changes(maps)
    panels = scene.scene_maps_figure(job, maps).axes
    (map_of_changes,) = scene.scene_changes_figure(job, changes).axes
    for axes in [*panels, map_of_changes]:
        assert axes.images[0].get_extent() == [0, 180, 120, 0]
        assert axes.get_xlim() == (0, 180)
    assert map_of_changes.get_xlabel() == "m"
    (drawn,) = map_of_changes.collections
    assert len(drawn.get_paths()) == len(changes) > 5
    corners = np.concatenate([path.vertices for path in drawn.get_paths()])
    origin = (500_000, 3_000_000)
    assert corners[:, 0].max() == pytest.approx(changes.total_bounds[2] - origin[0])
    assert corners[:, 1].max() == pytest.approx(origin[1] - changes.total_bounds[1])


def test_importing_what_the_notebook_imports_is_cheap():
    imports = "from wusu_lib import pages\nfrom wusu_lib import scenes\nfrom wusu_lib.pages import scene"
    assert loaded(imports, of=["torch", "terratorch", "geopandas", "ray", "scipy", "sklearn"]) == []
    assert provenance.repository() == ROOT


@pytest.fixture
def restless(tmp_path):
    """A task on 300 x 500 px of noise: windows of 64 px begin every 48 px, 6 down and 11 across."""
    for name, seed in (("a2015.tif", 1), ("b2018.tif", 2)):
        write_scene(tmp_path / name, noise(300, 500, seed))
    return stated(tmp_path, t1=str(tmp_path / "a2015.tif"), t2=str(tmp_path / "b2018.tif"))


class Patient(Dark):
    """A model that takes 20 ms for a window."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        time.sleep(0.02 * len(images))
        return super().forward(images)


def test_windows_disk_and_time_are_told_before_the_work(restless):
    restless.__dict__["predictor"] = segmentation.Predictor(Patient(), MEAN, STD, window=64)
    begun = time.monotonic()
    work = restless.work()
    took = time.monotonic() - begun
    assert (work.windows, work.side, work.disk, work.measured) == (132, 64, 8 * 300 * 500, 16)
    assert 16 * 0.02 <= 16 * work.pace < took  # a first window came before, untimed
    assert [path.name for path in restless.out.iterdir()] == ["record.json"]  # nothing was stored
    told = scene.work_sentence(restless).data
    assert "300 x 500 pixels at two dates are 132 windows of 64 x 64 pixels. Up to 1.2 MB are written" in told
    assert re.search(
        r"all windows take about \d+ s: 16 of them, in the middle of the scene, took [\d.]+ s", told
    )


def test_no_more_is_written_than_was_told(restless):
    """Strips, drafts and maps together, while they are written."""
    most, made = 0, threading.Event()

    def watch():
        nonlocal most
        while not made.wait(0.002):
            most = max(most, sum(size(path) for path in restless.out.rglob("*")))

    watcher = threading.Thread(target=watch)
    watcher.start()
    restless.maps()
    made.set(), watcher.join()
    assert 3 * 300 * 500 < most < restless.work().disk


def size(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:  # a draft that has its name by now
        return 0


def test_no_time_is_foretold_of_few_windows_nor_of_a_middle_without_data(tmp_path, restless):
    few = stated(tmp_path / "few", **lakes(tmp_path)).work()
    assert (few.windows, few.measured, few.pace) == (12, 0, None)  # 2 down, 3 across, 2 dates
    for name in ("a2015.tif", "b2018.tif"):
        image = noise(300, 500)
        image[:, 110:190] = 0
        write_scene(tmp_path / name, image, nodata=0)
    given = {"t1": str(tmp_path / "a2015.tif"), "t2": str(tmp_path / "b2018.tif")}
    empty = stated(tmp_path / "empty", **given)
    assert (empty.work().windows, empty.work().measured) == (132, 0)
    assert "No time is foretold" in scene.work_sentence(empty).data


def test_the_pace_is_that_of_the_image_on_its_own_grid(tmp_path):
    """A cut layer reads the pixels of the whole one, warped or not."""
    write_scene(tmp_path / "a2015.tif", noise(90, 120), pixel=2.0)
    write_scene(tmp_path / "b2018.tif", noise(200, 260), pixel=1.0)
    for layer in rasters.pair(tmp_path / "a2015.tif", tmp_path / "b2018.tif"):
        with layer.cut(20, 30, 40, 50).open() as part, layer.open() as whole:
            assert np.array_equal(part.read(0, 0, 40, 50)[0], whole.read(20, 30, 40, 50)[0])


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.2, "1 s"), (99, "99 s"), (5700, "95 min"), (6000, "2 h"), (169_200, "47 h"), (1_036_800, "12 days")],
)
def test_what_is_left_is_told_in_one_unit(seconds, told):
    assert lasting(seconds) == told


def test_the_line_of_progress_begins_with_the_size(restless, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    restless.maps()
    bars = capsys.readouterr().err.split("\r")
    assert "a2015.tif to b2018.tif, 300 x 500 px: " in bars[1]
    assert "] 0 of 132 windows " in bars[1]
    assert "] 132 of 132 windows " in bars[-1]
