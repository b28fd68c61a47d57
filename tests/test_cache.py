"""The cache folder of others: read without a lock, and one sentence where it would have to be written to."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_tree import write_tree

from wusu_lib import files
from wusu_lib.change import codebook
from wusu_lib.data import inspection
from wusu_lib.data.tree import demo_city

SENTENCE = "set the environment variable WUSU_CACHE to a folder of your own"
NOBODY = 65534


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WUSU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for mine in (tmp_path, *tmp_path.parents):  # pytest's folders are its user's alone
        if mine == Path(tempfile.gettempdir()):
            break
        mine.chmod(0o755)
    return write_tree(tmp_path / "tree", rows=2, columns=2)


def read_only(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)


@contextmanager
def another_user() -> Iterator[None]:
    """Act as a user who owns nothing; where tests are not root's, as the owner, whom the rights bind too."""
    if os.getuid():
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_a_read_only_cache_that_holds_it_is_read(tree: Path, folder: Path) -> None:
    dossier = inspection.inspect(tree)
    codes = codebook.code_book(dossier).codes
    for lock in folder.rglob("*.lock"):
        lock.unlink()
    read_only(folder)
    try:
        with another_user():
            found = inspection.inspect(tree)
            assert found.fingerprint == dossier.fingerprint
            assert codebook.code_book(found).codes == codes
    finally:
        writable(folder)


ACTIONS = {
    "dossiers": lambda tree: inspection.inspect(tree),
    "code_books": lambda tree: codebook.code_book(inspection.inspect(tree)),
    "": lambda tree: demo_city(),
}


@pytest.mark.parametrize("part", ACTIONS)
def test_a_read_only_cache_that_lacks_it_is_one_sentence(tree: Path, folder: Path, part: str) -> None:
    codebook.code_book(inspection.inspect(tree))
    for stored in (folder / part).glob("*.json"):
        stored.unlink()
    read_only(folder)
    try:
        with another_user(), pytest.raises(PermissionError) as error:
            ACTIONS[part](tree)
    finally:
        writable(folder)
    said = str(error.value)
    assert said.startswith(
        f"the cache folder {folder / part} lacks what is needed here and cannot be written"
    )
    assert said.endswith(SENTENCE)
    assert len(said.splitlines()) == 1


def test_a_lock_file_of_another_user_is_one_sentence(tree: Path, folder: Path) -> None:
    inspection.inspect(tree)
    (stored,) = (folder / "dossiers").glob("*.json")
    lock = stored.with_name(f"{stored.name}.lock")
    stored.unlink()
    lock.touch()
    lock.chmod(0)
    (folder / "dossiers").chmod(0o777)
    with another_user(), pytest.raises(PermissionError) as error:
        inspection.inspect(tree)
    said = str(error.value)
    assert said.startswith(f"the cache folder {folder / 'dossiers'} lacks what is needed here")
    assert f"({lock})" in said
    assert said.endswith(SENTENCE)


def test_a_file_where_the_cache_should_be_is_one_sentence(tree: Path, folder: Path) -> None:
    folder.write_text("")
    for act in (lambda: inspection.inspect(tree), demo_city):
        with pytest.raises(OSError, match=SENTENCE) as error:
            act()
        assert "WUSU_CACHE" in str(error.value)


def test_a_city_in_a_shared_cache_can_be_read_by_others(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    assert demo_city().stat().st_mode & 0o777 == 0o755


def test_the_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WUSU_CACHE", "~/somewhere")
    assert files.cache_folder() == Path.home() / "somewhere"


def test_what_is_stored_is_not_made_again(tmp_path: Path) -> None:
    made: list[Path] = []

    def load(path: Path) -> str | None:
        return path.read_text() if path.is_file() else None

    def make(path: Path) -> str:
        made.append(path)
        path.write_text("found")
        return "found"

    for _ in range(2):
        assert files.kept(tmp_path / "new" / "thing", load, make) == "found"
    assert made == [tmp_path / "new" / "thing"]


def writable(folder: Path) -> None:
    """So that pytest can remove it."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
