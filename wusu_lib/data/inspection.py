"""All that is known of a tree in one object, kept on disk so that it is worked out once."""

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from wusu_lib import files, imagery, legend
from wusu_lib.data.checks import PROBLEM_COLUMNS, check
from wusu_lib.data.masks import MAPPING_FILE
from wusu_lib.data.splits import LAYOUT_COLUMNS, PAIR_COLUMNS, Overlaps, shared_ground
from wusu_lib.data.tree import (
    FOLDERS,
    FileState,
    digest,
    file_state,
    fingerprint,
    fingerprint_changes,
    reads_all,
    resolve,
    scan,
    scan_changes,
)
from wusu_lib.files import read_json, write_json

# Seconds: file systems keep times in steps of up to 10 ms, so a younger file may yet change unseen.
TICK = 0.02
# What works out the results that are kept: the whole room, so that no file of it can be forgotten.
CODE = (*sorted(Path(__file__).parent.glob("*.py")), Path(imagery.__file__), Path(legend.__file__))


@dataclass(frozen=True)
class Dossier:
    """A tree's table, change masks, problems (see ``check``), overlaps and fingerprints; errors are not yet
    refused.

    ``overlaps`` is None where an image that cannot be read or compared made the audit impossible.
    ``fingerprint`` is of images and class masks, ``change_fingerprint`` of the change masks. ``unlabelled``:
    as given to ``inspect``. ``signature``: of the files as they were then.
    """

    root: Path
    table: pd.DataFrame
    changes: pd.DataFrame
    problems: pd.DataFrame
    overlaps: Overlaps | None
    fingerprint: str
    change_fingerprint: str
    unlabelled: int | None
    signature: str

    def require_unchanged(self) -> None:
        """Raise ValueError if a file of the tree is no longer what it was when the tree was inspected."""
        if _signature(self.root, self.unlabelled) != self.signature:
            raise _changed(self.root)


def inspect(root: str | Path, unlabelled: int | None = None) -> Dossier:
    """Scan, check, audit and fingerprint a tree.

    ``unlabelled``: a code that masks have for ground without a label, beside 0. Problems, overlaps and
    fingerprint are kept in the user's cache folder (``WUSU_CACHE`` overrides it), keyed by path below the
    root and state of every file (size, times of modification and of change, inode), by ``unlabelled`` and by
    this package's code, so that a second call is fast. What changes a byte and none of these, such as a fault
    of the disk, is not noticed then; with ``WUSU_VERIFY=content`` every file is read instead. Raises
    FileNotFoundError if there is no tree at ``root``; ValueError where the class codes are not understood and
    where files change while they are read.
    """
    base = resolve(root)
    signature = _signature(base, unlabelled)
    table, changes = scan(base, unlabelled), scan_changes(base)

    def make(path: Path) -> dict:
        found = _work_out(base, table, changes, unlabelled)
        if _signature(base, unlabelled) != signature:
            raise _changed(base)
        write_json(path, found)
        return found

    stored = files.kept(files.cache_folder() / "dossiers" / f"{signature}.json", read_json, make)
    overlaps = None
    if stored["pairs"] is not None:
        pairs = pd.DataFrame(stored["pairs"], columns=PAIR_COLUMNS)
        overlaps = Overlaps(pairs, pd.DataFrame(stored["layout"], columns=LAYOUT_COLUMNS))
    problems = pd.DataFrame(stored["problems"], columns=list(PROBLEM_COLUMNS))
    marks = stored["fingerprint"], stored["change_fingerprint"]
    return Dossier(base, table, changes, problems, overlaps, *marks, unlabelled, signature)


def _changed(base: Path) -> ValueError:
    return ValueError(
        f"{base}: files of the data changed after they were checked, so its fingerprint no longer stands for "
        "them; wait until nothing writes to the data, and run the notebook again from its start"
    )


def _work_out(base: Path, table: pd.DataFrame, changes: pd.DataFrame, unlabelled: int | None) -> dict:
    """The expensive results as lists that JSON can hold."""
    problems = check(base, unlabelled)
    stored = {
        "problems": problems.values.tolist(),
        "pairs": None,
        "layout": None,
        "fingerprint": fingerprint(table),
        "change_fingerprint": fingerprint_changes(changes),
    }
    images = {str(path.relative_to(base)) for path in map(Path, table["image"])}
    spoiled = problems[(problems["severity"] == "error") & problems["file"].isin(images)]
    if spoiled.empty:
        overlaps = shared_ground(table)
        stored |= {"pairs": overlaps.pairs.values.tolist(), "layout": overlaps.layout.values.tolist()}
    return stored


def _signature(base: Path, unlabelled: int | None) -> str:
    """32 hex digits of every file's path and state, and of what else the results follow from."""
    states = _states(base)
    if states and time.time_ns() - max(state[-1] for _, state in states) < TICK * 1e9:
        time.sleep(TICK)  # what is written from now on gets a later time of change
        states = _states(base)
    total = hashlib.blake2b(repr((unlabelled, states)).encode(), digest_size=16)
    mapping = base / MAPPING_FILE
    total.update(mapping.read_bytes() if mapping.is_file() else b"")
    if reads_all():
        for path, _ in states:
            total.update(digest(str(base / path)))
    for source in CODE:
        total.update(source.read_bytes())
    return total.hexdigest()


def _states(base: Path) -> list[tuple[str, FileState]]:
    """Path below the root and state of every file in the tree's folders."""
    folders = sorted(item for top in FOLDERS for item in os.walk(base / top))
    paths = [os.path.join(folder, name) for folder, _, names in folders for name in sorted(names)]
    return [(path.removeprefix(f"{base}{os.sep}"), file_state(path)) for path in paths]
