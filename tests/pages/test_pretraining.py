"""The page of the miniatures' pre-training: what was recorded is shown as it was recorded."""

import pandas as pd
import pytest

from wusu_lib.models.catalogue import BACKBONES
from wusu_lib.pages import training

ROWS = pd.DataFrame(
    [
        ("clay", 0, "a", "0.5000 0.5200", "0.2000 0.2100", 0.305, 0.28, 0.33),
        ("resnet", 0, "b", "0.4100", "0.4000", 0.01, -0.01, 0.03),
        ("resnet", 1, "c", "0.4300", "0.4000", 0.03, 0.01, 0.05),
    ],
    columns=[*("miniature", "pre-training seed", "hash"), *("pretrained", "random", "gain", "low", "high")],
)


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    path = tmp_path / "frozen.csv"
    ROWS.to_csv(path, index=False)
    monkeypatch.setattr(training, "FROZEN", path)


def test_the_sentence_counts_what_is_sure_and_tells_the_spread(recorded):
    told = training.frozen_gains_sentence().data
    assert "Of 3 encoders 2 gain with an interval clear of zero." in told
    assert "from +0.010 to +0.305" in told
    assert "resnet was pre-trained with 2 seeds: the gains are +0.010 and +0.030." in told
    assert "clay was" not in told


def test_the_table_has_a_row_a_pretraining(recorded):
    shown = training.frozen_gains_table().data
    assert shown["95 % interval"].tolist() == ["+0.280 to +0.330", "-0.010 to +0.030", "+0.010 to +0.050"]
    assert shown["gain"].tolist() == ["+0.305", "+0.010", "+0.030"]


def test_every_miniature_has_a_row_and_curves_to_its_last_step():
    names = {entry.miniature for entry in BACKBONES.values()}
    worlds = training.worlds_table().data.set_index("miniature")
    assert set(worlds.index) == names
    visible, hidden = training.pretraining_curves_figure().axes
    assert {line.get_label(): line.get_xdata()[-1] for line in visible.lines} == worlds["steps"].to_dict()
    assert {line.get_label() for line in hidden.lines} == set(worlds.index[worlds["blanked"] > 0])


def test_the_figures_are_of_the_weights_that_stand_beside_them():
    rows, records = training.frozen_gains(), training.miniatures()
    assert len(rows)
    for row in rows[rows["pre-training seed"] == 0].itertuples():
        assert row.hash == records[row.miniature]["hash"]
