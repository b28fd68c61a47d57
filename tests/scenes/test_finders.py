"""A run's rules for finding objects: chosen on validation ground, measured on test ground, kept with it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from small_scenes import write_scene
from tiny import write_raster
from torch import nn

from wusu_lib import legend
from wusu_lib.change.finding import FULL, Judged, Question, Rule, figures
from wusu_lib.experiment import experiment, segmentation
from wusu_lib.legend import LabelSpace
from wusu_lib.pages import finding as pages
from wusu_lib.scenes import finding, maps, polygons, rasters, tool

SIDE = 64
BARE, HOUSE, TALL, FIELD = 0, 2, 3, 5  # class indices; bare ground has no label
GREY = 20  # counts between two classes
LABELS = LabelSpace("class")
HOUSES = {"Building": (HOUSE, TALL)}


def seen(index, noise=0.0, seed=0):
    """An image uint8 [4, H, W] of a class map: the brighter the higher the index."""
    grey = 10.0 + GREY * np.broadcast_to(index, (4, *index.shape))
    return np.clip(grey + np.random.default_rng(seed).normal(0, noise, grey.shape), 1, 255).astype(np.uint8)


class Grey(nn.Module):
    """Reads the class from the grey: the nearer, the likelier."""

    def forward(self, images):
        grey = (images.mean(dim=1, keepdim=True) * 0.5 + 0.5) * 255
        classes = 10.0 + GREY * torch.arange(12).reshape(1, 12, 1, 1)
        return -((grey - classes) ** 2) / 40


def predictor():
    return segmentation.Predictor(Grey(), [0.5] * 4, [0.5] * 4, LABELS, SIDE)


def ground(seed):
    """Class index at two dates: of a patch without houses, and with three that were built on a field."""
    rng = np.random.default_rng(seed)
    before = np.where(rng.random((SIDE // 8, SIDE // 8)) < 0.5, BARE, FIELD).repeat(8, 0).repeat(8, 1)
    places = [(slice(y, y + 14), slice(x, x + 14)) for y, x in ((4, 4), (4, 40), (36, 20))]
    for at in places:
        before[at] = FIELD
    after = before.copy()
    for at in places:
        after[at] = HOUSE if at[1].start > 4 else TALL
    return before.astype(np.uint8), after.astype(np.uint8)


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    for number, split in enumerate(("train", "train", "val", "val", "test")):
        for date, index in zip((15, 18), ground(number), strict=True):
            folder, name = root / split / "HS", f"HS{date}_{number}.tif"
            write_raster(folder / "imgs" / name, seen(index, 8.0, seed=10 * number + date))
            write_raster(folder / "class" / name, legend.code_from_index(index)[None])
    stated = {
        "name": "exp05", "prediction": "val mIoU rises by at least 0.01 over exp04", "split": "folders",
        "data_root": str(root), "backbone": "prithvi_300m", "decoder": "fpn", "background": "class",
    }  # fmt: skip
    return experiment.prepare(stated)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return SimpleNamespace(folder=tmp_path_factory.mktemp("run"))


@pytest.fixture
def finder(exp, run, monkeypatch):
    monkeypatch.setattr(segmentation, "load", lambda _: predictor())
    return finding.learn(exp, run, HOUSES, 0.8, "training")


def test_what_a_good_model_sees_is_found_and_nothing_else(finder):
    assert finder.counts("Building") == {"true": 3, "reported": 3, "right": 3}
    assert finder.counts("Building", 0.5)["right"] == 3
    assert finder.reached["Building"]["recall"] == 1
    assert "100% of 3 reported are right, 100% of 3 are found" in finder.sentence()


def test_what_was_learnt_is_read_again_and_goes_with_the_run(exp, run, finder, monkeypatch):
    monkeypatch.setattr(segmentation, "load", None)
    again = finding.learn(exp, run, HOUSES, 0.8, "training")
    assert again.rules == finder.rules
    np.testing.assert_array_equal(again.asked.ratio, finder.asked.ratio)
    pd.testing.assert_frame_equal(again.test["Building"].true, finder.test["Building"].true)
    assert len(list(run.folder.glob("finding-*.json"))) == 1
    alone = finding.stored(run, HOUSES, 0.8, "training")  # as on a machine without the data
    assert alone.rules == finder.rules
    assert alone.sentence() == finder.sentence()
    assert finding.stored(run, HOUSES, 0.9, "training") is None
    with pytest.raises(TypeError):  # another precision is another choice
        finding.learn(exp, run, HOUSES, 0.9, "training")


def test_an_altered_image_is_mapped_and_counted_and_in_the_same_one_again_nothing_is_new(exp, run, finder):
    found = finding.altered(exp, run, finder, "training")
    assert list(found) == list(finding.ALTERED)
    for how, counts in found.items():
        if how == finding.UNCHANGED:
            assert counts["Building"] == {"true": 0, "reported": 0, "right": 0}
        else:
            assert counts["Building"]["true"] == 3
    assert found[finding.AS_IS]["Building"]["right"] == 3
    assert found["darker"]["Building"]["right"] < 3  # in the light as it is; another test brings it back
    assert finding.altered(exp, run, finder, "training") == found
    assert len(list(run.folder.glob("altered-*.json"))) == 1


def test_altered_images_differ_as_they_say():
    first, second = (np.random.default_rng(k).uniform(50, 150, (4, 8, 8)) for k in (0, 1))
    made = {name: alter(first, second) for name, alter in finding.ALTERED.items()}
    np.testing.assert_array_equal(made[finding.AS_IS], second)
    np.testing.assert_allclose(made["darker"], 0.64 * second)
    np.testing.assert_allclose(made["another season's gains"][3], 0.75 * second[3] + 6)
    np.testing.assert_allclose(made["half a pixel aside"][0, 2, 3], second[0, 2:4, 3:5].mean())
    again = made[finding.UNCHANGED] - (0.9 * first + 5)
    assert abs(again.std() - 2) < 0.3
    assert abs(again.mean()) < 0.4


def test_the_sentence_on_altered_images_names_the_largest_fall():
    rows = pd.DataFrame(
        [
            (finding.AS_IS, "Road", 4, 4, 4, 1.0),
            ("darker", "Road", 4, 4, 3, 0.75),
            (finding.UNCHANGED, "Road", 0, 1, 0, 0.0),
        ],
        columns=["image", "target", "true", "reported", "right", "F"],
    )
    said = pages.altered_sentence(rows).data
    assert said.startswith(
        "F falls most for roads with the image *darker*: −0.25, 3 instead of 4 right ones of 4."
    )
    assert said.endswith("1 object is reported.")
    assert pages.altered_table(rows).data["Road"].tolist() == [
        "1.00 (4 right of 4)", "0.75 (3 right of 4)", "1 reported",
    ]  # fmt: skip
    only = rows[rows["image"] == finding.UNCHANGED]
    assert pages.altered_sentence(only).data.startswith("Where the second image is the first one again")


def test_masks_of_one_date_are_told_in_words(exp, tmp_path, monkeypatch):
    monkeypatch.setattr(segmentation, "load", lambda _: predictor())
    run = SimpleNamespace(folder=tmp_path)
    first, learnt = exp.table["date"] == 15, exp.table["split"] == "train"
    for kept, told in (
        (first, "all masks are of one date"),
        (first | learnt, "no ground of val has masks at two dates"),
    ):
        with pytest.raises(ValueError, match=told):
            finding.learn(replace(exp, table=exp.table[kept]), run, HOUSES, 0.8, "training")
    assert not list(tmp_path.glob("finding-*.json"))


def test_ground_on_which_nothing_is_drawn_is_stored_too(exp, tmp_path, monkeypatch):
    """A model that knows no houses: no object, no figure, and no error."""
    blind = segmentation.Predictor(Grey(), [0.5] * 4, [5.0] * 4, LABELS, SIDE)  # all is near one grey
    monkeypatch.setattr(segmentation, "load", lambda _: blind)
    found = finding.learn(exp, SimpleNamespace(folder=tmp_path), HOUSES, 0.8, "training")
    assert found.counts("Building") == {"true": 3, "reported": 0, "right": 0}
    assert "nothing is reported of 3" in found.sentence()
    assert pages.gains([found])["right"].tolist() == [0, 0]


def scene(folder, index, name):
    return rasters.write_image(folder / f"{name}.tif", seen(index))


def new_objects(folder, before, after, least=0.5):
    asked = Question.learnt(HOUSES, np.ones((12, 12), dtype=np.int64))
    images = scene(folder, before, "t1"), scene(folder, after, "t2")
    made = maps.change_map(predictor(), *images, folder / "maps", asked=asked)
    rules = {"Building": Rule(0.5, 0.0, 50, (0.0, 1.0, 0.0), least)}
    return made, polygons.object_polygons(made, HOUSES, rules, 0.0, ("2015", "2018"), tolerance=0.0)


def test_an_object_is_one_place_with_what_was_there_and_what_is_there_now(tmp_path):
    before, after = np.full((2, 80, 100), FIELD, dtype=np.uint8)
    before[:, 50:] = BARE
    after[10:30, 10:20], after[10:30, 20:40] = TALL, HOUSE  # one building of two kinds
    after[50:60, 60:80] = HOUSE  # on ground without a label
    after[5:9, 90:95] = HOUSE  # too small
    made, found = new_objects(tmp_path, before, after)
    assert found["area_m2"].tolist() == [600, 200]
    assert found["from"].tolist() == [legend.NAMES[FIELD], "Unlabelled"]
    assert found["to"].tolist() == ["Low building", "Low building"]
    assert found["object"].tolist() == [1, 2]
    assert found.geometry.iloc[0].bounds == (10, 10, 40, 30)
    assert (found["confidence"] > 0.9).all()
    assert "score_building.tif" in made.record["files"]
    score = rasters.values(made.score("Building"))
    assert (score[10:30, 10:40] > 0.9 * FULL).all()
    assert score[70, 10] == 0
    held = tool.judge_objects(np.stack([before, after]), found, ["Building"], 50)
    assert held.loc["Building"].to_dict() == {"true": 1, "reported": 1, "right": 1}  # the other was hidden


def test_nothing_new_and_nothing_sure_enough_give_no_object(tmp_path):
    before, after = ground(1)
    noisy = before.copy()
    noisy[0, 0] = 1  # so that the images are not the same file
    for name, second, least in (("same", noisy, 0.0), ("unsure", after, 1.0)):
        (tmp_path / name).mkdir()
        _, found = new_objects(tmp_path / name, before, second, least)
        assert found.empty
        assert found.columns.tolist() == [*polygons.COLUMNS, "geometry"]


def test_another_exposure_is_undone_by_the_scenes_own_light(tmp_path):
    before, after = ground(1)
    counts = [seen(index, 6.0, seed=k).astype(float) for k, index in enumerate((before, after))]
    dark = [np.clip(np.rint(0.6 * each + 12), 0, 255) for each in counts]
    found = {}
    for name, second in (("plain", counts[1]), ("dark", dark[1])):
        for radiometry in ("training", "scene"):
            folder = tmp_path / f"{name}-{radiometry}"
            folder.mkdir()
            images = [
                rasters.write_image(folder / f"{k}.tif", image.astype(np.uint8))
                for k, image in enumerate((counts[0], second))
            ]
            made = maps.change_map(predictor(), *images, folder / "maps", radiometry=radiometry)
            found[name, radiometry] = rasters.values(made.t2)
    agree = {
        radiometry: (found["plain", radiometry] == found["dark", radiometry]).mean()
        for radiometry in ("training", "scene")
    }
    assert agree["scene"] > 0.97  # the counts were rounded
    assert agree["training"] < 0.6


def test_the_light_of_an_image_is_that_of_its_pixels_with_data(tmp_path):
    image = np.arange(4 * 600 * 10, dtype=np.int64).reshape(4, 600, 10) % 251 + 1
    image[:, 100:200] = 0  # no data
    path = write_scene(tmp_path / "a.tif", image.astype(np.uint8), nodata=0)
    layer, _ = rasters.pair(path, path)
    mean, std = rasters.lit(layer).light
    there = image[:, (image != 0).any(axis=0)]
    np.testing.assert_allclose(mean, there.mean(axis=1) / 255)
    np.testing.assert_allclose(std, there.std(axis=1) / 255)
    seen_anew = rasters.relit(image, (mean, std), (0.3,) * 4, (0.1,) * 4)[:, (image != 0).any(axis=0)]
    np.testing.assert_allclose(seen_anew.mean(axis=1) / 255, 0.3, rtol=1e-4)
    np.testing.assert_allclose(seen_anew.std(axis=1) / 255, 0.1, rtol=1e-4)
    assert rasters.relit(image, None, (0.3,) * 4, (0.1,) * 4) is image


def made_finder(rng):
    """A finder whose objects are made: of 40 true ones some are found, the sure ones more often right."""
    area = rng.integers(50, 900, 40)
    hit = rng.random(40) < np.clip(area / 400, 0.1, 0.9)
    where = {"y": rng.random(40) * 2000, "x": rng.random(40) * 2000, "piece": 0}
    true = pd.DataFrame(
        {
            "area": area,
            **where,
            "unlabelled": 0.0,
            "number": np.arange(1, 41),
            "excused": False,
            "iou": 0.6 * hit,
        }
    )
    right = true[hit].assign(score=0.9, match=true["number"][hit])
    false = true.iloc[:20].assign(score=0.3, match=0, iou=0.0, y=5.0)
    reported = pd.concat([right, false], ignore_index=True)
    held = Judged(reported, true)
    none = Judged(reported.assign(match=0, iou=0.0), true.assign(iou=0.0))
    rule = Rule(0.5, 0.0, 50, (0.0, 1.0, 0.0), 0.5)
    return finding.Finder(
        Question(HOUSES, np.ones((12, 12))),
        {"Building": rule},
        0.8,
        {},
        {"Building": held},
        {"Building": none},
    ), int(hit.sum())


def test_the_pages_figures_are_those_of_the_counts():
    pairs = [made_finder(np.random.default_rng(seed)) for seed in (1, 2, 3)]
    found, hits = zip(*pairs, strict=True)
    rows = pages.gains(found)
    mine, maps_compared = (rows[rows["way"] == way].iloc[0] for way in ("objects", "maps"))
    assert mine["right"] == mine["reported"] == pytest.approx(np.mean(hits))
    assert mine["precision"] == 1
    assert mine["recall"] == pytest.approx(np.mean(hits) / 40)
    assert (maps_compared["right"], maps_compared["F"]) == (0, 0)
    by_seed = [figures(each.counts("Building"))["F"] for each in found]
    assert mine["value"] == pytest.approx(np.mean(by_seed))
    assert 0 < mine["low"] < mine["value"] < mine["high"]
    table = pages.gains_table(rows).data
    assert table["true"].tolist() == ["40", "40"]
    assert "surely more than nothing for buildings" in pages.gains_sentence(rows).data
    sizes = pages.sizes_frame(found)
    assert sizes["true"].sum() == pytest.approx(40)
    assert np.average(sizes["recall"], weights=sizes["true"]) == pytest.approx(np.mean(hits) / 40)
    assert pages.sizes_table(sizes).data.shape == (len(pages.SIZES) - 1, 1)
    assert "buildings of 50 to 100 and 100 to 200 pixels" in pages.sizes_sentence(sizes).data
    (told,) = pages.reliabilities(found).values()
    objects, said, right = told[told[:, 0] > 0].T
    assert (right / objects).tolist() == [0.0, 1.0]
    assert (said / objects).tolist() == pytest.approx([0.3, 0.9])
    assert pages.reliability_sentence(found).data.startswith("On the mean over objects")
    curve = pages.precision_recall(found, "Building")[0]
    assert curve["precision"].iloc[0] == 1
    assert curve["recall"].is_monotonic_increasing
    assert curve["recall"].iloc[-1] == pytest.approx(hits[0] / 40)
    for figure in (pages.precision_recall_figure(found), pages.reliability_figure(found)):
        assert figure.axes[0].lines
        assert figure.label
