"""The 111 labels: a bijection with pairs of classes, names and colours."""

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab

from wusu_lib import legend, transitions


def test_labels_are_a_bijection_with_pairs_of_classes():
    pairs = {(a, b): int(transitions.LABEL[a, b]) for a in range(1, 12) for b in range(1, 12) if a != b}
    assert sorted(pairs.values()) == list(range(1, 111))
    for (a, b), label in pairs.items():
        assert (transitions.FIRST[label], transitions.SECOND[label]) == (a, b)


def test_literal_labels():
    assert transitions.N_LABELS == 111
    assert transitions.LABEL[1, 2] == 1  # Road to Low building
    assert transitions.LABEL[2, 1] == 11  # Low building to Road
    assert transitions.LABEL[11, 10] == 110  # Bare surface to Excavation
    assert transitions.NAMES[110] == "Bare surface to Excavation"


def test_unlabelled_is_never_a_change():
    assert (transitions.LABEL[0] == 255).all()
    assert (transitions.LABEL[:, 0] == 255).all()
    assert (np.diag(transitions.LABEL)[1:] == 0).all()
    assert transitions.FIRST[[0, 255]].tolist() == transitions.SECOND[[0, 255]].tolist() == [0, 0]


def test_names_and_colours_are_all_different():
    assert len(set(transitions.NAMES)) == len(transitions.NAMES) == 111
    assert len({*transitions.COLOURS, legend.UNLABELLED_COLOUR}) == 112


def test_transition_colours_show_the_new_class():
    # Among the class colours, the one nearest to a transition's is that of the class at the second date.
    lab = rgb2lab(transitions.colour_table()[None, 1:111] / 255)[0]
    classes = np.array([[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in legend.COLOURS[1:]])
    distance = deltaE_ciede2000(lab[:, None], rgb2lab(classes[None] / 255))
    nearest_is_second = distance.argmin(axis=1) + 1 == transitions.SECOND[1:111]
    assert nearest_is_second.sum() == 106


def test_no_two_transition_colours_look_alike_side_by_side():
    lab = rgb2lab(transitions.colour_table()[None, 1:111] / 255)[0]
    distance = deltaE_ciede2000(lab[:, None], lab[None]) + np.diag(np.full(110, np.inf))
    assert distance.min() > 2.2  # about 2 is just noticeable


def test_unchanged_and_unlabelled_are_told_apart_from_each_other_and_from_changes():
    lab = rgb2lab(transitions.colour_table()[None] / 255)[0]
    assert deltaE_ciede2000(lab[0], lab[255]) > 8
    assert deltaE_ciede2000(np.broadcast_to(lab[0], (110, 3)), lab[1:111]).min() > 14


def test_names_stand_at_their_labels():
    assert transitions.NAMES.index("Arable land to Excavation") == transitions.LABEL[4, 10]
    assert transitions.NAMES[transitions.LABEL[8, 8]] == "Unchanged"


def test_table():
    table = transitions.table()
    assert table.loc[1].tolist() == [
        1,
        "Road",
        "Low building",
        "Road to Low building",
        transitions.COLOURS[1],
    ]
    assert table.loc[0, ["from", "to", "name"]].tolist() == ["", "", "Unchanged"]
    assert len(table) == 111


def test_colours_of_merged_classes_are_mixed_of_the_merged_palette():
    # arable land (#ffe90f) to building (#941b0c): 0.2 * (255, 233, 15) + 0.8 * (148, 27, 12), rounded
    merged = transitions.colour_table(legend.LabelSpace("ignore", "merged"))
    label = transitions.NAMES.index("Arable land to Low building")
    assert merged[label].tolist() == [169, 68, 13]
    assert merged[label].tolist() == merged[transitions.NAMES.index("Arable land to High building")].tolist()
    assert transitions.colour_table()[label].tolist() != merged[label].tolist()
