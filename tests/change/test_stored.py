"""Code books in the cache folder: reused, redone where anything changed, never written into the data."""

import json
from pathlib import Path

import numpy as np
import pytest
from small_tree import write_raster

from wusu_lib import imagery
from wusu_lib.change import codebook
from wusu_lib.data import inspection
from wusu_lib.transitions import LABEL


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WUSU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "code_books"


@pytest.fixture
def counting(monkeypatch):
    """How often files were counted."""
    calls, count = [], codebook.cross_tabulate

    def cross_tabulate(*arguments):
        calls.append(arguments[2])
        return count(*arguments)

    monkeypatch.setattr(codebook, "cross_tabulate", cross_tabulate)
    return calls


def test_the_second_time_it_is_read_from_the_cache(tree, cache, counting):
    before = sorted(tree.rglob("*"))
    dossier = inspection.inspect(tree)
    first, second = codebook.code_book(dossier), codebook.code_book(dossier)
    assert counting == ["scd"]
    assert first.codes == second.codes
    np.testing.assert_array_equal(first.counts, second.counts)
    assert sorted(tree.rglob("*")) == before
    (path,) = cache.glob("*.json")
    content = json.loads(path.read_text())
    assert content["data"] == dossier.fingerprint
    assert content["table"][0]["name"] == "Unchanged"


def test_small_tree_s_code_is_recovered(tree):
    # The tree's own code: 100 + 12 a + b - 13 for class indices a, b.
    book = codebook.code_book(inspection.inspect(tree)).require()
    table = book.table()
    assert len(table) == 7  # unchanged and six transitions occur
    first, second = np.divmod(table["code"].to_numpy()[1:] - 87, 12)
    assert table["label"].tolist()[1:] == LABEL[first, second].tolist()


def test_both_kinds_are_kept_apart(tree, counting):
    dossier = inspection.inspect(tree)
    assert codebook.code_book(dossier, "bcd").codes == {0: 0, 1: 1}
    assert len(codebook.code_book(dossier).codes) > 2
    assert counting == ["bcd", "scd"]


def test_another_mask_is_counted_anew(tree, counting):
    dossier = inspection.inspect(tree)
    codebook.code_book(dossier)
    path = dossier.changes["scd"].iloc[0]
    write_raster(Path(path), imagery.read(path) ^ 1)
    book = codebook.code_book(dossier)
    assert counting == ["scd", "scd"]
    assert book.agreement < 1


def test_a_damaged_store_is_counted_anew(tree, cache, counting):
    dossier = inspection.inspect(tree)
    codes = codebook.code_book(dossier).codes
    (path,) = cache.glob("*.json")
    path.write_text(path.read_text()[:100])
    assert codebook.code_book(dossier).codes == codes
    assert counting == ["scd", "scd"]


def test_nothing_to_learn_from(tree):
    for path in tree.rglob("change/SCD/*.tif"):
        path.unlink()
    with pytest.raises(ValueError, match="no SCD mask with class masks at both"):
        codebook.code_book(inspection.inspect(tree))
