"""Two maps compared, as a run: perfect maps, variants, settings, keys, baselines across kinds."""

import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_tree import write_tree

from wusu_lib import imagery, legend
from wusu_lib.change import analysis
from wusu_lib.change.analysis import pairs
from wusu_lib.change.codebook import code_book
from wusu_lib.data import tree
from wusu_lib.experiment import experiment, two_stage
from wusu_lib.experiment.two_stage import VARIANTS, source_of
from wusu_lib.measures import change
from wusu_lib.measures.change import scores
from wusu_lib.pages import style
from wusu_lib.pages.change import code_book_sentence, codes_table, never_seen_table
from wusu_lib.pages.two_stage import (
    chain_counts,
    change_errors_sentence,
    change_flows_sentence,
    change_targets_sentence,
    change_transitions_sentence,
    three_dates_sentence,
    trials_table,
    two_stage_figures_sentence,
    two_stage_gains_sentence,
    two_stage_settings_sentence,
    two_stage_source_sentence,
)
from wusu_lib.runs.results import read_beside, read_variant
from wusu_lib.runs.store import find

STATED = {
    "name": "exp15",
    "prediction": "val Fscd from-to rises by at least 0.05 over exp00",
    "run": "exp00",
    "variant": "argmax",
    "split": "study",
}
FLOOR = {"name": "exp00", "split": "study"}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_tree(tmp_path_factory.mktemp("tree"), rows=2, columns=2)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch, root):
    """Runs, cache and notebooks of the test's own; maps that are the annotation with some noise."""
    monkeypatch.setenv("WUSU_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("WUSU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WUSU_ROOT", str(tmp_path))
    source = "\n".join(f"{name} = {value!r}" for name, value in FLOOR.items())
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": [source]}
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "exp00.ipynb").write_text(json.dumps({"cells": [cell]}))
    noise = {"share": 0.0}
    masks = dict(zip(*(tree.scan(root)[name] for name in ("image", "mask")), strict=True))

    def noisy(path):
        rng = np.random.default_rng(zlib.crc32(path.encode()))
        index = legend.index_from_code(imagery.read(masks[path])[0])
        wrong = rng.random(index.shape) < noise["share"]
        return np.where((index == 0) | wrong, rng.integers(1, 12, index.shape), index)

    def stack(images):
        sure = np.eye(12, dtype=np.float32)[np.stack([noisy(path) for path in images])]  # [N, H, W, 12]
        return np.moveaxis(0.6 * sure + 0.4 / 11, -1, 1) * (np.arange(12) > 0)[:, None, None]

    monkeypatch.setattr(two_stage, "stacks", lambda run, train: stack)
    return noise


def every_pair(exp):
    """The validation pairs."""
    found = pairs(exp.table, exp.dossier.changes)
    return found[found["split"] == "val"]


def prepare(root, **changed):
    return experiment.prepare({**STATED, "data_root": str(root), **changed})


def test_perfect_maps_are_perfect_change(root):
    (run,) = prepare(root).runs()
    found = run.scores("val")
    assert (found["BCD F1"], found["Fscd from-to"], found["SeK per date"]) == (1.0, 1.0, 1.0)
    off = run.matrices.sum(axis=0) - np.diag(np.diagonal(run.matrices.sum(axis=0)))
    assert off.sum() == 0
    assert set(run.confusion["split"]) == {"val", "test"}
    assert run.record["annotation"]["scd"]["agreement"] > 0.97
    assert run.prediction(run.confusion.query("split == 'val'")["patch"].iloc[0]).dtype == np.uint8


def test_every_variant_is_kept_and_the_stated_one_is_the_runs_own(root, places):
    places["share"] = 0.05
    (run,) = prepare(root, variant="map").runs()
    kept = {name: read_variant(run, name, len(run.confusion)) for name in VARIANTS}
    np.testing.assert_array_equal(kept["map"], run.matrices)
    truth = {name: matrices.sum(axis=2) for name, matrices in kept.items()}
    assert all(np.array_equal(truth["argmax"], each) for each in truth.values())  # the same ground is judged
    false = {name: int(matrices[:, 0, 1:].sum()) for name, matrices in kept.items()}
    assert false["argmax"] > false["slivers"] > 0  # scattered noise makes slivers
    assert false["units"] <= false["slivers"]
    with pytest.raises(ValueError, match="stored: argmax, slivers"):
        read_variant(run, "median", 1)


def test_settings_are_chosen_among_those_stated(root, places):
    places["share"] = 0.05
    (fixed,) = prepare(root).runs()
    assert fixed.record["trials"] == []
    (run,) = prepare(root, tolerances=[0, 1], smoothings=[1.0, 100.0], unit_shares=[0.0, 0.5]).runs()
    trials, settings = run.record["trials"], run.record["settings"]
    assert [t["step"] for t in trials] == ["tolerance"] * 2 + ["unit_share"] * 2 + ["smoothing"] * 2
    best = max(trials[:2], key=lambda t: t["figure"])
    late = "val BCD F1 rises by at least 0.01 over exp00"  # not judged, but it says what is chosen by
    (other,) = prepare(root, tolerances=[0, 1], prediction=late).runs()
    own = read_variant(other, "slivers", len(other.confusion))
    best_of = max(trial["figure"] for trial in other.record["trials"][:2])
    own = own[(other.confusion["split"] == "val").to_numpy()].sum(axis=0)
    assert scores(own)["BCD F1"] == pytest.approx(best_of)
    assert settings["tolerance"] == best["value"] == 1
    matrices = read_variant(run, "slivers", len(run.confusion))
    val = matrices[(run.confusion["split"] == "val").to_numpy()].sum(axis=0)
    assert scores(val)["Fscd from-to"] == pytest.approx(best["figure"])


def test_errors_and_chains_are_counted_of_the_maps_as_they_are(root, places):
    places["share"] = 0.2
    (run,) = prepare(root).runs()
    (counts,) = analysis.joint_errors([run], "val")
    observed = analysis.error_rates(counts)["observed"]
    argmax = read_variant(run, "argmax", len(run.confusion))
    val = argmax[(run.confusion["split"] == "val").to_numpy()].sum(axis=0)
    assert observed["false change"] == pytest.approx(val[0, 1:].sum() / val[0].sum())
    assert observed["missed change"] == pytest.approx(val[1:, 0].sum() / val[1:].sum())
    chains = read_beside(run, "chains")
    assert chains.shape == (2, 3, 12, 12, 12)
    assert (chains.sum(axis=(2, 3, 4)) == chains.sum(axis=(2, 3, 4))[:, :1]).all()  # the same ground for all
    gains = analysis.step_gains([run])
    assert len(gains) == 12
    assert (gains["low"] <= gains["high"]).all()
    assert "<table" in trials_table([run], "Fscd from-to").to_html()


def test_every_sentence_says_what_the_run_holds(root, places):
    places["share"] = 0.1
    exp = prepare(root, tolerances=[0, 1])
    runs = exp.runs()
    val = every_pair(exp)
    matrix = style.pooled_by_seed(runs, "val")[0]
    table = change.scores(matrix)
    assert f"BCD F1 is {table['BCD F1']:.3f} against" in two_stage_figures_sentence(runs, runs).data
    assert "highest val mIoU. That choice was made on the validation patches" in " ".join(
        prepare(root, run="best").notes
    )
    assert "those of **exp00**" in two_stage_source_sentence(runs).data
    told = two_stage_settings_sentence(runs).data
    assert "The best tolerance lies at an end" in told
    assert two_stage_settings_sentence([*runs, *runs]).data == told  # alike seeds are told once
    assert "Of 6 steps on test" in two_stage_gains_sentence(analysis.step_gains(runs)).data
    true = (matrix.sum(axis=1)[1:] > 0).sum()
    assert change_transitions_sentence(matrix).data.startswith(f"{true} transition")
    assert f"{matrix[1:].sum() / matrix.sum():.1%} of the labelled" in change_flows_sentence(matrix).data
    assert "New building: " in change_targets_sentence(runs, val).data
    assert "correlation of the two errors" in change_errors_sentence(runs).data
    counts = chain_counts(exp, runs)
    single = int(counts.loc[("val", "each date by itself"), "implausible"])
    assert f"On validation, {single:,} pixels" in three_dates_sentence(exp, runs).data
    book = code_book(exp.dossier)
    assert f"{book.agreement:.2%} of the" in code_book_sentence(book).data
    assert codes_table(book).data["pixels"].sum() == book.table()["pixels"].sum()
    assert len(never_seen_table(book).data) <= 11


def test_the_baseline_of_change_is_that_experiments_maps_compared(root):
    exp = prepare(root, variant="all")
    stated = exp.baseline_parameters()
    assert (stated.name, stated.run, stated.variant) == ("exp00_change", "exp00", "argmax")
    difference, verdict = exp.judge(exp.runs(), exp.baseline())
    assert difference.metric == "Fscd from-to"
    assert verdict.demo
    assert {run.experiment for run in find()} == {"exp00", "exp15", "exp00_change"}


def test_a_changed_mask_or_source_is_another_run_and_a_budget_is_not(root, tmp_path):
    exp = prepare(root)
    key = exp.key(42)
    assert prepare(root, epochs=7, batch_size=2, precision="32").key(42) == key  # the floor has none of these
    assert prepare(root, tolerances=[2]).key(42) != key
    assert prepare(root, background="class").key(42) != key  # another source
    other = tmp_path / "other"
    shutil.copytree(root, other)
    assert prepare(other).key(42) == key  # the same content elsewhere
    mask = other / "test" / "HS" / "change" / "SCD" / "HS1516_0.tif"
    mask.write_bytes((other / "test" / "HS" / "change" / "SCD" / "HS1618_0.tif").read_bytes())
    assert prepare(other).key(42) != key


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"run": "exp99"}, "notebooks there: exp00"),
        ({"run": "best"}, "needs a stored segmentation run"),
        ({"variant": "median"}, "variant: got 'median'; allowed: argmax"),
        ({"tolerances": [99]}, "tolerances"),
        ({"smoothings": []}, "smoothings"),
    ],
)
def test_mistakes_are_told(root, changed, told):
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        source_of(prepare(root, **changed))


def test_a_floor_compares_nothing(root):
    with pytest.raises(ValueError, match="exp00 compares no maps"):
        source_of(experiment.prepare({**FLOOR, "data_root": str(root)}))


def test_settings_are_tried_on_sites_that_are_evenly_spread():
    rows = pd.DataFrame({"site": np.repeat([f"s{n}" for n in range(7)], 2), "patch": range(14)})
    assert two_stage.spread(rows, 3)["site"].tolist() == ["s0", "s0", "s3", "s3", "s6", "s6"]
    assert two_stage.spread(rows, 7) is rows
