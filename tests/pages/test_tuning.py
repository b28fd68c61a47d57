"""How the demo's settings were chosen: every trial can be run, and what came out is told."""

import pandas as pd
import pytest

from wusu_lib.experiment.experiment import definition
from wusu_lib.experiment.parameters import parse
from wusu_lib.pages import published
from wusu_lib.synthetic import CITIES

ROWS = pd.DataFrame(
    [
        ("exp05", "learning_rate", "0.0005", False, 0.60),
        ("exp05", "learning_rate", "0.001", True, 0.65),
        ("exp05", "epochs", "4", True, 0.65),
        ("exp05", "epochs", "8", False, 0.70),
    ],
    columns=["experiment", "parameter", "value", "stated", "val mIoU"],
).assign(processor="P", commit="abc", finished="2026-01-02")


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    monkeypatch.setattr(published, "tuning_file", lambda: tmp_path / "tuning.csv")
    ROWS.to_csv(tmp_path / "tuning.csv", index=False)


@pytest.mark.parametrize(("name", "parameter", "values"), published.TUNED)
def test_every_value_is_allowed_and_one_is_what_the_notebook_states(name, parameter, values):
    if parameter == published.GROUND:
        assert values == ("small", "large")
        return
    own = definition(name).parameters
    tried = [parse(type(own), {**own.model_dump(), parameter: value}) for value in values]
    assert [getattr(stated, parameter) for stated in tried] == list(values)
    assert getattr(own, parameter) in values


def test_no_other_city_has_its_seed():
    assert published.TUNING_SEED not in {arguments["seed"] for arguments in CITIES.values()}


def test_the_best_value_is_told_with_its_gain(recorded):
    told = published.tuning_sentence().data
    assert "exp05, learning_rate: 0.001 is the best of 2 values." in told
    assert "exp05, epochs: 8 gave 0.050 more than the stated 4." in told
    assert told.endswith("Recorded on P with commit abc.")


def test_every_trial_is_a_row_and_the_stated_ones_are_marked(recorded):
    shown = published.tuning_table().data
    assert shown["stated"].tolist() == ["", "stated", "stated", ""]
    assert shown["val mIoU"].tolist() == [0.60, 0.65, 0.65, 0.70]


def test_without_a_record_the_page_says_how_to_make_one(monkeypatch, tmp_path):
    monkeypatch.setattr(published, "tuning_file", lambda: tmp_path / "none.csv")
    assert "make tuning" in published.tuning_sentence().data
    assert published.tuning_table() is None


def test_the_committed_record_has_a_row_a_trial():
    rows = published.recorded_tuning()
    asked = [(name, parameter) for name, parameter, values in published.TUNED for _ in values]
    assert list(zip(rows["experiment"], rows["parameter"], strict=True)) == asked
    assert rows.groupby(["experiment", "parameter"])["stated"].sum().eq(1).all()
    assert rows["val mIoU"].between(0, 1).all()
