"""Class numberings and merged classes: which index, train id, name and colour belong together."""

import numpy as np
import pytest

from wusu_lib import legend

EVERY = np.arange(12, dtype=np.uint8)
MERGED = legend.LabelSpace("ignore", "merged")


@pytest.mark.parametrize(
    ("background", "classes", "n"), [("ignore", "all", 11), ("class", "all", 12), ("ignore", "merged", 9),
                                     ("class", "merged", 10)]
)  # fmt: skip
def test_outputs_names_and_train_ids_belong_together(background, classes, n):
    labels = legend.LabelSpace(background, classes)
    assert labels.outputs == n
    assert len(set(labels.class_names)) == n
    ids = labels.train_id_from_index(EVERY)
    assert sorted(set(ids.tolist()) - {legend.IGNORE}) == list(range(n))
    np.testing.assert_array_equal(labels.index_from_train_id(ids), labels.merge_index(EVERY))


def test_merged_classes_literal():
    assert MERGED.train_id_from_index(EVERY).tolist() == [255, 0, 1, 1, 2, 3, 4, 5, 5, 6, 7, 8]
    assert MERGED.class_names == (
        "Road", "Building", "Arable land", "Woodland", "Grassland", "Water", "Structure", "Excavation",
        "Bare surface",
    )  # fmt: skip
    assert MERGED.merge_index(EVERY).tolist() == [0, 1, 2, 2, 4, 5, 6, 7, 7, 9, 10, 11]
    assert legend.LabelSpace("class", "merged").scored == (0, 1, 2, 4, 5, 6, 7, 9, 10, 11)


def test_both_members_have_the_name_and_colour_of_the_merged_class():
    for merged, members in zip(
        legend.MERGED, (("Low building", "High building"), ("River", "Lake")), strict=True
    ):
        assert tuple(legend.NAMES[i] for i in merged.members) == members
        assert {MERGED.names[i] for i in merged.members} == {merged.name}
    assert MERGED.colours[7] == MERGED.colours[8] == legend.MERGED[1].colour
    assert legend.ELEVEN.names == legend.NAMES
    assert legend.ELEVEN.colours == legend.COLOURS


def test_a_label_space_literal():
    assert MERGED.scored == (1, 2, 4, 5, 6, 7, 9, 10, 11)
    assert MERGED.title == "9 merged classes, unlabelled ground ignored"
    assert legend.LabelSpace("class").title == "12 classes, unlabelled ground a class"
    assert MERGED == legend.LabelSpace("ignore", "merged") != legend.ELEVEN


def test_two_label_spaces_are_judged_in_the_merged_one():
    whole, merged = legend.LabelSpace("class"), legend.LabelSpace("class", "merged")
    assert whole.judged_with(merged) == merged.judged_with(whole) == merged
    assert whole.judged_with(whole) == whole
    assert merged.annotated() == legend.LabelSpace("ignore", "merged")


def test_a_label_space_refuses_other_words():
    with pytest.raises(ValueError, match="classes: got 'some'; allowed: all, merged"):
        legend.LabelSpace("ignore", "some")
    with pytest.raises(ValueError, match="background: got 'drop'; allowed: ignore, class"):
        legend.LabelSpace("drop")
