"""What is stored and was changed, by a single byte or by another's hand, is never used without a word."""

import os
import random
import shutil
import stat
import warnings
from pathlib import Path

import geopandas
import numpy as np
import pytest
import tiny
from safetensors.numpy import save_file
from small_scenes import noise, predictor, write_scene
from stored_runs import open_run
from stored_runs import store as store_run

from wusu_lib import files, synthetic
from wusu_lib.data import tree
from wusu_lib.experiment.segmentation import fit
from wusu_lib.runs import store
from wusu_lib.runs.results import write_results
from wusu_lib.scenes import maps, polygons
from wusu_lib.scenes.sweep import Tiling
from wusu_lib.scenes.viewer import page

TILING = Tiling(64, 16, 2)
PLACES = range(200)


class StoppedError(Exception):
    """In place of an interruption."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("WUSU_RUNS", str(tmp_path / "runs"))


@pytest.fixture
def images(tmp_path):
    (tmp_path / "images").mkdir()
    return [write_scene(tmp_path / "images" / f"{n}.tif", noise(80, 90, n)) for n in (1, 2)]


def change_byte(path: Path, draw: random.Random) -> None:
    """Change one byte; neither size nor time of modification tells."""
    before, data = path.stat(), path.read_bytes()
    at = draw.randrange(len(data))
    path.write_bytes(data[:at] + bytes([data[at] ^ draw.randrange(1, 256)]) + data[at + 1 :])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def changes(folder: Path, draw: random.Random):
    """200 times: one byte of one file below a folder is changed, the file given, and all put back."""
    good = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.stat().st_size}
    for number in PLACES:
        path = list(good)[number] if number < len(good) else draw.choice(sorted(good))
        change_byte(path, draw)
        yield path
        for each in folder.parent.glob(f"{folder.name}.broken*"):
            shutil.rmtree(each)
        folder.mkdir(exist_ok=True)
        for each, data in good.items():
            if not each.exists() or each.read_bytes() != data:
                each.write_bytes(data)


def large_run() -> store.Run:
    """A run with every kind of file."""
    run = store_run("exp05", 1, (5, 10, 5, 10))

    def fill(folder):
        for name in run.record["files"]:
            shutil.copy(run.folder / name, folder)
        (folder / "events.1").write_bytes(bytes(50))
        save_file({"a": noise(8, 8)}, folder / "model.safetensors")
        return {"losses": {}}

    return open_run("exp05", "large", {"parameters": {"name": "exp05"}, "seed": 1}, fill)


def test_a_changed_byte_of_a_run_is_never_used_without_a_word():
    run, draw, seen = large_run(), random.Random(0), set()
    for path in changes(run.folder, draw):
        seen.add(path.name)
        found = store.stored("exp05", run.key, run.parameters)
        if path.name in ("model.safetensors", "events.1"):  # compared where they are read
            with (
                pytest.warns(UserWarning, match=rf"large is damaged \({path.name}"),
                pytest.raises(ValueError, match=f"{path.name} is not what its record says"),
            ):
                found.file(path.name)
        else:
            assert found is None, path
    assert seen == {files.RECORD, *run.record["files"]}


def test_a_changed_run_is_set_aside_and_made_again():
    run = store_run("exp05", 1, (5, 10, 5, 10))
    change_byte(run.folder / "history.csv", random.Random(1))
    with pytest.warns(
        UserWarning, match=rf"{run.key} is damaged \(history\.csv .* moved to {run.key}\.broken"
    ):
        again = store_run("exp05", 1, (5, 10, 5, 10))
    assert again.record["files"]["confusion.npz"] == run.record["files"]["confusion.npz"]
    assert (run.folder.with_name(f"{run.key}.broken") / "history.csv").is_file()


@pytest.mark.parametrize("name", ["confusion.npz", "predictions.npz", "history.csv", "steps.csv"])
def test_a_run_read_for_one_figure_names_the_file_that_was_changed(name):
    def fill(folder):
        run = store_run("exp05", 1, (5, 10, 5, 10))
        for file in ("history.csv", "steps.csv"):
            shutil.copy(run.folder / "history.csv", folder / file)
        predicted = {"test/HS15_0": np.ones((4, 4), dtype=np.uint8)}
        write_results(folder, run.confusion, run.matrices, predicted, predicted)
        return {"losses": {}}

    run = open_run("exp05", "k1", {"parameters": {"name": "exp05"}, "seed": 1}, fill)
    change_byte(run.folder / name, random.Random(2))
    read = {"confusion.npz": "matrices", "predictions.npz": "_predictions"}.get(name, name.split(".")[0])
    with (
        pytest.warns(UserWarning, match=rf"k1 is damaged \({name}"),
        pytest.raises(ValueError, match=f"{name} is not what its record says; run the notebook again"),
    ):
        getattr(run, read)
    assert [found.key for found in store.find() if found.key == "k1"] == []


def test_a_changed_byte_of_maps_is_never_used_without_a_word(images, tmp_path):
    model, draw, seen = predictor(), random.Random(3), set()
    made = maps.change_map(model, *images, tmp_path / "out", tiling=TILING)
    record, left_out = made.record, ("status", "files", "pixels", files.WRITTEN)
    plan = {name: value for name, value in record.items() if name not in left_out}
    for path in changes(made.folder, draw):
        seen.add(path.name)
        if path.name == files.RECORD:
            with pytest.raises(ValueError, match="no complete maps"):
                _ = made.record
            said = files._says(path, maps.KIND)
            told = pytest.warns(UserWarning, match=r"record\.json is damaged: moved to record\.json\.broken")
            with told if said else pytest.raises(ValueError, match="give a new or an empty folder"):
                files.claim(made.folder, maps.KIND, images, maps.OUTPUTS)
            path.with_name("record.json.broken").unlink(missing_ok=True)
        else:
            with pytest.warns(UserWarning, match=f"{path.name} is damaged: moved to {path.name}.broken"):
                assert not maps._complete(made.folder, plan), path
            for each in made.folder.glob("*.broken*"):
                each.unlink()
    assert seen == {files.RECORD, *record["files"]}


@pytest.mark.parametrize("name", ["fromto.tif", "record.json"])
def test_changed_maps_are_made_again(name, images, tmp_path):
    made = maps.change_map(predictor(), *images, tmp_path / "out", tiling=TILING)
    good, record = made.fromto.read_bytes(), made.record
    change_byte(made.folder / name, random.Random(4))
    with pytest.warns(UserWarning, match=f"{name} is damaged"):
        maps.change_map(predictor(), *images, tmp_path / "out", tiling=TILING)
    assert made.fromto.read_bytes() == good
    assert made.record == record


def test_a_changed_strip_is_computed_again(images, tmp_path):
    whole = maps.change_map(predictor(), *images, tmp_path / "whole", tiling=TILING)
    model, seen = predictor(), []
    honest = model.probabilities

    def stopped(*given):
        seen.append(1)
        if len(seen) > 4:
            raise StoppedError
        return honest(*given)

    model.probabilities = stopped
    with pytest.raises(StoppedError):
        maps.change_map(model, *images, tmp_path / "out", tiling=TILING, batch=1)
    (strip, *_) = sorted((tmp_path / "out" / ".strips").glob("strip_*"))
    change_byte(strip, random.Random(5))
    with pytest.warns(UserWarning, match=rf"{strip.name} is damaged"):
        again = maps.change_map(predictor(), *images, tmp_path / "out", tiling=TILING, batch=1)
    for name in ("t1", "t2", "fromto", "confidence"):
        assert getattr(again, name).read_bytes() == getattr(whole, name).read_bytes()


def test_polygons_and_a_page_that_somebody_changed_are_set_aside(images, tmp_path):
    def write():
        polygons.write_polygons(no_changes, tmp_path / "out")
        page.write_page(*images, no_changes, tmp_path / "out")

    columns = {name: [] for name in polygons.COLUMNS}
    no_changes = geopandas.GeoDataFrame(columns, geometry=[], crs="EPSG:32650")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        write()
        write()
    draw = random.Random(12)
    for name in ("changes.gpkg", "changes.geojson", "changes.html"):
        change_byte(tmp_path / "out" / name, draw)
        with pytest.warns(UserWarning, match=f"{name} is damaged: moved to {name}.broken"):
            write()
        assert (tmp_path / "out" / f"{name}.broken").is_file()


def test_a_changed_byte_of_a_cache_is_never_used(tmp_path):
    place, draw = tmp_path / "cache" / "kept.json", random.Random(6)
    files.write_json(files.writable(place.parent) / place.name, {"problems": [["é", 0.1]], "a": None})
    assert files.read_json(place) == {"problems": [["é", 0.1]], "a": None}
    for _ in changes(place.parent, draw):
        assert files.read_json(place) is None


def test_a_changed_byte_of_the_city_is_never_used(tmp_path, monkeypatch):
    small = {"patch_size": 32, "rows": 1, "cols": 2, "areas": ("HS",)}
    monkeypatch.setitem(synthetic.CITIES, "small", small)
    monkeypatch.setenv("WUSU_CACHE", str(tmp_path / "cache"))
    root, draw = tree.demo_city(), random.Random(7)
    assert tree.whole_city(root) == root
    for path in changes(root, draw):
        assert tree.whole_city(root) is None, path
    change_byte(next(root.rglob("*.tif")), draw)
    with pytest.warns(UserWarning, match=f"{root.name} is damaged: moved to {root.name}.broken"):
        assert tree.demo_city() == root
    assert tree.whole_city(root) == root


def test_a_changed_byte_of_a_sealed_file_is_noticed(tmp_path):
    path, draw = tmp_path / "state" / "strip.npy", random.Random(8)
    path.parent.mkdir()
    path.write_bytes(draw.randbytes(300))
    files.add_seal(path)
    assert files.is_sealed(path)
    for _ in changes(path.parent, draw):
        assert not files.is_sealed(path)
    path.write_bytes(b"")
    assert not files.is_sealed(path)


# Records that are JSON of another shape are as good as none.

SHAPES = ("[]", '"x"', "3", "{}", '{"status": "complete"}', '{"status": "complete", "files": null}')


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("place", ["run", "link", "partial", "registered"])
def test_a_record_of_another_shape_does_not_hide_the_others(shape, place):
    good, other = (store_run("exp05", seed, (5, 10, 5, 10)) for seed in (1, 2))
    registered = {"scale": "demo", "data": "d", "predictions": [], "looks": 1}
    store.register("exp05", "a", registered)
    link = store.root() / "exp05" / other.key / store.LINK
    if place == "run":
        (other.folder / files.RECORD).write_text(shape)
    elif place == "link":
        link.write_text(shape)
    elif place == "partial":
        (other.folder / files.RECORD).write_text(shape)
        other.folder.rename(other.folder.with_name(f"{other.key}.partial"))
    else:
        shutil.rmtree(other.folder)
        (store.root() / "exp05" / store.REGISTERED / "b.json").write_text(shape)
    assert store.registrations("exp05") == [registered]
    if place == "link":
        with pytest.warns(UserWarning, match=r"link\.json is damaged and not used"):
            assert [run.key for run in store.find()] == [good.key]
        with pytest.warns(UserWarning, match=r"link\.json is damaged: moved to link\.json\.broken"):
            store_run("exp05", 2, (5, 10, 5, 10))
        assert len(store.find()) == 2
        return
    assert [run.key for run in store.find()] == [good.key]
    assert len(store.incomplete()) == (place == "partial")


@pytest.mark.parametrize("shape", [{}, {"files": None}, {"files": [1]}, {"files": {"history.csv": 3}}])
def test_a_sealed_record_of_another_shape_is_none_either(shape):
    good, other = (store_run("exp05", seed, (5, 10, 5, 10)) for seed in (1, 2))
    record = {name: value for name, value in other.record.items() if name != "files"}
    files.write_json(other.folder / files.RECORD, record | shape)
    assert [run.key for run in store.find()] == [good.key]


def test_what_was_registered_and_changed_is_kept_beside_what_is_registered_anew():
    registered = {"scale": "demo", "data": "d", "predictions": [], "looks": 1}
    store.register("exp05", "a", registered)
    path = store.root() / "exp05" / store.REGISTERED / "a.json"
    change_byte(path, random.Random(9))
    assert store.registration("exp05", "a") == {}
    with pytest.warns(UserWarning, match=r"a\.json is damaged: moved to a\.json\.broken"):
        store.register("exp05", "a", registered)
    assert store.registration("exp05", "a") == registered


# Inputs that change, and numbers that are none.


def test_an_image_that_changes_while_it_is_mapped_is_refused(images, tmp_path):
    model = predictor()
    honest = model.probabilities

    def meanwhile(*given):
        write_scene(images[1], noise(80, 90, 7))
        return honest(*given)

    model.probabilities = meanwhile
    with pytest.raises(ValueError, match=r"2\.tif changed while it was mapped; nothing was kept"):
        maps.change_map(model, *images, tmp_path / "out", tiling=TILING)
    assert not (tmp_path / "out" / ".strips").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_gives_no_finite_numbers_makes_no_maps(images, tmp_path, value):
    model = predictor(name="exp05, run k1")
    next(model.model.parameters()).data[0] = value
    with pytest.raises(ValueError, match="exp05, run k1 gives values that are not finite"):
        maps.change_map(model, *images, tmp_path / "out", tiling=TILING)


# A training that was interrupted and whose state was damaged meanwhile.


def train(folder: Path, data: Path, stop: bool) -> dict:
    parameters = tiny.settings(epochs=3)
    module = tiny.data(data, parameters)
    if stop:
        honest = module.train_dataloader

        def loader():
            found = honest()
            set_epoch = found.sampler.set_epoch

            def at_the_second(epoch):
                if epoch == 2:
                    raise StoppedError
                set_epoch(epoch)

            found.sampler.set_epoch = at_the_second
            return found

        module.train_dataloader = loader
    return fit(folder, tiny.build(0), module, parameters, 0)


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:1000]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not torch's"),
    "byte": lambda path: change_byte(path, random.Random(10)),
    "weights": lambda path: change_byte(next(path.parent.glob(".best-*")), random.Random(11)),
    "no weights": lambda path: next(path.parent.glob(".best-*")).unlink(),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    data = tiny.write_tree(tmp_path_factory.mktemp("tree"))
    folder = tmp_path_factory.mktemp("whole")
    return data, train(folder, data, stop=False)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_training_begins_anew(damage, trained, tmp_path):
    data, whole = trained
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(StoppedError):
        train(folder, data, stop=True)
    DAMAGES[damage](folder / ".checkpoint.pt")
    with pytest.warns(UserWarning, match=r"\.checkpoint\.pt is damaged \(training begins anew\)"):
        again = train(folder, data, stop=False)
    assert (again["losses"], again["epochs"]) == (whole["losses"], whole["epochs"])


def test_the_weights_of_a_run_have_the_mode_of_its_other_files(trained, tmp_path):
    before = os.umask(0o022)
    try:
        run = open_run(
            "exp05", "k1", {"parameters": {"name": "exp05"}, "seed": 0},
            lambda folder: train(folder, trained[0], stop=False),
        )  # fmt: skip
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((run.folder / name).stat().st_mode) for name in run.record["files"]}
    assert set(modes.values()) == {0o644}, modes
