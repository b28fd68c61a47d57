"""The code book: recovered from clean and from noisy masks, and what it says of masks that have none."""

import numpy as np
import pandas as pd
import pytest

from wusu_lib import imagery, transitions
from wusu_lib.change import codebook
from wusu_lib.data import tree
from wusu_lib.synthetic.tree import code_book

UNLABELLED_ROW = 111


def made(pairs: dict[tuple[int, int], int]) -> np.ndarray:
    """Evidence of given pixels by (label, value)."""
    counts = np.zeros((112, 256), dtype=np.int64)
    for (label, value), pixels in pairs.items():
        counts[label, value] = pixels
    return counts


PLAIN = {(0, 7): 10_000, (1, 30): 400, (2, 10): 5, (UNLABELLED_ROW, 9): 800}


def planted_codes(labels: list[int]) -> dict[int, int]:
    """The mini city's own code of labels."""
    book = code_book(7)
    return {0: 0} | {n: int(book[transitions.FIRST[n], transitions.SECOND[n]]) for n in labels if n}


@pytest.fixture(scope="module")
def change_masks(city) -> pd.DataFrame:
    return tree.scan_changes(city)


@pytest.fixture(scope="module")
def city_evidence(city_table, change_masks) -> dict[str, np.ndarray]:
    return {kind: codebook.cross_tabulate(city_table, change_masks, kind) for kind in ("scd", "bcd")}


@pytest.fixture(scope="module")
def city_pixels(city_masks, change_masks):
    """All pixels of all intervals: class index before and after, SCD and BCD value; each [N]."""
    rows = list(change_masks.itertuples())
    before = np.concatenate([city_masks[r.site, r.date1].ravel() for r in rows])
    after = np.concatenate([city_masks[r.site, r.date2].ravel() for r in rows])
    scd, bcd = (np.concatenate([imagery.read(getattr(r, k)).ravel() for r in rows]) for k in ("scd", "bcd"))
    return before, after, scd, bcd


def with_noise(values: np.ndarray, share: float, highest: int, seed: int) -> np.ndarray:
    """A share of the non-zero values (class indices) or of all values, replaced at random by 1 to highest."""
    rng = np.random.default_rng(seed)
    hit = (rng.random(values.shape, dtype=np.float32) < share) & ((values > 0) | (highest > 12))
    return np.where(hit, rng.integers(1, highest + 1, values.shape, dtype=np.uint8), values)


def counted(before: np.ndarray, after: np.ndarray, values: np.ndarray) -> np.ndarray:
    labels = transitions.from_to(before, after)
    labels[labels == 255] = UNLABELLED_ROW
    packed = labels.astype(np.int64) * 256 + values
    return np.bincount(packed, minlength=112 * 256).reshape(112, 256)


def test_the_city_s_code_is_recovered(city_evidence):
    book = codebook.learn(city_evidence["scd"]).require()
    assert book.codes == planted_codes(list(book.codes))
    seen = np.flatnonzero(city_evidence["scd"][:111].sum(axis=1)).tolist()
    assert sorted(book.codes) == seen
    assert len(seen) > 10
    assert book.agreement == 1.0
    assert book.unlabelled_value == 0


def test_cross_tabulation_equals_a_count_over_all_pixels(city_evidence, city_pixels):
    before, after, scd, bcd = city_pixels
    np.testing.assert_array_equal(city_evidence["scd"], counted(before, after, scd))
    np.testing.assert_array_equal(city_evidence["bcd"], counted(before, after, bcd))


def test_the_city_s_code_is_recovered_exactly_with_one_percent_of_wrong_labels(city_evidence, city_pixels):
    before, after, scd, _ = city_pixels
    noisy = counted(with_noise(before, 0.01, 11, 1), with_noise(after, 0.01, 11, 2), scd)
    clean = codebook.learn(city_evidence["scd"])
    book = codebook.learn(noisy).require()
    assert book.codes == clean.codes == planted_codes(list(clean.codes))
    assert 0.97 < book.agreement < 0.99
    # All 110 transitions are "seen" in the noisy classes, most of them with the value of unchanged ground.
    assert (noisy[1:111].sum(axis=1) > 0).all()
    assert noisy[1:111].argmax(axis=1).tolist().count(0) > 50


def test_the_city_s_code_survives_noise_in_the_change_masks_too(city_pixels):
    before, after, scd, _ = city_pixels
    strays = with_noise(scd, 0.01, 110, 3)
    noisy = counted(with_noise(before, 0.01, 11, 1), with_noise(after, 0.01, 11, 2), strays)
    book = codebook.learn(noisy).require()
    assert book.codes == planted_codes(list(book.codes))
    pixels = np.bincount(transitions.from_to(before, after), minlength=256)[:111]
    assert {label for label in range(111) if pixels[label] > 300} <= book.codes.keys()


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_the_value_of_changed(city_pixels, noise):
    before, after, _, bcd = city_pixels
    noisy = [with_noise(m, noise, 11, seed) for seed, m in enumerate((before, after))]
    assert codebook.learn(counted(*noisy, bcd), "bcd").require().codes == {0: 0, 1: 1}
    inverted = np.where(bcd > 0, 3, 255).astype(np.uint8)
    assert codebook.learn(counted(*noisy, inverted), "bcd").require().codes == {0: 255, 1: 3}


def test_table_and_report_literal():
    book = codebook.learn(made(PLAIN | {(0, 30): 100, (5, 77): 1, (0, 77): 90})).require()
    table = book.table()
    assert table["code"].tolist() == [7, 10, 30]
    assert table["from"].tolist() == ["", "Road", "Road"]
    assert table["to"].tolist() == ["", "High building", "Low building"]
    assert table["pixels"].tolist() == [10_000, 5, 500]
    assert table["agreement"].tolist() == [1.0, 1.0, 0.8]
    assert table["colour"].tolist() == [transitions.COLOURS[n] for n in (0, 2, 1)]
    report = book.report()
    assert report["transitions"] == "2 of 110"
    assert report["agreement"] == pytest.approx(10_405 / 10_596)
    assert report["strays"] == {77: 91}
    assert report["unlabelled"] == {9: 800}
    assert len(report["never_seen"]) == 108
    assert report["conflicts"] == []


def test_both_directions():
    book = codebook.learn(made(PLAIN))
    assert book.labels(np.array([7, 30, 10, 200], np.uint8)).tolist() == [0, 1, 2, 255]
    assert book.values(np.array([0, 1, 2, 255], np.uint8)).tolist() == [7, 30, 10, 9]
    with pytest.raises(ValueError, match="no code is known for: Road to Arable land, Road to Woodland;"):
        book.values(np.array([0, 3, 4], np.uint8))


def test_one_value_for_two_transitions_is_a_conflict():
    book = codebook.learn(made(PLAIN | {(3, 30): 100}))
    assert book.conflicts == (codebook.Conflict((30,), (1, 3), (400, 100)),)
    assert book.codes[1] == 30
    with pytest.raises(
        ValueError, match=r"value 30 stands for Road to Low building, Road to Arable land \(400"
    ):
        book.require()


def test_two_values_for_one_transition_are_a_conflict():
    book = codebook.learn(made(PLAIN | {(1, 31): 450}))
    assert book.conflicts == (codebook.Conflict((31, 30), (1,), (450, 400)),)
    assert book.codes[1] == 31


def test_two_values_for_unchanged_are_a_conflict():
    book = codebook.learn(made(PLAIN | {(0, 8): 4_000}))
    assert book.conflicts == (codebook.Conflict((7, 8), (0,), (10_000, 4_000)),)


def test_scattered_pixels_make_no_code():
    # 30 stray pixels of value 50 over unchanged ground, 1 on a transition: what chance gives.
    book = codebook.learn(made(PLAIN | {(0, 50): 30, (1, 50): 1}))
    assert 50 not in book.codes.values()
    assert book.conflicts == ()


def test_refuses():
    with pytest.raises(ValueError, match=r"shape \(111, 256\); expected \(112, 256\)"):
        codebook.learn(np.zeros((111, 256)))
    with pytest.raises(ValueError, match="no pixel keeps its class"):
        codebook.learn(made({(1, 1): 5}))
    with pytest.raises(ValueError, match="got 'semantic'; allowed: scd, bcd"):
        codebook.learn(made(PLAIN), "semantic")


@pytest.mark.parametrize("kind", ["scd", "bcd"])
def test_masks_that_say_that_nothing_changed_are_refused(kind):
    book = codebook.learn(made({(0, 0): 10_000, (1, 0): 400, (2, 0): 5, (UNLABELLED_ROW, 0): 800}), kind)
    assert book.codes == {0: 0}
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 the whole text follows
        book.require()
    assert str(refusal.value) == (
        f"the {kind.upper()} masks say that nothing changed: the only value with a meaning is 0 (unchanged), "
        "while the class masks differ on 405 pixels. Check whether the change masks are empty"
    )


def in_columns(values: np.ndarray, columns: int, value: int) -> np.ndarray:
    """Patches of 128 px, flattened, whose first columns hold another value."""
    marked = values.reshape(-1, 128, 128).copy()
    marked[:, :, :columns] = value
    return marked.ravel()


@pytest.mark.parametrize("columns", [1, 30])
def test_255_for_ground_that_nobody_annotated_is_no_transition(city_pixels, columns):
    before, after, scd, bcd = city_pixels
    for kind, values in (("scd", scd), ("bcd", bcd)):
        clean = codebook.learn(counted(before, after, values), kind)
        marked = counted(before, after, in_columns(values, columns, 255))
        book = codebook.learn(marked, kind).require()
        assert 255 not in book.codes.values()
        assert book.codes.items() <= clean.codes.items()
        assert len(book.codes) > 1
        assert book.labels(np.array([255], np.uint8)).tolist() == [255]
        assert book.report()["unlabelled"][255] == int(marked[:, 255].sum())
        assert book.agreement == 1.0


def test_where_most_ground_is_not_annotated_255_must_be_named(city_pixels):
    before, after, scd, _ = city_pixels
    marked = counted(before, after, in_columns(scd, 100, 255))
    with pytest.raises(ValueError, match="value 255, 0 stands for Unchanged"):
        codebook.learn(marked).require()
    book = codebook.learn(marked, unlabelled=255).require()
    assert book.codes.items() <= codebook.learn(counted(before, after, scd)).codes.items()
    assert len(book.codes) > 1
    assert book.agreement == 1.0


def test_another_value_for_ground_that_nobody_annotated_is_refused_until_it_is_named(city_pixels):
    before, after, scd, _ = city_pixels
    marked = counted(before, after, in_columns(scd, 30, 200))
    with pytest.raises(ValueError, match=r"value 0, 200 stands for Unchanged .*-p unlabelled VALUE"):
        codebook.learn(marked).require()
    book = codebook.learn(marked, unlabelled=200).require()
    assert 200 not in book.codes.values()
    assert book.agreement == 1.0


def test_255_is_a_value_like_any_other_where_it_says_so():
    changed = made({(0, 0): 10_000, (1, 255): 400, (2, 255): 300, (UNLABELLED_ROW, 0): 800})
    for unlabelled in (None, 255):  # there is no other value for "changed"
        assert codebook.learn(changed, "bcd", unlabelled).require().codes == {0: 0, 1: 255}
    both = changed + made({(1, 1): 900, (0, 255): 5_000})
    assert codebook.learn(both, "bcd", 255).require().codes == {0: 0, 1: 1}
    one = made(PLAIN | {(3, 255): 600, (0, 255): 20})
    assert codebook.learn(one).require().codes == {0: 7, 1: 30, 2: 10, 3: 255}
    two = made(PLAIN | {(3, 255): 600, (4, 255): 500})
    with pytest.raises(ValueError, match="value 255 stands for Road to Arable land, Road to Woodland"):
        codebook.learn(two).require()
    assert codebook.learn(two, unlabelled=255).require().codes == {0: 7, 1: 30, 2: 10}


def test_0_is_a_value_in_a_change_mask_whatever_the_class_masks_use():
    counts = made({(0, 0): 10_000, (1, 30): 400})
    assert codebook.learn(counts, unlabelled=0).require().codes == {0: 0, 1: 30}
