"""Work shared between processes."""

import math
import os
from pathlib import Path

import pytest
from city_patches import TINY, digests

from wusu_lib.synthetic import tree, write
from wusu_lib.synthetic.processes import side_by_side


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def test_answers_come_in_order_and_all_but_the_first_from_elsewhere() -> None:
    assert side_by_side(math.factorial, [(3,), (4,), (5,)]) == [6, 24, 120]
    here, there = side_by_side(os.getpid, [(), ()])
    assert here == os.getpid() != there
    assert side_by_side(os.getpid, [(), ()], apart=False) == [here, here]


def test_a_failing_process_is_not_overlooked(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="exit status 1"):
        side_by_side(math.sqrt, [(1,), (-1,)])
    assert "math domain error" in capfd.readouterr().err


def test_what_fails_here_fails_as_ever() -> None:
    with pytest.raises(ValueError, match="math domain error"):
        side_by_side(math.sqrt, [(-1,), (1,)])


def test_the_city_does_not_depend_on_the_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = digests(write(tmp_path / "together", **TINY))
    monkeypatch.setattr(tree, "LARGE", 0)
    assert digests(write(tmp_path / "apart", **TINY)) == together
