from types import SimpleNamespace

import numpy as np
import pytest
from made_up_city import SIDE, read_truth
from matplotlib.colors import to_rgb

from wusu_lib import imagery, legend
from wusu_lib.legend import LabelSpace
from wusu_lib.pages import maps

MERGED = LabelSpace("ignore", "merged")


def legend_names(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def pictures(figure):
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes]


def test_rgb_takes_bands_in_b_g_r_nir_order():
    image = np.array([10, 20, 30, 40], dtype=np.uint8)[:, None, None]
    np.testing.assert_allclose(
        imagery.rgb(image, 0, 100)[0, 0], np.power([0.3, 0.2, 0.1], 1 / 1.4), rtol=1e-6
    )
    np.testing.assert_allclose(
        imagery.rgb(image, 0, 100, "infrared")[0, 0], np.power([0.4, 0.3, 0.2], 1 / 1.4), rtol=1e-6
    )


def test_rgb_stretches_each_band_by_its_own_limits_and_clips():
    image = np.array([[[0, 255]], [[50, 60]], [[10, 20]], [[0, 0]]], dtype=np.uint8)
    low, high = np.array([0, 50, 10, 0]), np.array([100, 60, 30, 1])
    np.testing.assert_allclose(imagery.rgb(image, low, high), [[[0, 0, 0], [0.5 ** (1 / 1.4), 1, 1]]])


@pytest.mark.parametrize(
    ("shape", "low", "high", "composite", "message"),
    [
        ((3, 4, 4), 0, 1, "natural", r"expected \[4,H,W\]"),
        ((4, 4, 4), 5, 5, "natural", "above low"),
        ((4, 4, 4), 0, 1, "nir", "natural, infrared"),
    ],
)
def test_rgb_refuses(shape, low, high, composite, message):
    with pytest.raises(ValueError, match=message):
        imagery.rgb(np.zeros(shape, dtype=np.uint8), low, high, composite)


def test_stretch_pools_all_images():
    dark, bright = (np.full((4, 10, 10), v, dtype=np.uint8) for v in (20, 200))
    low, high = imagery.stretch([dark, bright])
    assert low.tolist() == [20] * 4
    assert high.tolist() == [200] * 4


def test_shrink_averages_blocks_and_keeps_small_images():
    checker = np.indices((1024, 512)).sum(axis=0)[..., None] % 2 * np.ones(3)
    small = imagery.shrink(checker, 3)
    assert small.shape == (256, 128, 3)
    assert set(np.unique(small)) == {132}  # half, on one of 32 levels
    assert small[..., 0].size * 3 <= imagery.BUDGET
    assert set(np.unique(imagery.shrink(checker[:100, :100], 3))) == {0, 255}


def test_class_image_has_the_legends_colours():
    shown = imagery.class_image(np.arange(12, dtype=np.uint8)[None])
    np.testing.assert_allclose(shown[0] / 255, [to_rgb(c) for c in legend.COLOURS], atol=1e-9)


def test_patch_examples_shows_image_infrared_and_labels(table):
    patches = list(table["patch"][[4, 0]])
    figure = maps.patch_examples_figure(table, patches)
    assert len(figure.axes) == 6
    assert [axes.get_ylabel() for axes in figure.axes[::3]] == patches
    assert [axes.get_title("left") for axes in figure.axes[:3]] == [
        "Natural colour",
        "Colour infrared (NIR, R, G)",
        "Labels",
    ]
    assert {tuple(axes.images[0].get_extent()) for axes in figure.axes} == {(0, SIDE, SIDE, 0)}
    np.testing.assert_array_equal(pictures(figure)[5], imagery.class_image(read_truth(table, patches[1])))


def test_legend_lists_only_the_classes_that_occur(table):
    patch = table["patch"][0]
    names = legend_names(maps.patch_examples_figure(table, [patch]))
    assert names == [legend.NAMES[i] for i in np.unique(read_truth(table, patch))]


def test_patches_share_one_stretch(table):
    pair = table[table["site"] == "train/HS_0"]
    bright, dark = (
        pictures(maps.patch_examples_figure(table, list(pair["patch"][[0, 2]])))[i] for i in (0, 3)
    )
    assert dark.mean() < 0.85 * bright.mean()


def test_unknown_patch_is_named(table):
    with pytest.raises(ValueError, match=r"train/HS15_99.*such as train/HS15_0"):
        maps.patch_examples_figure(table, ["train/HS15_99"])


def test_dates_in_order_with_one_stretch(table):
    figure = maps.dates_figure(table.sample(frac=1, random_state=0), "train/HS_0")
    assert [axes.get_title("left") for axes in figure.axes] == ["2015", "2016", "2018", "", "", ""]
    brightness = [picture.mean() for picture in pictures(figure)[:3]]
    assert brightness == sorted(brightness, reverse=True)
    with pytest.raises(ValueError, match="nowhere"):
        maps.dates_figure(table, "nowhere")


def test_predictions_columns_scores_and_errors(table, runs, baseline_runs):
    patches = list(table.loc[table["split"] == "val", "patch"][:2])
    figure = maps.predictions_figure(runs[0], table, patches, baseline_runs[0], names=("exp05", "exp04"))
    assert [axes.get_title("left") for axes in figure.axes[:5]] == [
        "Image",
        "Truth",
        "exp04",
        "exp05",
        "Errors",
    ]
    assert len(figure.axes) == 10
    truth, predicted = read_truth(table, patches[1]), runs[0].prediction(patches[1])
    shown = pictures(figure)
    np.testing.assert_array_equal(shown[8], imagery.class_image(predicted))
    np.testing.assert_array_equal(shown[7], imagery.class_image(baseline_runs[0].prediction(patches[1])))
    right = (predicted == truth)[truth > 0].mean()
    assert figure.axes[8].get_xlabel() == f"{right:.0%} correct"
    for mask, colour in (
        (truth == 0, legend.UNLABELLED_COLOUR),
        ((truth > 0) & (truth == predicted), maps.CORRECT),
        ((truth > 0) & (truth != predicted), maps.WRONG),
    ):
        assert mask.any()
        np.testing.assert_allclose(shown[9][mask], np.broadcast_to(to_rgb(colour), (mask.sum(), 3)))
    assert legend_names(figure)[-2:] == ["correct", "wrong"]


def test_predictions_without_baseline_have_four_columns(table, runs):
    figure = maps.predictions_figure(runs[0], table, [table["patch"][3]])
    name = runs[0].parameters["name"]
    assert [axes.get_title("left") for axes in figure.axes] == ["Image", "Truth", name, "Errors"]


def test_a_patch_without_mask_is_unlabelled(table, runs):
    unmasked = table.assign(mask=None)
    figure = maps.predictions_figure(runs[0], unmasked, [table["patch"][3]])
    assert figure.axes[2].get_xlabel() == "no labels"
    assert (pictures(figure)[1] == imagery.class_image(np.zeros((SIDE, SIDE), dtype=np.uint8))).all()


def test_a_date_without_labels_says_so(table):
    rows = table.copy()
    first = rows.index[(rows["site"] == rows["site"].iloc[0]) & (rows["date"] == 16)][0]
    rows.loc[first, "mask"] = None
    figure = maps.dates_figure(rows, rows["site"].iloc[0])
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes[3:]] == [[], ["no labels"], []]


def test_merged_maps_hold_merged_classes_only(table, runs, baseline_runs):
    patch = table.loc[table["split"] == "val", "patch"].iloc[0]
    merged = SimpleNamespace(**vars(runs[0]) | {"labels": legend.LabelSpace("ignore", "merged")})
    merged.called = "exp05 with classes merged"
    figure = maps.predictions_figure(merged, table, [patch], baseline_runs[0])
    assert figure.axes[3].get_title("left") == "exp05 with classes\nmerged"
    names = legend_names(figure)
    assert {"Building", "Water"} <= set(names)
    assert not {"Low building", "High building", "River", "Lake"} & set(names)
    truth = MERGED.merge_index(read_truth(table, patch))
    np.testing.assert_array_equal(pictures(figure)[1], imagery.class_image(truth, MERGED))
