"""The gap between training and validation, from stored runs."""

import pytest
from stored_runs import store

from wusu_lib.measures import classes
from wusu_lib.pages import closer


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("WUSU_RUNS", str(tmp_path / "runs"))


def test_the_gap_is_training_minus_validation():
    mine = store("exp04", 1, (8, 10, 5, 10), losses={"train": 0.5, "val": 0.75})
    base = store("exp03", 1, (8, 10, 8, 10), losses={"train": 0.5, "val": 0.5})
    miou, loss = (row for _, row in closer.gap([mine], [base]).iterrows())
    gaps = [run.scores("train")["mIoU"] - run.scores("val")["mIoU"] for run in (mine, base)]
    assert [miou["run"], miou["baseline"]] == pytest.approx(gaps)
    assert miou["difference"] == pytest.approx(gaps[0] - gaps[1])
    assert miou["missing"] == "without one of the blocks the figure is undefined"  # one of validation
    assert (loss["run"], loss["baseline"]) == (0.25, 0)
    text = closer.gap_sentence(closer.gap([mine], [base]), [mine], [base]).data
    assert f"is {gaps[0]:.3f} higher in training" in text
    assert "0.250 nats above training, against 0.000" in text


def test_better_in_validation_than_in_training_is_called_lower():
    mine = store("exp04", 1, (9, 10, 9, 10), train=(8, 10, 5, 10), losses={"train": 0.5, "val": 0.4})
    found = closer.gap([mine], [mine])
    size = mine.scores("val")["mIoU"] - mine.scores("train")["mIoU"]
    text = closer.gap_sentence(found, [mine], [mine]).data
    assert f"The mIoU of **exp04** is {size:.3f} lower in training than in validation" in text
    assert "validation is 0.100 nats below training, against 0.100 nats below" in text


def test_other_patches_are_refused():
    mine, base = store("exp04", 1, (8, 10, 5, 10)), store("exp03", 1, (8, 10, 5, 10))
    base.confusion["patch"] = base.confusion["patch"].str.replace("test", "elsewhere")
    with pytest.raises(ValueError, match="the runs lie on different ground"):
        closer.gap([mine], [base])


def test_the_gap_of_a_merged_run_is_judged_merged_on_both_sides():
    mine = store("exp04", 1, (8, 10, 5, 10), classes="merged")
    base = store("exp03", 1, (8, 10, 8, 10))
    merged = closer.gap([mine], [base]).iloc[0]
    rows = [(mine.confusion["split"] == split).to_numpy() for split in ("train", "val")]
    train, val = (classes.scores(mine.matrices[r].sum(axis=0), mine.labels)["mIoU"] for r in rows)
    assert merged["run"] == pytest.approx(train - val)


def test_other_seeds_are_refused():
    with pytest.raises(ValueError, match=r"the runs have \[1\], the baseline \[2\]"):
        closer.gap([store("exp04", 1, (8, 10, 5, 10))], [store("exp03", 2, (8, 10, 5, 10))])
