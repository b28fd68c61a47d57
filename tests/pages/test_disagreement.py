"""Contradictions of the labels: regions, their ranking, and what is found of planted errors."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_labels import patch

from wusu_lib.legend import LabelSpace
from wusu_lib.pages import maps


@pytest.fixture
def city(tmp_path):
    """Woodland, with a block labelled grassland by mistake and a road that the model misses."""
    index = np.full((40, 40), 5, dtype=np.uint8)
    index[5:10, 5:12] = 6
    index[20:22, :] = 1
    table = pd.DataFrame([patch(tmp_path, "a", 15, index.tolist())])
    confidence = np.full((40, 40), 250, dtype=np.uint8)
    confidence[20:22] = 140
    confidence[20:22, 30:] = 100  # not sure enough
    run = SimpleNamespace(
        labels=LabelSpace(),
        confusion=pd.DataFrame({"patch": ["a_15"], "split": ["val"]}),
        prediction=lambda _: np.full((40, 40), 5, dtype=np.uint8),
        confidence=lambda _: confidence,
    )
    error = {"kind": "mislabelled", "patch": "a_15", "given_code": 7, "pixels": 35}
    box = {"top": 5, "left": 5, "bottom": 10, "right": 12}
    pd.DataFrame([error | box, error | box | {"kind": "unlabelled"}]).to_csv(tmp_path / "planted.csv")
    return tmp_path, table, run


def test_regions_are_ranked_by_confident_area(city):
    _, table, run = city
    ranking = maps.ranked_regions(run, table)
    assert ranking["pixels"].tolist() == [35, 60]
    assert ranking["weight"].tolist() == pytest.approx([35 * 250 / 255, 60 * 140 / 255])
    assert ranking.loc[0, ["truth", "predicted", "top", "left", "bottom", "right"]].tolist() == [
        6,
        5,
        5,
        5,
        10,
        12,
    ]


def test_planted_errors_are_found_or_not_known(city):
    root, table, run = city
    ranking = maps.ranked_regions(run, table)
    found = maps.planted_errors_found(ranking, run, table, root, k=1)
    assert (found["planted"], found["found"], found["recall"], found["precision"]) == (1, 1, 1.0, 1.0)
    assert (found["chance"], found["low"], found["high"]) == (0.5, 0, 1)
    backwards = ranking.iloc[::-1].reset_index(drop=True)
    assert maps.planted_errors_found(backwards, run, table, root, k=1)["found"] == 0
    assert "find 1 of them (recall 100%" in maps.disagreement_sentence(found, ranking).data
    (root / "planted.csv").unlink()
    assert maps.planted_errors_found(ranking, run, table, root) is None
    assert "No label errors are known" in maps.disagreement_sentence(None, ranking).data


def test_nothing_contradicts_inside_a_merged_class(tmp_path):
    index = np.full((40, 40), 2, dtype=np.uint8)  # Low building
    index[20:] = 5
    table = pd.DataFrame([patch(tmp_path, "a", 15, index.tolist())])
    guess = np.full((40, 40), 3, dtype=np.uint8)  # High building everywhere
    of = {
        "confusion": pd.DataFrame({"patch": ["a_15"], "split": ["val"]}),
        "prediction": lambda _: guess,
        "confidence": lambda _: np.full((40, 40), 250, dtype=np.uint8),
    }
    apart = maps.ranked_regions(SimpleNamespace(labels=LabelSpace(), **of), table)
    assert apart[["truth", "predicted", "pixels"]].to_numpy().tolist() == [[2, 3, 800], [5, 3, 800]]
    merged = maps.ranked_regions(SimpleNamespace(labels=LabelSpace("ignore", "merged"), **of), table)
    assert merged[["truth", "predicted", "pixels"]].to_numpy().tolist() == [[5, 2, 800]]
