"""Variants of an experiment: which there are, what each is held against, what is said of the differences."""

import numpy as np
import pandas as pd
import pytest
import tiny

from wusu_lib.experiment import experiment, segmentation
from wusu_lib.models import build
from wusu_lib.pages import differences

STATED = {
    "name": "exp06",
    "prediction": "val mIoU rises by at least 0.01 over exp05",
    "backbone": "dinov3_sat_large",
    "decoder": "deeplab",
    "split": "folders",
    "epochs": 2,
    "precision": "32",
}


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("WUSU_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("WUSU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "build", lambda *_, **named: tiny.build(named["seed"], named["outputs"]))
    monkeypatch.setattr(build, "describe", lambda *_: pd.DataFrame({"part": ["encoder"]}))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tiny.write_tree(tmp_path_factory.mktemp("tree"))


def prepare(root, **changed):
    return experiment.prepare({**STATED, "data_root": str(root), **changed})


def test_the_variants_leave_out_the_runs_own_skip_and_the_last_block(root):
    found = segmentation.bands_and_skips(
        prepare(root)
    )  # the miniature has four blocks, the second is its skip
    assert list(found) == ["red, green, blue only", "skip from block 1", "skip from block 3"]
    assert found["red, green, blue only"].parameters.bands == "rgb"
    assert [found[f"skip from block {n}"].parameters.skip_block for n in (1, 3)] == [1, 3]


def test_there_is_no_skip_to_choose_where_the_decoder_has_none_and_no_infrared_to_leave_out_twice(root):
    assert list(segmentation.bands_and_skips(prepare(root, decoder="fpn"))) == ["red, green, blue only"]
    none = segmentation.bands_and_skips(prepare(root, decoder="fpn", bands="rgb"))
    assert none == {}
    effects = experiment.variant_effects(none, [])
    assert effects.empty
    assert differences.variants_sentence(effects).data == "There is nothing to compare with these parameters."
    with pytest.raises(ValueError, match="trains no segmentation model"):
        segmentation.bands_and_skips(
            experiment.prepare({"name": "exp00", "data_root": str(root), "split": "folders"})
        )


def test_an_effect_is_the_variant_minus_the_run(root):
    exp = prepare(root)
    runs = exp.runs()
    other = exp.variant(skip_block=1)
    rows = experiment.variant_effects({"itself": exp, "other": other}, runs)
    assert list(rows["experiment"]) == ["itself", "other"]
    assert rows.loc[0, "value"] == 0
    expected = other.runs()[0].scores()["mIoU"] - runs[0].scores()["mIoU"]
    assert rows.loc[1, "value"] == pytest.approx(expected)
    assert (rows["n_seeds"] == 1).all()


def test_the_sentence_tells_better_from_worse_from_open():
    names = ["up", "down", "open"]
    values = {"value": [0.05, -0.04, 0.01], "low": [0.02, -0.06, -0.02], "high": [0.08, -0.01, 0.03]}
    sizes = {"n_patches": [12] * 3, "n_blocks": [4] * 3, "n_seeds": [1] * 3}
    text = differences.variants_sentence(pd.DataFrame({"experiment": names, **values, **sizes})).data
    assert "*up* (+0.050) has a higher mIoU" in text
    assert "*down* (\N{MINUS SIGN}0.040) has a lower mIoU" in text
    assert "for *open* (+0.010) the interval holds zero" in text
    assert "12 patches in 4 blocks and 1 seed." in text


def test_a_sensor_of_another_gain_is_seen_unless_the_statistics_are_the_datas_own(root):
    own = prepare(root)
    assert prepare(root, gain=4.0, offset=0.1).key(1) == own.key(1)  # they shift along
    plain = prepare(root, normalisation="prithvi")
    assert prepare(root, normalisation="prithvi", gain=1.0).key(1) == plain.key(1)
    assert prepare(root, normalisation="prithvi", gain=4.0).key(1) != plain.key(1)
    assert prepare(root, normalisation="prithvi", offset=0.1).key(1) != plain.key(1)


def test_the_normalised_image_is_that_of_the_other_sensor(root):
    counts = np.random.default_rng(0).random((3, 4))
    plain, other = (
        segmentation.begin(exp, tiny.build(0, 11))
        for exp in (
            prepare(root, normalisation="prithvi"),
            prepare(root, normalisation="prithvi", gain=4.0, offset=0.1),
        )
    )
    seen = (counts - other.mean) / other.std
    assert seen == pytest.approx((4 * counts + 0.1 - plain.mean) / plain.std)
    assert other.record["input"]["mean"] == other.mean.tolist()


def test_sensors_are_put_before_a_frozen_and_an_unfrozen_backbone(root):
    found = segmentation.under_sensors(prepare(root, normalisation="backbone"), [(0.5, 0.0), (2.0, 0.1)])
    assert list(found) == ["frozen", "differential"]
    stated = found["frozen"][2.0, 0.1].parameters
    assert (stated.adaptation, stated.gain, stated.offset) == ("frozen", 2.0, 0.1)
    frozen = prepare(root, normalisation="backbone", adaptation="frozen")
    assert list(segmentation.under_sensors(frozen, [(2.0, 0.0)])) == ["frozen", "differential"]
    with pytest.raises(ValueError, match="which no gain changes"):
        segmentation.under_sensors(prepare(root), [(2.0, 0.0)])
