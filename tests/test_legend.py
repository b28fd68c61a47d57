"""Class numberings and merged classes: which index, train id, name and colour belong together."""

import numpy as np
import pytest

from wusu_lib import legend

EVERY = np.arange(12, dtype=np.uint8)


@pytest.mark.parametrize(
    ("background", "classes", "n"), [("ignore", "all", 11), ("class", "all", 12), ("ignore", "merged", 9),
                                     ("class", "merged", 10)]
)  # fmt: skip
def test_outputs_names_and_train_ids_belong_together(background, classes, n):
    assert legend.outputs(background, classes) == n
    assert len(set(legend.class_names(background, classes))) == n
    ids = legend.train_id_from_index(EVERY, background, classes)
    assert sorted(set(ids.tolist()) - {legend.IGNORE}) == list(range(n))
    back = legend.index_from_train_id(ids, background, classes)
    np.testing.assert_array_equal(back, legend.merge_index(EVERY, classes))


def test_merged_classes_literal():
    ids = legend.train_id_from_index(EVERY, "ignore", "merged").tolist()
    assert ids == [255, 0, 1, 1, 2, 3, 4, 5, 5, 6, 7, 8]
    assert legend.class_names("ignore", "merged") == (
        "Road", "Building", "Arable land", "Woodland", "Grassland", "Water", "Structure", "Excavation",
        "Bare surface",
    )  # fmt: skip
    assert legend.merge_index(EVERY, "merged").tolist() == [0, 1, 2, 2, 4, 5, 6, 7, 7, 9, 10, 11]
    assert legend.scored("class", "merged") == (0, 1, 2, 4, 5, 6, 7, 9, 10, 11)


def test_both_members_have_the_name_and_colour_of_the_merged_class():
    for merged, members in zip(
        legend.MERGED, (("Low building", "High building"), ("River", "Lake")), strict=True
    ):
        assert tuple(legend.NAMES[i] for i in merged.members) == members
        assert {legend.names("merged")[i] for i in merged.members} == {merged.name}
    assert legend.colours("merged")[7] == legend.colours("merged")[8] == legend.MERGED[1].colour
    assert legend.names("all") == legend.NAMES
    assert legend.colours() == legend.COLOURS


def test_unknown_scheme_is_an_error():
    for ask in (legend.names, legend.representatives, lambda classes: legend.outputs("ignore", classes)):
        with pytest.raises(ValueError, match="classes: got 'both'; allowed: all, merged"):
            ask("both")


def test_a_label_space_literal():
    merged = legend.LabelSpace("ignore", "merged")
    assert merged.scored == (1, 2, 4, 5, 6, 7, 9, 10, 11)
    assert merged.title == "9 merged classes, unlabelled ground ignored"
    assert legend.LabelSpace("class").title == "12 classes, unlabelled ground a class"
    assert merged.merge_index(EVERY).tolist() == [0, 1, 2, 2, 4, 5, 6, 7, 7, 9, 10, 11]
    assert merged.train_id_from_index(EVERY).tolist() == [255, 0, 1, 1, 2, 3, 4, 5, 5, 6, 7, 8]
    assert merged == legend.LabelSpace("ignore", "merged") != legend.LabelSpace()


def test_two_label_spaces_are_judged_in_the_merged_one():
    whole, merged = legend.LabelSpace("class"), legend.LabelSpace("class", "merged")
    assert whole.judged_with(merged) == merged.judged_with(whole) == merged
    assert whole.judged_with(whole) == whole
    assert merged.annotated() == legend.LabelSpace("ignore", "merged")


def test_a_label_space_refuses_other_words():
    with pytest.raises(ValueError, match="classes: got 'some'; allowed: all, merged"):
        legend.LabelSpace("ignore", "some")
