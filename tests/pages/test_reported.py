"""The study's printed figures: as printed, with what is wrong with them."""

from pathlib import Path

import pandas as pd
import pytest

from wusu_lib.pages import results

STUDY = Path(__file__).parents[2].parent / "shared" / "study" / "000_a6825ce16b548378.txt"


def test_ten_columns_by_experiment():
    table = results.reported_figures()
    assert list(table.columns) == [
        *["train/loss", "train/acc", "train/pixel_acc", "train/mIoU", "train/F1"],
        *["val/loss", "val/acc", "val/pixel_acc", "val/mIoU", "val/F1"],
    ]
    assert table.index.tolist() == ["exp02", "exp04", "exp05", "exp06", "exp07", "exp08"]
    assert table.index.name == "experiment"
    assert table.loc["exp05", "val/mIoU"] == 0.38
    assert table.loc["exp06", "val/pixel_acc"] == 0.7155
    assert (table.dtypes == "float64").all()


def test_figures_are_those_the_study_prints():
    if not STUDY.exists():
        pytest.skip("the study's text is not beside the repository")
    rows = [line.split("|")[1:-1] for line in STUDY.read_text().splitlines() if line.startswith("| 0.")]
    printed = [[float(cell) for cell in row] for row in rows]
    assert len(printed) == 4
    assert results.reported_figures().loc[["exp02", "exp04", "exp05", "exp06"]].to_numpy().tolist() == printed


def test_flags_are_exactly_what_arithmetic_rules_out():
    # acc is at most 1, and per class IoU <= F1 = 2 IoU / (1 + IoU), concave, so that the means obey
    # mIoU <= F1 <= 2 mIoU / (1 + mIoU). The loss beside an impossible accuracy is suspected with it.
    impossible = set()
    for experiment, row in results.reported_figures().iterrows():
        for split in ("train", "val"):
            iou, f1 = row[f"{split}/mIoU"], row[f"{split}/F1"]
            if not iou <= f1 <= 2 * iou / (1 + iou):
                impossible.add((experiment, f"{split}/F1"))
            if row[f"{split}/acc"] > 1:
                impossible |= {(experiment, f"{split}/acc"), (experiment, f"{split}/loss")}
    flags = results.reported_flags()
    assert set(zip(flags["experiment"], flags["column"], strict=True)) == impossible
    assert len(flags) == 3


def test_flags_give_value_and_reason():
    flags = results.reported_flags().set_index(["experiment", "column"])
    assert flags.loc[("exp02", "val/acc"), "value"] == 1.109
    assert "look swapped" in flags.loc[("exp02", "val/loss"), "reason"]
    assert "repeats val/F1" in flags.loc[("exp07", "train/F1"), "reason"]
    assert (
        results.reported_figures().loc["exp07", "train/F1"]
        == results.reported_figures().loc["exp07", "val/F1"]
    )


def test_every_experiment_has_a_note():
    notes = results.reported_comparability()
    assert isinstance(notes, pd.Series)
    assert notes.index.tolist() == results.reported_figures().index.tolist()
    merged = notes.index[notes.str.contains("not comparable with 11 or 12 classes")]
    assert merged.tolist() == ["exp07", "exp08"]
    assert notes.drop(merged).str.contains("background='class'").all()


def test_the_remark_on_exp06_is_true():
    table = results.reported_figures()
    below = table.columns[table.loc["exp06"] < table.loc["exp04"]]
    assert {c for c in below if c.startswith("val/") and c != "val/loss"} == {"val/acc", "val/F1"}
    assert "val/acc and val/F1 are below exp04's" in results.reported_comparability()["exp06"]


def test_a_caller_cannot_spoil_the_table():
    mine = results.reported_figures()
    mine.loc["exp02", "val/acc"] = 0.5
    assert results.reported_figures().loc["exp02", "val/acc"] == 1.109
