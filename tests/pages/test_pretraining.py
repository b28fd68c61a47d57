"""The page of the miniatures' pre-training: what was recorded is shown as it was recorded."""

import numpy as np
import pandas as pd
import pytest

from wusu_lib.models.catalogue import BACKBONES
from wusu_lib.pages import pretraining

SHAS = {name: record["hash"] for name, record in pretraining.miniatures().items()}
ROWS = pd.DataFrame(
    [
        ("clay", 0, "all", "random", SHAS["clay"], "0.5000 0.5200", "0.2000 0.2100", 0.305, 0.28, 0.33),
        ("dinov3", 0, "rgb", "random", SHAS["dinov3"], "0.4100", "0.4000", 0.01, -0.01, 0.03),
        ("dinov3", 1, "rgb", "random", "c", "0.4300", "0.4000", 0.03, 0.01, 0.05),
        ("dinov3", 0, "all", "random", SHAS["dinov3"], "0.4200", "0.4000", 0.02, 0.01, 0.03),
        ("dinov3", 0, "all", "with infrared", SHAS["dinov3"], "0.4200", "0.4500", -0.03, -0.04, -0.02),
        ("clay", 0, "all", "at 1 m instead of 4 m", SHAS["clay"], "0.5", "0.5", 0.0, -0.01, 0.01),
    ],
    columns=[
        *("miniature", "seed", "bands", "against", "hash"),
        *("mIoU", "mIoU against"),
        *("gain", "low", "high"),
    ],
)


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    path = tmp_path / "frozen.csv"
    ROWS.to_csv(path, index=False)
    monkeypatch.setattr(pretraining, "FROZEN", path)


def test_the_sentence_counts_what_is_sure_and_tells_the_spread(recorded):
    told = pretraining.frozen_gains_sentence().data
    assert "Of 3 comparisons of the published weights with random ones 2 show a gain" in told
    assert "from +0.010 to +0.305" in told
    assert "dinov3 was pre-trained with 2 seeds: the gains without infrared are +0.010 and +0.030." in told
    assert "dinov3 reaches 0.410 without infrared and 0.420 with it" in told
    assert "clay was" not in told
    assert "Not measured: dinov2, prithvi_300m, prithvi_600m and resnet." in told


def test_a_shift_costs_or_it_is_said_that_it_does_not(recorded):
    told = pretraining.frozen_costs_sentence().data
    assert "with infrared: the shift costs 0.030 of mean IoU." in told
    assert "at 1 m instead of 4 m: no cost is shown (between -0.010 and +0.010)." in told


def test_the_tables_have_a_row_a_comparison(recorded):
    shown = pretraining.frozen_gains_table().data
    assert shown["95 % interval"].tolist()[:2] == ["+0.280 to +0.330", "-0.010 to +0.030"]
    assert shown["difference"].tolist() == ["+0.305", "+0.010", "+0.030", "+0.020"]
    assert shown["bands"].tolist() == ["B, G, R, NIR", "B, G, R", "B, G, R", "B, G, R, NIR"]
    costs = pretraining.frozen_gains_table(against_random=False).data
    assert costs["against"].tolist() == ["with infrared", "at 1 m instead of 4 m"]


def test_every_miniature_has_a_row_and_curves_to_its_last_step():
    names = {entry.miniature for entry in BACKBONES.values()}
    worlds = pretraining.worlds_table().data.set_index("miniature")
    assert set(worlds.index) == names
    visible, hidden = pretraining.pretraining_curves_figure().axes
    assert {line.get_label(): line.get_xdata()[-1] for line in visible.lines} == worlds["steps"].to_dict()
    assert {line.get_label() for line in hidden.lines} == set(worlds.index[worlds["blanked"] > 0])


def test_the_figures_are_of_the_weights_that_stand_beside_them():
    """Every published miniature is measured, on the bands it learnt from, with three decoders a side."""
    records = pretraining.miniatures()
    for against_random in (True, False):
        rows = pretraining.frozen_gains(against_random)
        assert len(rows)
        for row in rows[rows["seed"] == 0].itertuples():
            assert row.hash == records[row.miniature]["hash"]
            assert len(row.mIoU.split()) == 3
    random = pretraining.frozen_gains()
    for name, record in records.items():
        own = random[(random["miniature"] == name) & (random["seed"] == record["seed"])]
        bands = "all" if len(record["recipe"]["sensor"]["response"]) == 4 else "rgb"
        assert bands in own["bands"].tolist()


def test_a_cell_has_the_class_that_fills_half_of_it():
    """Four cells of 2 x 2 px: one class, half and half of which the first counts, too mixed, unlabelled."""
    index = np.array([[[3, 3, 5, 5], [3, 3, 4, 4], [1, 2, 0, 0], [6, 9, 0, 7], [8, 8, 8, 8]]])[:, :, :4]
    assert pretraining.cell_labels(index[:, :4], 2).tolist() == [3, 4, 0, 0]


def made_cells():
    """Three groups of features, one a class; patches 0 and 1 are of one place."""
    rng = np.random.default_rng(0)
    label = np.tile([1, 2, 3], 40)
    features = np.eye(3)[label - 1] * 5 + rng.normal(0, 0.3, (120, 3))
    return pretraining.Cells(features.astype(np.float32), label, np.repeat([0, 1, 2, 3], 30))


def test_a_linear_reading_finds_what_is_apart_and_nothing_in_noise():
    found = made_cells()
    assert pretraining.probe(found, found) == 1
    noise = np.random.default_rng(1).normal(size=found.features.shape)
    shuffled = found._replace(features=noise.astype(np.float32))
    assert pretraining.probe(found, shuffled) < 0.6


def test_neighbours_are_of_other_places_labelled_and_alike():
    found, place = made_cells(), np.array([0, 0, 1, 2])
    near = pretraining.nearest(found, place, np.array([0, 1]), 4)
    assert (place[found.patch[near]] != 0).all()
    assert (found.label[near] == np.array([[1], [2]])).all()
    assert pretraining.alike(found, place) == 1
    found.label[found.patch == 3] = 0
    assert set(found.patch[pretraining.nearest(found, place, np.array([0]), 4)].ravel()) == {2}


def test_the_sentence_names_the_miniatures_that_are_no_better():
    told = pd.DataFrame(
        [("clay", 0.5, 0.5, 0.3, 0.2), ("resnet", 0.5, 0.2, 0.3, 0.3)],
        columns=["miniature", "probe", "alike", "probe, random", "alike, random"],
    )
    words = pretraining.features_sentence(told).data
    assert "of 2 of 2 miniatures tell the classes better" in words
    assert "no better with resnet." in words
