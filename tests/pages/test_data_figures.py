from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from wusu_lib import legend
from wusu_lib.pages import data
from wusu_lib.pages.style import SPLITS, short_count


@pytest.fixture
def fractions():
    rows = {"train": [0.4, 0.1, 0.5, 0.0], "val": [0.3, 0.2, 0.4, 0.1]}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["Unlabelled", "Road", "Woodland", "Lake"])


def marks(axes, split, fill="full"):
    return next(
        line
        for line in axes.lines
        if to_hex(line.get_color()) == SPLITS[split] and line.get_fillstyle() == fill
    )


def test_class_balance_in_percent_by_falling_mean(fractions):
    figure = data.class_balance_figure(fractions)
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["Woodland", "Unlabelled", "Road", "Lake"]
    np.testing.assert_allclose(marks(axes, "val").get_xdata(), [40, 30, 20, 10])
    np.testing.assert_allclose(marks(axes, "train").get_xdata(), [50, 40, 10])
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["train", "val"]
    assert axes.get_xlabel() == "share of all pixels (%)"


def test_class_balance_marks_an_absent_class_hollow_at_the_edge(fractions):
    hollow = marks(data.class_balance_figure(fractions).axes[0], "train", "none")
    assert hollow.get_xdata().tolist() == [10]  # the axis begins at the decade of the least share
    assert round(hollow.get_ydata()[0]) == 3  # Lake


def test_class_balance_without_unlabelled_is_of_labelled_pixels(fractions):
    axes = data.class_balance_figure(fractions[["Road", "Lake"]]).axes[0]
    assert axes.get_xlabel() == "share of labelled pixels (%)"


def test_class_balance_has_a_swatch_of_each_class(fractions):
    axes = data.class_balance_figure(fractions).axes[0]
    shown = {round(p.get_y() + 0.32): to_hex(p.get_facecolor()) for p in axes.patches}
    assert shown[0] == legend.COLOURS[legend.NAMES.index("Woodland")]
    assert shown[3] == legend.COLOURS[legend.NAMES.index("Lake")]


def test_class_balance_names_an_index_of_split_and_date(fractions):
    fractions.index = pd.MultiIndex.from_tuples([("train", 15), ("val", 16)])
    assert data.class_balance_figure(fractions).legends[0].get_texts()[0].get_text() == "train 15"


def test_class_balance_refuses_unknown_classes(fractions):
    with pytest.raises(ValueError, match="Sea"):
        data.class_balance_figure(fractions.rename(columns={"Lake": "Sea"}))
    with pytest.raises(ValueError, match="7 rows"):
        data.class_balance_figure(pd.concat([fractions[:1]] * 7))


@pytest.fixture
def statistics():
    bands = np.zeros((2, 4, 256), dtype=np.int64)
    bands[0, :, 100] = 30
    bands[0, :, 200] = 10
    bands[1, 3, 40] = 5
    bands[1, :3, 50] = 5
    return SimpleNamespace(dates=(15, 18), bands=bands)


def test_histograms_are_shares_by_band_and_date_on_one_scale(statistics):
    figure = data.band_histograms_figure(statistics)
    assert [axes.get_title("left") for axes in figure.axes] == ["Blue", "Green", "Red", "NIR"]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert {axes.get_xlim() for axes in figure.axes} == {(0, 255)}
    first, first_mean, second, second_mean = figure.axes[3].lines
    assert first.get_ydata()[[100, 200]].tolist() == [75, 25]
    assert first_mean.get_xdata() == [125]
    assert second.get_ydata()[40] == 100
    assert second_mean.get_xdata() == [40]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["2015", "2018"]


@pytest.fixture
def transitions():
    names = ["Road", "Lake", "Bare surface"]
    return pd.DataFrame([[9_000_000, 10, 0], [0, 700, 1500], [250_000, 0, 3]], index=names, columns=names)


def test_from_to_colours_changes_on_a_log_scale_and_only_those(transitions):
    image = data.from_to_figure(transitions).axes[0].images[0]
    shown = np.ma.filled(image.get_array(), 0)
    assert shown.tolist() == [[0, 10, 0], [0, 0, 1500], [250_000, 0, 0]]
    assert image.norm(10) == 0
    assert image.norm(250_000) == 1
    assert image.norm(np.sqrt(10 * 250_000)) == pytest.approx(0.5)


def test_from_to_writes_pixels_and_names(transitions):
    axes = data.from_to_figure(transitions).axes[0]
    written = [text.get_text() for text in axes.texts]
    assert written == ["9.0M", "10", "", "", "700", "1.5k", "250k", "", "3"]
    assert [t.get_text() for t in axes.get_yticklabels()] == list(transitions.index)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Later class", "Earlier class")


def test_from_to_without_any_change(transitions):
    figure = data.from_to_figure(transitions * np.eye(3, dtype=int))
    assert not figure.axes[0].images
    assert figure.axes[0].get_title("left") == "No pixel changed its class"
    empty = data.from_to_figure(transitions * 0)
    assert empty.axes[0].get_title("left") == "No ground is labelled at two dates"
    assert "9.0M" in [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, ""), (7, "7"), (999, "999"), (1000, "1.0k"), (9940, "9.9k"), (9960, "10k"), (999_400, "999k"),
     (999_600, "1.0M"), (631_000_000, "631M"), (2.5e9, "2.5G")],
)  # fmt: skip
def test_short_counts_have_four_characters_at_most(count, text):
    assert short_count(count) == text
    assert len(text) <= 4


def test_copies_among_the_indices_are_named_with_their_sign():
    names = ["NDVI", "NDWI", "VrNIRBI"]
    r = np.eye(7)
    r[4, 6] = r[6, 4] = -1.0
    r[5, 1] = r[1, 5] = 0.8
    r[4, 5] = r[5, 4] = -0.97
    text = data.channels_sentence(names, r).data
    assert "VrNIRBI is minus NDVI, up to scale: no new information." in text
    assert "closest to a single band is NDWI (a correlation of 0.80 in size with Green)" in text
    assert "Nearly the same say NDWI and NDVI (r \N{MINUS SIGN}0.97)." in text
    assert "No index is a copy" in data.channels_sentence(names[:2], r[:6, :6]).data
    figure = data.channels_figure(names, r)
    assert figure.axes[0].get_yticklabels()[3].get_text() == "NIR"
    assert len(figure.axes[0].texts) == 49
    assert "\N{MINUS SIGN}1.00" in {each.get_text() for each in figure.axes[0].texts}
