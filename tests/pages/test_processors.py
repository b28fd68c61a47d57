"""How far figures go apart over seeds and over arithmetics: spreads by hand, words, and what is drawn."""

import pandas as pd
import pytest

from wusu_lib import provenance
from wusu_lib.pages import published

ROWS = pd.DataFrame(
    [
        ("exp01", "AVX2, 1 thread", 42, 0.30),
        ("exp01", "AVX2, 1 thread", 43, 0.34),
        ("exp01", "AVX2, 2 threads", 42, 0.37),
        ("exp01", "AVX2, 2 threads", 43, 0.35),
    ],
    columns=["experiment", "arithmetic", "seed", "val mIoU"],
).assign(processor="P", torch="2.14.1", commit="abc", finished="2026-01-02")


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    monkeypatch.setattr(published, "processors_file", lambda: tmp_path / "processors.csv")
    ROWS.to_csv(tmp_path / "processors.csv", index=False)


def test_spread_over_seeds_is_within_one_arithmetic_and_the_other_within_one_seed():
    """Seeds: .04 with one thread, .02 with two. Arithmetics: .07 for seed 42, .01 for 43."""
    (row,) = published.spreads(ROWS).to_dict("records")
    assert row == {
        "experiment": "exp01",
        "seed_range": pytest.approx(0.04),
        "arithmetic_range": pytest.approx(0.07),
        "seeds": 2,
        "arithmetics": 2,
    }


def test_the_sentence_gives_both_spreads_and_the_origin(recorded):
    told = published.processors_sentence().data
    assert "0.040 over 2 seeds" in told
    assert "0.070 over 2 arithmetics" in told
    assert told.endswith("Recorded on P with torch 2.14.1 and the demo of commit abc, 2026-01-02.")


def test_every_training_is_a_dot(recorded):
    (axes,) = published.processors_figure().axes
    dots = sorted(tuple(point) for drawn in axes.collections for point in drawn.get_offsets().tolist())
    assert dots == [(0.30, 0), (0.34, 0), (0.35, 1), (0.37, 1)]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "exp01 · AVX2, 1 thread",
        "exp01 · AVX2, 2 threads",
    ]


@pytest.mark.parametrize("kind", ["text", "table", "empty", "bytes", "folder", "link", "dead link"])
def test_nothing_is_trained_for_a_record_that_is_somebody_elses_file(recorded, tmp_path, kind):
    path, victim = tmp_path / "processors.csv", tmp_path / "victim"
    content = {"text": b"mine\n", "table": b"a,b\n1,2\n", "empty": b"", "bytes": b"\xff\xfe,\xff\n"}
    path.rename(victim) if kind == "link" else path.unlink()
    if kind == "folder":
        path.mkdir()
    elif "link" in kind:
        path.symlink_to(victim)
    else:
        path.write_bytes(content[kind])
    with pytest.raises(ValueError, match=r"processors\.csv .*not written by this tool.*; move it away"):
        published.record_processors(
            ["exp99"]
        )  # there is none: whatever opens it first raises FileNotFoundError
    assert path.read_bytes() == content[kind] if kind in content else path.is_dir() or path.is_symlink()
    assert victim.exists() == (kind == "link")


def test_the_committed_record_holds_three_seeds_of_each_arithmetic():
    rows = published.recorded_processors()
    assert set(rows["seed"]) == set(published.SEEDS)
    assert rows.groupby(["experiment", "arithmetic"])["seed"].nunique().eq(3).all()
    assert rows.groupby("experiment")["arithmetic"].nunique().ge(2).all()


def test_an_arithmetic_is_called_by_its_limit_and_threads():
    stated = {
        "instruction_set": "AVX512_CORE_AMX",
        "onednn_limit": "AVX2",
        "aten_limit": "AVX2",
        "gpu": "",
        "demo_threads": "2",
    }
    assert published.called(stated) == "AVX512_CORE_AMX limited to AVX2, 2 threads"


def test_threads_of_a_demo_are_one_unless_the_environment_says_another_number(monkeypatch):
    monkeypatch.delenv("WUSU_DEMO_THREADS", raising=False)
    assert provenance.arithmetic()["demo_threads"] == "1"
    monkeypatch.setenv("WUSU_DEMO_THREADS", "2")
    assert provenance.arithmetic()["demo_threads"] == "2"
    monkeypatch.setenv("WUSU_DEMO_THREADS", "many")
    with pytest.raises(ValueError, match="WUSU_DEMO_THREADS: got 'many'"):
        provenance.arithmetic()
