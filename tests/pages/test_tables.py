"""The tables of a notebook: formatting, spread over seeds, what carries a dagger, what is missing."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from small_tree import write_raster, write_tree
from stored_runs import store

from wusu_lib.data import inspection, statistics
from wusu_lib.experiment import parameters
from wusu_lib.experiment.per_pixel import PixelParameters
from wusu_lib.experiment.segmentation import SegmentationParameters
from wusu_lib.pages import data, results, style


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("WUSU_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("WUSU_CACHE", str(tmp_path / "cache"))


def test_ten_columns_are_means_over_seeds_with_their_spread():
    mine = [
        store("exp05", 1, (8, 10, 5, 10), losses={"val": 0.7, "train": 0.5}),
        store("exp05", 2, (6, 10, 5, 10), losses={"val": 0.9, "train": 0.5}),
    ]
    shown = results.ten_columns_table(mine, [store("exp00", 1, (8, 10, 5, 10))]).data
    assert list(shown.index) == ["exp05", "exp00", "exp05, reported"]
    # mIoU: (8/15 + 5/12) / 2 = 0.475 and (6/15 + 5/14) / 2 = 0.379
    assert shown.loc["exp05", ("val", "mIoU")] == "0.427 ± 0.068"
    assert shown.loc["exp05", ("val", "loss")] == "0.800 ± 0.141"
    assert shown.loc["exp05", ("train", "loss")] == "0.500 ± 0.000"
    assert shown.loc["exp00", ("val", "mIoU")] == "0.475"
    assert shown.loc["exp00", ("val", "acc")] == "0.650"
    assert shown.loc["exp00", ("val", "F1")] == "0.642"
    assert shown.loc["exp00", ("train", "pixel_acc")] == "0.900"
    assert shown.loc["exp00", ("val", "loss")] == "–"
    assert shown.loc["exp05, reported", ("val", "pixel_acc")] == "0.6812"


def test_the_protocol_of_the_ten_columns_is_named_and_used():
    matrix = np.zeros((12, 12), dtype=np.int64)
    matrix[0, 1], matrix[1, 1] = 30, 10  # unlabelled ground all taken for road
    ignoring, counting = (
        results.ten_columns_table([store("exp01", 1, matrix, background=b)]).data for b in ("ignore", "class")
    )
    assert (ignoring.index.name, counting.index.name) == ("background: ignore", "background: class")
    assert ignoring.loc["exp01", ("val", "pixel_acc")] == "1.000"
    assert counting.loc["exp01", ("val", "pixel_acc")] == "0.250"


def test_exactly_the_implausible_reported_figures_carry_a_dagger():
    marked = {
        (name, column): text
        for name in results.reported_figures().index
        for column, text in results.reported_row(name).items()
        if "†" in text
    }
    assert marked == {
        ("exp02", "val/loss"): "0.5286 †",
        ("exp02", "val/acc"): "1.109 †",
        ("exp07", "train/F1"): "0.5298 †",
    }
    assert results.reported_row("exp05")["val/mIoU"] == "0.38"


STATED = {
    "name": "exp05",
    "prediction": "val mIoU rises by at least 0.01 over exp04",
    "backbone": "prithvi_600m",
    "decoder": "deeplab",
}


def test_parameters_stand_beside_those_of_the_baseline():
    mine = parameters.parse(SegmentationParameters, {**STATED, "learning_rate": 0.01})
    theirs = parameters.parse(SegmentationParameters, {**STATED, "name": "exp04", "decoder": "fpn"})
    exp = SimpleNamespace(parameters=mine, baseline_parameters=lambda: theirs, notes=[])
    shown = style.parameters_table(exp).data
    assert list(shown) == ["value", "in exp04", "meaning"]
    assert shown.loc["decoder"].tolist()[:2] == ["deeplab", "← fpn"]
    assert shown.loc["learning_rate"].tolist() == ["0.01", "← 0.001", "of the decoder (and of all with full)"]
    assert shown.loc["backbone"].tolist() == ["prithvi_600m", "same", "encoder"]
    assert shown.loc["data_root"].tolist()[:2] == ["–", "same"]
    assert shown.loc["bands", "meaning"] == ("what the model sees: four bands, or no infrared (all, rgb)")
    assert set(shown.index) == set(SegmentationParameters.model_fields)


def test_parameters_that_the_baseline_does_not_have_and_no_baseline():
    floor = parameters.parse(PixelParameters, {"name": "exp00"})
    mine = parameters.parse(SegmentationParameters, STATED)
    against_floor = SimpleNamespace(parameters=mine, baseline_parameters=lambda: floor, notes=[])
    beside = style.parameters_table(against_floor).data
    assert beside.loc["decoder", "in exp00"] == "–"
    by_itself = SimpleNamespace(parameters=floor, baseline_parameters=lambda: None, notes=[])
    alone = style.parameters_table(by_itself).data
    assert list(alone) == ["value", "meaning"]
    assert alone.loc["seeds", "value"] == "[42]"


def problems_of(*severities):
    frame = pd.DataFrame({"severity": severities, "problem": [f"p{i}" for i in range(len(severities))]})
    found = frame.assign(file="a.tif", detail="some words", count=1)
    return SimpleNamespace(dossier=SimpleNamespace(problems=found))


def test_the_worst_problems_come_first():
    shown = data.problems_table(problems_of("note", "error", "warning", "error"), most=3).data
    assert shown["severity"].tolist() == ["error", "error", "warning"]
    assert shown["problem"].tolist() == ["p1", "p3", "p2"]
    assert data.problems_table(problems_of()).data.to_dict("list") == {
        "severity": ["none"],
        "problem": ["no problem was found"],
    }


def test_bands_by_date_and_together(tmp_path):
    rows = []
    for date, level in ((15, 100), (18, 50)):
        image = tmp_path / f"{date}.tif"
        write_raster(image, np.full((4, 2, 2), level, dtype=np.uint8))
        rows.append({"image": str(image), "mask": None, "date": date, "patch": str(date)})
    measured = statistics.measure(pd.DataFrame(rows))
    shown = data.bands_table(SimpleNamespace(statistics=measured)).data
    assert shown.index.tolist() == ["2015", "2018", "all dates"]
    assert shown.loc["2018"].tolist() == ["50.0 ± 0.0"] * 4
    assert shown.loc["all dates"].tolist() == ["75.0 ± 25.0"] * 4


def test_shared_ground_under_each_division(tmp_path):
    root = write_tree(tmp_path / "tree", rows=4, columns=3)
    exp = SimpleNamespace(dossier=inspection.inspect(root))
    shown = data.shared_ground_table(exp)
    assert shown.data.loc["study", "val also in test"] > 0.5
    assert shown.data.loc["blocks", "val also in test"] == 0
    assert shown.data.loc["study", ["sites: train", "val", "test"]].tolist() == [12, 6, 6]
    assert shown.data.loc["folders", ["sites: train", "val", "test"]].tolist() == [12, 0, 12]
    html = shown.to_html()
    assert "0.0%" in html
    assert "–" in html  # folders has no validation


def test_provenance_says_what_made_each_run():
    clean, changed = store("exp05", 1, (8, 10, 5, 10)), store("exp04", 2, (8, 10, 5, 10))
    changed.record["git"] = {"commit": "0123456789abcdef", "dirty": True}
    unknown = store("exp00", 3, (8, 10, 5, 10))
    unknown.record["git"] = {"commit": None, "dirty": None}
    clean.record["peak_memory_bytes"] = 2_340_000_000
    unknown.differs = ("wusu_lib.models.segmentation", "torch 2.0 instead of 2.1")
    shown = style.provenance_table([clean], [changed, unknown]).data
    assert shown["code"].tolist() == [
        "as here",
        "as here",
        "made with other code: wusu_lib.models.segmentation, torch 2.0 instead of 2.1",
    ]
    assert shown.index[0] == f"exp05/{clean.key}"
    assert shown["commit"].tolist() == ["01234567", "01234567 + changes", "no repository"]
    assert shown["minutes"].tolist() == [1.5] * 3
    assert shown["peak memory, GB"].iloc[0] == 2.3
    assert shown["seed"].tolist() == [1, 2, 3]
    assert shown["experiment"].tolist() == ["exp05", "exp04", "exp00"]


def test_text_is_told_from_numbers_for_the_pages_style():
    frame = pd.DataFrame({"a": ["x"], "b": [1.5], "c": ["long words"]})
    html = style.styled_table(frame, "made", prose=["c"], index=False).to_html()
    assert 'id="T_made"' in html
    assert 'class="data row0 col0 text"' in html
    assert 'class="data row0 col2 prose"' in html
    headings = {
        n: f'class="col_heading level0 col{n}{more}"' for n, more in enumerate([" text", "", " text"])
    }
    assert all(heading in html for heading in headings.values())
