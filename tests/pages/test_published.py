"""The log at length, published: what is refused, what is written, how the demo's pages tell of it."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest

from wusu_lib.pages import published

ROW = {
    **{"experiment": "exp05", "metric": "val mIoU", "difference": 0.0512, "low": 0.0431, "high": 0.0593},
    **{"verdict": "supported", "seeds": 5, "blocks": 128, "data": "abc", "finished": "2026-11-28"},
    **{"commit": "0123abcd", "machine": "P"},
}


def exp(called="exp05", data="other"):
    return SimpleNamespace(called=called, dossier=SimpleNamespace(fingerprint=data))


@pytest.fixture
def study(monkeypatch, tmp_path):
    monkeypatch.setattr(published, "folder", lambda: tmp_path)
    pd.DataFrame([ROW], columns=published.COLUMNS).to_csv(tmp_path / published.VERDICTS, index=False)


def executed(tmp_path, *cells):
    path = tmp_path / "exp05.ipynb"
    metadata = {"kernelspec": {"name": "python3"}, "papermill": {"input_path": "/somewhere"}}
    path.write_text(json.dumps({"cells": list(cells), "metadata": metadata, "nbformat": 4}))
    return path


def code(*outputs):
    return {
        "cell_type": "code",
        "metadata": {"papermill": {}, "tags": ["a"]},
        "outputs": outputs,
        "source": "",
    }


def heading(text="# A title"):
    return {"cell_type": "markdown", "id": "h", "metadata": {}, "source": text}


def test_a_demo_page_tells_what_the_same_gave_at_length(study):
    (told,) = published.at_length(exp())
    assert told.data == (
        "[The same at length](../published/study/exp05.ipynb), 5 seeds, 128 blocks, finished 2026-11-28: "
        "val mIoU +0.051 (+0.043 to +0.059), supported."
    )


@pytest.mark.parametrize("page", [exp(data="abc"), exp("exp05 with decoder unet"), exp("exp06")])
def test_neither_the_published_page_itself_nor_another_one_tells_it(study, page):
    assert published.at_length(page) == []


def test_without_a_study_nothing_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(published, "folder", lambda: tmp_path)
    assert published.at_length(exp()) == []
    assert "make study" in published.table([]).to_html()


def test_the_table_holds_the_published_verdict_beside_none_of_here(study):
    html = published.table([]).to_html()
    assert "+0.051 (+0.043 to +0.059)" in html
    assert html.count("supported") == 1


def test_a_page_has_its_story_under_its_heading_and_nothing_of_papermill(tmp_path):
    path = executed(tmp_path, heading("# Experiment 5: a title?\n\nA text."), code())
    page = json.loads(published._page(path, "*Run at length.*"))
    assert [cell["source"] for cell in page["cells"]] == [
        "# Experiment 5, at length: a title?",
        "*Run at length.*",
        "A text.",
        "",
    ]
    assert page["metadata"] == {"kernelspec": {"name": "python3"}}
    assert page["cells"][-1]["metadata"] == {"tags": ["a"]}


def test_what_is_glued_stays_with_the_demo(tmp_path):
    glued = {"output_type": "display_data", "data": {}, "metadata": {"scrapbook": {"name": "board"}}}
    shown = {"output_type": "display_data", "data": {}, "metadata": {}}
    page = json.loads(published._page(executed(tmp_path, heading(), code(glued, shown)), ""))
    assert page["cells"][-1]["outputs"] == [shown]


def test_a_page_with_an_error_or_a_folder_of_this_machine_is_refused(tmp_path, monkeypatch):
    failed = executed(tmp_path, heading(), code({"output_type": "error", "evalue": "no"}))
    with pytest.raises(ValueError, match="holds an error"):
        published._page(failed, "")
    monkeypatch.setattr(published.provenance, "repository", lambda: tmp_path / "mine")
    told = {"output_type": "stream", "text": f"read {tmp_path}/mine/runs"}
    with pytest.raises(ValueError, match=f"names {tmp_path}/mine, a folder of this machine"):
        published._page(executed(tmp_path, heading(), code(told)), "")
    with pytest.raises(ValueError, match=r"exp06\.ipynb is not there"):
        published._page(tmp_path / "exp06.ipynb", "")


def test_a_published_record_names_no_folder_of_this_machine():
    record = {"key": "k", "working_directory": "/mine", "data": {"root": "/mine/city", "fingerprint": "f"}}
    assert published._freed(record) == {"key": "k", "data": {"root": "city", "fingerprint": "f"}}


def test_an_experiment_without_all_its_seeds_is_not_published(monkeypatch, tmp_path):
    entry = SimpleNamespace(runs=[1], exp=SimpleNamespace(name="exp05", seeds=[1, 2]))
    monkeypatch.setattr(published.overview, "collect", lambda *asked: [entry])
    with pytest.raises(ValueError, match="exp05: not all seeds are run with study"):
        published.publish("study", tmp_path, tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_what_is_not_run_yet_is_named_and_left_out(monkeypatch, tmp_path):
    """The page of an earlier publication goes with it: its records are no longer there."""
    about = SimpleNamespace(fingerprint="f")
    entries = [
        SimpleNamespace(runs=runs, exp=SimpleNamespace(name=name, seeds=[1], dossier=about), difference=None)
        for name, runs in (("exp05", [1]), ("exp06", []))
    ]
    monkeypatch.setattr(published.overview, "collect", lambda *asked: entries)
    monkeypatch.setattr(published.store, "find", list)
    monkeypatch.setattr(published, "_origin", lambda overlay, log: f"{len(log)} of {overlay}")
    executed(tmp_path, heading(), code())
    (tmp_path / "results.ipynb").write_text((tmp_path / "exp05.ipynb").read_text())
    target = tmp_path / "root" / "published" / "study"
    target.mkdir(parents=True)
    (target / "exp06.ipynb").touch()
    pages = published.publish("study", tmp_path, tmp_path / "root")
    assert pages == ["published/study/exp05", "published/study/results"]
    assert sorted(path.name for path in target.glob("*.ipynb")) == ["exp05.ipynb", "results.ipynb"]
    told = json.loads((target / "results.ipynb").read_text())["cells"][1]["source"]
    assert told == "1 of study Not run yet: exp06."


CONTENTS = """parts:
  - caption: All results
    chapters:
      - file: book/log/results
  - caption: Methods and reproducibility
    chapters:
      - file: book/metrics
"""


def test_pages_are_listed_in_a_part_of_their_own_and_once():
    pages = ["published/study/exp01", "published/study/exp02"]
    once = published.with_pages(CONTENTS, "study", pages)
    assert once == CONTENTS.replace(
        "  - caption: Methods",
        "  - caption: At length, study\n    chapters:\n      - file: published/study/exp01\n"
        "      - file: published/study/exp02\n  - caption: Methods",
    )
    assert published.with_pages(once, "study", pages) == once


def test_another_overlay_keeps_its_part():
    both = published.with_pages(
        published.with_pages(CONTENTS, "study", ["published/study/exp01"]), "full", ["published/full/exp01"]
    )
    assert both.count("  - caption: At length, ") == 2
    assert "published/study/exp01" in both


def test_a_table_of_contents_without_the_place_is_refused():
    with pytest.raises(ValueError, match="no part 'Methods and reproducibility'"):
        published.with_pages("parts: []\n", "study", [])


def test_what_is_committed_is_small_and_holds_no_weights():
    root = published.provenance.repository() / "published"
    files = [path for path in root.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".csv", ".json", ".ipynb"}
    assert sum(path.stat().st_size for path in files) < 15e6


RATES = pd.DataFrame(
    [
        ("exp01", 10, 3, 0.2, "supported", "supported", 128, 1, "ours", 60, 0.95, 0.01, 1.0, 0.0, 0.0),
        ("exp01", 10, 3, 0.2, "supported", "supported", 16, 1, "ours", 480, 0.97, 0.03, 0.9, 0.0, 0.1),
        ("exp05", 10, 3, 0.012, "supported", "refuted", 128, 1, "ours", 20, 0.91, 0.01, 0.2, 0.1, 0.7),
        ("exp05", 10, 3, 0.012, "supported", "refuted", 128, 1, "percentile", 20, 0.8, 0.01, 0.2, 0.2, 0.6),
    ],
    columns=published.TRUTH_COLUMNS,
)


@pytest.fixture
def truth(monkeypatch, tmp_path):
    monkeypatch.setattr(published, "truth_file", lambda: tmp_path / "truth.csv")
    RATES.to_csv(tmp_path / "truth.csv", index=False)


def test_rates_of_all_experiments_are_weighted_by_their_intervals(truth):
    """(60 x .95 + 20 x .91) / 80 = .94; the contradicted verdict is named."""
    told = published.truth_sentence().data
    assert told.startswith("Judged on 10 fresh cities, with 3 further seeds.")
    assert "With 128 blocks and 1 seed, 94.0% of 80 intervals held the truth" in told
    assert "80% of the verdicts were right, 2.5% wrong, 18% left it open" in told
    assert told.endswith("exp05 of the demo's own 2 verdicts contradict the truth.")


def test_the_figure_shows_the_share_held_by_blocks(truth):
    (axes,) = published.truth_figure().axes
    ours = axes.get_lines()[0]
    assert ours.get_xdata().tolist() == [16, 128]
    assert ours.get_ydata() == pytest.approx([0.97, 0.94])


def test_an_empty_record_says_once_how_to_make_it(monkeypatch, tmp_path):
    monkeypatch.setattr(published, "truth_file", lambda: tmp_path / "truth.csv")
    assert "make truth" in published.truth_figure().data
    empty = (published.truth_sentence, published.truth_table, published.truth_pairs_table)
    assert [shown() for shown in empty] == [None] * 3


def test_an_experiment_without_a_baseline_has_no_truth(truth):
    with pytest.raises(ValueError, match="exp00 predicts nothing of class maps"):
        published.record_truth(["10", "3", "exp00"])
    assert len(published.recorded_truth()) == len(RATES)
