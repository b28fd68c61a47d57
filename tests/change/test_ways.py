"""Ways compared: the values of ``comparison``, and no figure where a way has none."""

import made_change
import pandas as pd
import pytest

from wusu_lib.change import analysis
from wusu_lib.measures import comparison
from wusu_lib.pages import change

SIDES = {
    "two": [made_change.run(0.5)],
    "direct": [made_change.run(0.8)],
    "binary": [made_change.run(0.5, binary=True)],
}


def test_each_way_has_the_figures_that_it_knows():
    found = analysis.method_intervals(SIDES, ["BCD F1", "Fscd from-to"])
    assert found.groupby("way", sort=False)["figure"].apply(list).to_dict() == {
        "two": ["BCD F1", "Fscd from-to"],
        "direct": ["BCD F1", "Fscd from-to"],
        "binary": ["BCD F1"],
    }
    expected = comparison.interval(SIDES["direct"], "Fscd from-to")
    row = found[(found["way"] == "direct") & (found["figure"] == "Fscd from-to")].iloc[0]
    assert (row["value"], row["low"], row["high"]) == (expected.value, expected.low, expected.high)


def test_differences_are_paired_with_the_baseline():
    direct = {way: runs for way, runs in SIDES.items() if way != "two"}
    found = analysis.method_differences(direct, SIDES["two"], "BCD F1").set_index("experiment")
    expected = comparison.difference(SIDES["direct"], SIDES["two"], "BCD F1")
    assert found.loc["direct", "value"] == pytest.approx(expected.value)
    assert found.loc["direct", "low"] > 0
    assert found.loc["binary", "value"] == 0
    assert found.loc["direct", ["n_patches", "n_blocks", "n_seeds"]].tolist() == [16, 4, 1]
    assert analysis.method_differences(direct, SIDES["two"], "SeK from-to")["experiment"].tolist() == [
        "direct"
    ]


def test_the_sentence_sorts_ways_by_what_can_be_said():
    rows = pd.DataFrame(
        {
            "experiment": ["a", "b", "c"],
            "value": [0.1, -0.2, 0.05],
            "low": [0.05, -0.3, -0.1],
            "high": [0.2, -0.1, 0.2],
            "n_patches": 72,
            "n_blocks": 16,
            "n_seeds": 1,
        }
    )
    text = change.ways_sentence(rows, "BCD F1", "exp15").data
    assert text == (
        "*a* (+0.100) has a higher BCD F1 than exp15; *b* (−0.200) has a lower BCD F1 than exp15; for *c* "
        "(+0.050) the interval holds zero, so nothing can be said. Each difference rests on 72 pairs in 16 "
        "blocks and 1 seed."
    )


def test_the_best_way_by_each_figure():
    text = change.change_figures_sentence(analysis.method_intervals(SIDES, ["BCD F1", "Fscd from-to"])).data
    value = comparison.interval(SIDES["direct"], "BCD F1").value
    assert text.startswith(f"*direct* is highest in BCD F1 ({value:.3f}) and Fscd from-to (")
    assert text.endswith(").")


def test_ways_that_tie_are_named_together_and_what_is_undefined_is_called_so():
    rows = pd.DataFrame(
        [("a", "BCD F1", 0.5), ("b", "BCD F1", 0.5), ("a", "SeK", float("nan"))],
        columns=["way", "figure", "value"],
    )
    assert change.change_figures_sentence(rows).data == (
        "*a* and *b* are highest in BCD F1 (0.500); SeK: undefined, since nothing is annotated."
    )
    change.change_ways_figure(rows[2:].assign(low=float("nan"), high=float("nan")))  # draws all the same


def test_a_small_difference_keeps_its_sign():
    rows = pd.DataFrame({"experiment": ["a"], "value": [-0.0004], "low": [-0.0006], "high": [-0.0001]})
    text = change.ways_sentence(rows.assign(n_patches=1, n_blocks=1, n_seeds=1), "BCD F1", "exp15").data
    assert text.startswith("*a* (−0.0004) has a lower BCD F1 than exp15.")


def test_f1_of_each_pair_shown():
    pairs = SIDES["two"][0].confusion["patch"][:2].tolist()
    text = change.change_maps_sentence(
        {"In two stages": SIDES["two"][0], "Alone": SIDES["binary"][0]}, pairs
    ).data
    assert (
        text
        == "F1 of changed ground, from top to bottom: *In two stages* 0.59 and 0.60; *Alone* 0.59 and 0.60."
    )
