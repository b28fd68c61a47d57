"""The class colours stay apart for normal and for colour-blind readers, and from the page.

Colour-vision deficiencies are simulated at full severity on linear RGB with the matrices of Machado,
Oliveira and Fernandes 2009 (doi 10.1109/TVCG.2009.113). Distances are CIEDE2000: about 2 is just noticeable
side by side.
"""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from skimage.color import deltaE_ciede2000, rgb2lab

from wusu_lib import legend
from wusu_lib.pages import maps, style

PROTAN = "0.152286 1.052583 -0.204868  0.114503 0.786281 0.099216  -0.003882 -0.048116 1.051998"
DEUTAN = "0.367322 0.860646 -0.227968  0.280085 0.672501 0.047413  -0.011820 0.042940 0.968881"
TRITAN = "1.255528 -0.076749 -0.178779  -0.078411 0.930809 0.147602  0.004733 0.691367 0.303900"
VISION = {"normal": np.eye(3)} | {
    name: np.array(rows.split(), dtype=float).reshape(3, 3)
    for name, rows in (("protan", PROTAN), ("deutan", DEUTAN), ("tritan", TRITAN))
}


def seen_lab(colours, vision):
    """CIELAB [n,3] of hex colours as a reader with ``vision`` sees them."""
    rgb = np.array([to_rgb(c) for c in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ VISION[vision].T, 0, 1)
    seen = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb2lab(seen[None])[0]


def distances(colours, vision):
    lab = seen_lab(colours, vision)
    return deltaE_ciede2000(lab[:, None], lab[None])


def closest(colours, names, vision):
    """The smallest distance between two of the colours, and which two."""
    pairs = distances(colours, vision) + np.diag(np.full(len(colours), np.inf))
    a, b = np.unravel_index(pairs.argmin(), pairs.shape)
    return pairs[a, b], f"{names[a]} / {names[b]}"


# The palette reaches 20.6, 14.7, 14.8, 12.0; one picked by eye had reached 14.3, 3.5, 3.3, 8.2.
@pytest.mark.parametrize(
    ("vision", "limit"), [("normal", 20.5), ("protan", 14.5), ("deutan", 14.5), ("tritan", 12.0)]
)
def test_class_colours_are_far_apart(vision, limit):
    distance, pair = closest(legend.COLOURS, legend.NAMES, vision)
    assert distance >= limit, f"{pair}: {distance:.1f}"


@pytest.mark.parametrize(
    ("vision", "limit"), [("normal", 20.5), ("protan", 14.5), ("deutan", 14.5), ("tritan", 12.0)]
)
def test_merged_class_colours_are_as_far_apart(vision, limit):
    merged = legend.LabelSpace("class", "merged")
    kept = merged.scored
    colours, names = ([values[i] for i in kept] for values in (merged.colours, merged.names))
    distance, pair = closest(colours, names, vision)
    assert distance >= limit, f"{pair}: {distance:.1f}"


@pytest.mark.parametrize("page", ["#ffffff", "#14181e"])
def test_class_colours_stand_out_from_the_page(page):
    lab = seen_lab([page, *legend.COLOURS[1:]], "normal")
    assert deltaE_ciede2000(lab[:1], lab[1:]).min() >= 21.5


def hue(name):
    """Lightness, chroma and hue (degrees) in CIELAB of a class's colour."""
    lightness, a, b = seen_lab([legend.COLOURS[legend.NAMES.index(name)]], "normal")[0]
    return lightness, np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("High building", 15, 50),  # red
        ("Low building", 0, 70),  # pink to orange
        ("Arable land", 85, 110),  # yellow
        ("Woodland", 130, 170),  # green
        ("Grassland", 110, 150),  # green
        ("River", 250, 305),  # blue
        ("Lake", 210, 270),  # light blue
        ("Excavation", 45, 80),  # brown
        ("Bare surface", 60, 95),  # tan
    ],
)
def test_class_colours_follow_convention(name, low, high):
    assert low <= hue(name)[2] <= high


def test_light_and_dark_of_a_kind():
    assert hue("Road")[1] < 8  # grey
    assert hue("Low building")[0] > hue("High building")[0] + 25
    assert hue("Grassland")[0] > hue("Woodland")[0] + 25
    assert hue("Lake")[0] > hue("River")[0] + 25


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize(
    "colours",
    [
        [style.THIS, style.BASELINE],
        list(style.SPLITS.values()),
        list(style.OUTCOMES.values()),
        [maps.CORRECT, maps.WRONG, legend.UNLABELLED_COLOUR],
    ],
    ids=["groups", "splits", "outcomes", "errors"],
)
def test_our_own_colours_are_told_apart(vision, colours):
    assert closest(colours, colours, vision)[0] >= 13
