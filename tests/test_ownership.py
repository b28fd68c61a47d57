"""Whose a folder is: no writer changes a byte of files that this library did not make."""

import os
import stat
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine

from wusu_lib import files, synthetic
from wusu_lib.experiment import notebooks
from wusu_lib.legend import ELEVEN
from wusu_lib.runs import store
from wusu_lib.scenes import maps, polygons, tool
from wusu_lib.scenes.viewer import page

PLACE = {"crs": "EPSG:32650", "transform": Affine(1, 0, 500_000, 0, -1, 3_000_000)}
SITUATIONS = ("outputs", "run", "tree", "page", "inputs", "shape", "link", "folder")
ALL = ("t1.tif", "fromto.tif", "changes.gpkg", "changes.geojson", "changes.html", "history.csv")


class Model:
    """A model that must not be reached."""

    window, labels, name, fingerprint, code = 64, ELEVEN, "none", "0", ()


def write_image(path: Path, value: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", count=4, height=64, width=64, dtype="uint8", **PLACE
    ) as file:
        file.write(np.full((4, 64, 64), value, dtype=np.uint8))
    return path


def foreign(folder: Path, situation: str) -> None:
    """Files of somebody else's in a folder, and what a link in it leads to."""
    folder.mkdir(parents=True)
    victim = folder.parent / "victim"
    victim.write_text("mine")
    if situation == "outputs":
        for name in ALL:
            (folder / name).write_text("mine")
    elif situation == "run":
        (folder / "record.json").write_text(
            '{"made": "another", "experiment": "exp05", "status": "complete"}'
        )
    elif situation == "tree":
        write_image(folder / "train" / "HS" / "imgs" / "HS15_0.tif", 9)
    elif situation == "page":
        (folder / "index.html").write_text("<p>mine")
    elif situation == "inputs":
        write_image(folder / "t1.tif", 1), write_image(folder / "t2.tif", 2)
    elif situation == "shape":
        (folder / "record.json").write_text("[]")
    elif situation == "link":
        for name in (*ALL, ".strips", "record.json"):
            (folder / name).symlink_to(victim)
    else:
        (folder / "t1.tif").mkdir()
        (folder / "t1.tif" / "notes.txt").write_text("mine")


def content(folder: Path) -> dict[tuple[int, int], bytes]:
    """Bytes of every file, by its inode: a file that was moved as it is has not changed."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {(path.stat().st_ino, path.stat().st_dev): path.read_bytes() for path in found}


def images(folder: Path, apart: Path) -> list[Path]:
    mine = [folder / "t1.tif", folder / "t2.tif"]
    if all(path.is_file() and not path.is_symlink() for path in mine):
        return mine
    return [write_image(apart / f"{n}.tif", n) for n in (1, 2)]


def no_changes() -> geopandas.GeoDataFrame:
    return geopandas.GeoDataFrame({"object": [], "to": [], "area_m2": []}, geometry=[], crs="EPSG:32650")


def change_map(folder, apart):
    maps.change_map(Model(), *images(folder, apart), folder)


def map_change(folder, apart):
    t1, t2 = images(folder, apart)
    tool.prepare({"run": "exp06", "t1": str(t1), "t2": str(t2), "out": str(folder)})


def example(folder, apart):
    tool.example_scene(folder)


def write_polygons(folder, apart):
    polygons.write_polygons(no_changes(), folder)


def write_page(folder, apart):
    page.write_page(*images(folder, apart), no_changes(), folder)


def city(folder, apart):
    synthetic.write(folder, patch_size=16, rows=1, cols=1, areas=("HS",))


REFUSING = (change_map, map_change, example, write_polygons, write_page, city)


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("writer", REFUSING, ids=lambda writer: writer.__name__)
def test_no_writer_touches_files_of_others(tmp_path, writer, situation):
    folder = tmp_path / "theirs" / "out"
    foreign(folder, situation)
    before, names = content(tmp_path / "theirs"), sorted(path.name for path in folder.rglob("*"))
    inside = sorted(folder.iterdir())[0].name
    with pytest.raises((ValueError, FileExistsError), match="new or an empty folder") as caught:
        writer(folder, tmp_path / "apart")
    assert content(tmp_path / "theirs") == before
    assert sorted(path.name for path in folder.rglob("*")) == names
    assert inside in str(caught.value).replace(str(tmp_path), "") or "t1.tif" in str(caught.value)


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("ending", ["", ".partial"])
def test_what_stands_in_the_place_of_a_run_is_set_aside(tmp_path, monkeypatch, situation, ending):
    monkeypatch.setenv("WUSU_RUNS", str(tmp_path / "runs"))
    foreign(tmp_path / "runs" / store.STORE / f"0123456789abcdef{ending}", situation)
    before = content(tmp_path)
    with pytest.warns(UserWarning, match=rf"0123456789abcdef{ending} is damaged.*: moved to"):
        make_run("0123456789abcdef")
    assert before.items() <= content(tmp_path).items()
    assert store.complete_record(tmp_path / "runs" / store.STORE / "0123456789abcdef")["status"] == "complete"


@pytest.mark.parametrize("text", ["mine", "[]", '"x"', '{"a": 1}'])
@pytest.mark.parametrize("written", ["link", "registration"])
def test_what_stands_in_the_place_of_an_experiments_own_file_is_set_aside(
    tmp_path, monkeypatch, written, text
):
    monkeypatch.setenv("WUSU_RUNS", str(tmp_path))
    key, content = "0123456789abcdef", {"scale": "demo", "data": "d", "predictions": [], "looks": []}
    path = tmp_path / "exp05" / (f"{key}/link.json" if written == "link" else "registered/abc.json")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.warns(UserWarning, match=rf"{path.name} is damaged: moved to {path.name}\.broken"):
        make_run(key) if written == "link" else store.register("exp05", "abc", content)
    assert path.with_name(f"{path.name}.broken").read_text() == text
    assert [run.key for run in store.find("exp05")] == [key] * (written == "link")
    assert store.registration("exp05", "abc") == (content if written == "registration" else {})


def make_run(key: str) -> None:
    with store.making("exp05", key, {"parameters": {}, "seed": 1}) as draft:
        (draft.folder / "history.csv").write_text("epoch\n")


def test_setting_aside_a_second_time_keeps_the_first(tmp_path):
    for text in "ab":
        (tmp_path / "x.json").write_text(text)
        with pytest.warns(UserWarning, match=r"x\.json is damaged"):
            files.set_aside(tmp_path / "x.json")
    assert (tmp_path / "x.json.broken").read_text() == "a"
    assert (tmp_path / "x.json.broken1").read_text() == "b"


@pytest.mark.parametrize("situation", ["text", "folder", "link"])
def test_what_stands_in_the_place_of_a_cached_file_is_set_aside(tmp_path, situation):
    path, victim = tmp_path / "thing.json", tmp_path / "victim"
    victim.write_text("mine")
    if situation == "text":
        path.write_text("[]")
    elif situation == "folder":
        path.mkdir()
    else:
        path.symlink_to(victim)

    def make(path):
        files.write_json(path, {"a": 1})
        return {"a": 1}

    with pytest.warns(UserWarning, match=r"thing\.json is damaged"):
        assert files.kept(path, lambda path: None, make) == {"a": 1}
    assert victim.read_text() == "mine"
    assert files.read_json(path) == {"a": 1}


def test_an_experiment_is_not_copied_over_a_link(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "exp17.ipynb").symlink_to(tmp_path / "away.ipynb")
    with pytest.raises(FileExistsError, match="exp17 is there already"):
        notebooks.copy_experiment("17", "05", tmp_path)
    assert not (tmp_path / "away.ipynb").exists()


def test_a_claimed_folder_is_taken_again_by_its_kind_only(tmp_path):
    assert files.claim(tmp_path / "out", "maps") == tmp_path / "out"
    (tmp_path / "out" / "t1.tif").write_text("of the first time")
    assert files.claim(tmp_path / "out", "maps") == tmp_path / "out"
    with pytest.raises(ValueError, match=r"record\.json: not written there by this tool"):
        files.claim(tmp_path / "out", "run")
    with pytest.raises(ValueError, match=r"holds t1\.tif"):
        files.claim(tmp_path / "out", "maps", inputs=[tmp_path / "out" / "t1.tif"])
    (tmp_path / "out" / "t2.tif").mkdir()
    with pytest.raises(ValueError, match=r"t2\.tif is a folder"):
        files.claim(tmp_path / "out", "maps", names=["t2.tif"])


def test_a_draft_cannot_be_foreseen_and_has_the_mode_of_the_umask(tmp_path):
    def replaced_by_a_private_file(draft):
        draft.unlink()
        os.close(os.open(draft, os.O_CREAT | os.O_WRONLY, 0o600))
        return draft.name

    names, before = set(), os.umask(0o027)
    try:
        for _ in range(2):
            with files.replacing(tmp_path / "model.safetensors") as draft:
                names.add(replaced_by_a_private_file(draft))
    finally:
        os.umask(before)
    assert len(names) == 2
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == 0o640


def test_a_draft_that_fails_leaves_nothing(tmp_path):
    def half_written():
        with files.replacing(tmp_path / "a") as draft:
            draft.write_text("half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        half_written()
    assert list(tmp_path.iterdir()) == []


def test_a_draft_is_made_exclusively(tmp_path, monkeypatch):
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: "known")
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".a.known.tmp").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError), files.replacing(tmp_path / "a") as draft:
        draft.write_text("ours")
    assert (tmp_path / "victim").read_text() == "mine"
