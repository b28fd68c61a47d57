"""Other people's files stay as they are, whoever writes; what was changed is never used without a word."""

import os
import random
import shutil
import warnings

import pytest
from small_scenes import noise, predictor, write_scene
from stored_runs import store as store_run
from test_polygons import UTM, fields, rasters

from wusu_lib import files, synthetic
from wusu_lib.experiment.notebooks import copy_experiment
from wusu_lib.runs import store
from wusu_lib.scenes import maps, polygons, tool
from wusu_lib.scenes.sweep import Tiling
from wusu_lib.scenes.viewer.page import write_page

TILING = Tiling(64, 16, 2)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("WUSU_RUNS", str(tmp_path / "runs"))


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    return [write_scene(folder / f"{n}.tif", noise(80, 90, n)) for n in (1, 2)]


def found_changes(tmp_path):
    (tmp_path / "traced").mkdir(exist_ok=True)
    return polygons.polygons(*rasters(tmp_path / "traced", fields(), **UTM))


def write_a_run(folder, _, __):
    with store.making("exp05", folder.name.removesuffix(".partial"), {"parameters": {}}) as draft:
        draft.record["losses"] = {}


WRITERS = {
    "map_change": lambda out, images, _: tool.prepare(
        {"name": "map_change", "run": "exp05", "out": str(out), "t1": str(images[0]), "t2": str(images[1])}
    ),
    "change_map": lambda out, images, _: maps.change_map(predictor(), *images, out, tiling=TILING),
    "class_map": lambda out, images, _: maps.class_map(predictor(), images[0], out, tiling=TILING),
    "polygons": lambda out, _, tmp_path: polygons.write_polygons(found_changes(tmp_path), out),
    "page": lambda out, images, tmp_path: write_page(*images, found_changes(tmp_path), out),
    "run": write_a_run,
    "city": lambda out, _, __: synthetic.write(out, patch_size=64, rows=4, cols=3, areas=("HS",)),
}


def own_files(folder, victim):
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")


def own_results(folder, victim):
    folder.mkdir(parents=True)
    for name in ("t1.tif", "fromto.tif", "changes.gpkg", "changes.geojson", "changes.html", "history.csv"):
        (folder / name).write_text(f"my {name}")


def own_record(folder, victim):
    folder.mkdir(parents=True)
    (folder / "record.json").write_text('{"holds": "something of mine", "files": {}}')


def a_record_of_another_shape(folder, victim):
    folder.mkdir(parents=True)
    (folder / "record.json").write_text("[]")


def hidden_state(folder, victim):
    (folder / ".strips").mkdir(parents=True)
    (folder / ".strips" / "strip_000_00000.npy").write_text("mine")
    (folder / ".checkpoint.pt").write_text("mine")


def links(folder, victim):
    folder.mkdir(parents=True)
    for name in (".changes.html.tmp", ".t1.tif.plain.tif", ".lock", "record.json", "changes.html"):
        (folder / name).symlink_to(victim)


def folders(folder, victim):
    for name in ("t1.tif", "changes.html", ".lock", "record.json"):
        (folder / name).mkdir(parents=True)
        (folder / name / "inside").write_text("mine")


def a_tree(folder, victim):
    (folder / "train" / "HS" / "imgs").mkdir(parents=True)
    (folder / "train" / "HS" / "imgs" / "HS15_0.tif").write_text("mine")
    (folder / "class_mapping.json").write_text("{}")


SITUATIONS = (
    own_files, own_results, own_record, a_record_of_another_shape, hidden_state, links, folders, a_tree,
)  # fmt: skip


def content(folder):
    """Every file below, with its bytes or where it leads."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda made: made.__name__)
@pytest.mark.parametrize("writer", WRITERS)
def test_no_foreign_byte_is_changed(writer, situation, images, tmp_path):
    victim = tmp_path / "victim.txt"
    victim.write_text("somebody's")
    out = tmp_path / "runs" / store.STORE / "k1.partial" if writer == "run" else tmp_path / "out"
    situation(out, victim)
    before = content(out)
    with pytest.raises((ValueError, FileExistsError), match=r"give a new or an empty folder"):
        WRITERS[writer](out, images, tmp_path)
    assert content(out) == before
    assert victim.read_text() == "somebody's"


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda made: made.__name__)
def test_what_stands_in_the_place_of_a_cache_is_set_aside_whole(situation, tmp_path):
    place, victim = tmp_path / "cache" / "kept.json", tmp_path / "victim.txt"
    victim.write_text("somebody's")
    situation(place, victim)
    before = content(place)

    def make(path):
        files.write_json(path, {"a": 1})
        return {"a": 1}

    with pytest.warns(UserWarning, match=r"kept\.json is damaged: moved to kept\.json\.broken"):
        assert files.kept(place, lambda path: files.read_json(path), make) == {"a": 1}
    assert content(tmp_path / "cache" / "kept.json.broken") == before
    assert victim.read_text() == "somebody's"


def test_an_experiment_is_not_written_through_a_link(tmp_path):
    (tmp_path / "notebooks").mkdir()
    shutil.copy(maps.provenance.repository() / "notebooks" / "exp05.ipynb", tmp_path / "notebooks")
    shutil.copy(maps.provenance.repository() / "_toc.yml", tmp_path)
    (tmp_path / "notebooks" / "exp77.ipynb").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        copy_experiment("77", "5", tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_maps_never_replace_their_images(tmp_path):
    images = [write_scene(tmp_path / f"t{n}.tif", noise(80, 90, n)) for n in (1, 2)]
    before = content(tmp_path)
    for write in (WRITERS["map_change"], WRITERS["change_map"], WRITERS["page"]):
        with pytest.raises(ValueError, match=r"t1\.tif"):
            write(tmp_path, images, tmp_path)
        assert {name: data for name, data in content(tmp_path).items() if name in before} == before


def test_maps_never_go_into_a_run(images):
    run = store_run("exp05", 1, (5, 10, 5, 10))
    before = content(run.folder)
    with pytest.raises(ValueError, match=r"record\.json is there"):
        WRITERS["change_map"](run.folder, images, None)
    assert content(run.folder) == before


def test_polygons_that_somebody_edited_are_kept(tmp_path):
    written = polygons.write_polygons(found_changes(tmp_path), tmp_path / "out")
    written.geojson.write_text("edited")
    with pytest.warns(UserWarning, match=r"changes\.geojson is not what its record says: moved to"):
        polygons.write_polygons(found_changes(tmp_path), tmp_path / "out")
    assert (tmp_path / "out" / "changes.geojson.broken").read_text() == "edited"


def test_files_have_the_modes_of_the_users_umask(tmp_path):
    from safetensors.numpy import save_file

    before = os.umask(0o027)
    try:
        with files.replacing(tmp_path / "model.safetensors") as draft:
            save_file({"a": noise(8, 8)}, draft)
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o640


# Single bytes changed at random places: 200 in all, over every file of a run, of maps and of a cache.

PLACES = range(200)


def changed(folder, draw):
    """Change one byte of one file below a folder; the file, and how to undo it."""
    path = draw.choice(sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size))
    data = path.read_bytes()
    at = draw.randrange(len(data))
    path.write_bytes(data[:at] + bytes([data[at] ^ draw.randrange(1, 256)]) + data[at + 1 :])
    return path


def test_a_changed_byte_of_a_run_is_never_used_without_a_word(tmp_path):
    run, draw = store_run("exp05", 1, (5, 10, 5, 10)), random.Random(0)
    shutil.copytree(run.folder, tmp_path / "good")
    for _ in PLACES:
        path = changed(run.folder, draw)
        assert store.stored("exp05", run.key, run.parameters) is None, path
        shutil.rmtree(run.folder)
        shutil.copytree(tmp_path / "good", run.folder)
    changed(run.folder, draw)
    with pytest.warns(UserWarning, match=f"{run.key} is damaged: moved to {run.key}.broken"):
        store_run("exp05", 1, (5, 10, 5, 10))


def test_a_run_read_for_one_figure_names_the_file_that_was_changed():
    run = store_run("exp05", 1, (5, 10, 5, 10))
    path = run.folder / "confusion.npz"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with (
        pytest.warns(UserWarning, match=r"confusion\.npz is not what its record says"),
        pytest.raises(ValueError, match=r"confusion\.npz is not what its record says; run the notebook"),
    ):
        _ = run.matrices
    assert store.find() == []


def test_a_changed_byte_of_maps_is_never_used_without_a_word(images, tmp_path):
    model, draw = predictor(), random.Random(1)
    made = maps.change_map(model, *images, tmp_path / "out", tiling=TILING)
    shutil.copytree(made.folder, tmp_path / "good")
    plan = {name: value for name, value in made.record.items() if name not in ("status", "files", "pixels")}
    for _ in PLACES:
        path = changed(made.folder, draw)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            refused = ""
            try:
                files.claim(made.folder, files.MAPS, files.MAP_FILES)
            except ValueError as error:  # the words by which it is known were changed: it is nobody's
                refused = str(error)
            if path.name != ".lock":
                assert "record.json" in refused if refused else not maps._complete(made.folder, plan), path
                assert said or refused, path
        shutil.rmtree(made.folder)
        shutil.copytree(tmp_path / "good", made.folder)


def test_a_changed_byte_of_a_cache_or_a_link_is_never_used(tmp_path):
    place, draw = tmp_path / "cache" / "kept.json", random.Random(2)
    place.parent.mkdir()
    for _ in PLACES:
        files.write_json(place, {"problems": [["é", 0.1]], "fingerprint": "0123456789abcdef"})
        changed(place.parent, draw)
        assert files.read_json(place) is None


def test_a_changed_strip_or_checkpoint_is_noticed(tmp_path):
    path, draw = tmp_path / "state" / "strip.npy", random.Random(3)
    path.parent.mkdir()
    for _ in PLACES:
        path.write_bytes(draw.randbytes(300))
        files.add_seal(path)
        assert files.is_sealed(path)
        changed(path.parent, draw)
        assert not files.is_sealed(path)


@pytest.mark.parametrize(
    "text", ["[]", '"x"', "{}", '{"status": "complete"}', '{"status": "complete", "files": null}']
)
def test_a_record_of_another_shape_does_not_hide_the_others(text):
    good, other = (store_run("exp05", seed, (5, 10, 5, 10)) for seed in (1, 2))
    (other.folder / "record.json").write_text(text)
    assert [run.key for run in store.find()] == [good.key]


def test_an_image_that_changes_while_it_is_mapped_is_refused(images, tmp_path):
    model = predictor()
    honest = model.probabilities

    def meanwhile(*given):
        write_scene(images[1], noise(80, 90, 7))
        return honest(*given)

    model.probabilities = meanwhile
    with pytest.raises(ValueError, match=r"2\.tif changed while it was mapped"):
        maps.change_map(model, *images, tmp_path / "out", tiling=TILING)


def test_a_model_that_gives_no_finite_numbers_makes_no_maps(images, tmp_path):
    model = predictor(name="exp05, run k1")
    next(model.model.parameters()).data[0] = float("nan")
    with pytest.raises(ValueError, match="exp05, run k1 gives values that are not finite"):
        maps.change_map(model, *images, tmp_path / "out", tiling=TILING)
