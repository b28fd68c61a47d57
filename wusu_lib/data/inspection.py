"""All that is known of a tree in one object, kept on disk so that it is worked out once."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from filelock import FileLock

from wusu_lib.data.checks import PROBLEM_COLUMNS, check
from wusu_lib.data.splits import LAYOUT_COLUMNS, PAIR_COLUMNS, Overlaps, shared_ground
from wusu_lib.data.tree import FOLDERS, fingerprint, fingerprint_changes, resolve, scan, scan_changes
from wusu_lib.files import named_folder, write_json


@dataclass(frozen=True)
class Dossier:
    """A tree's table, change masks, problems (see ``check``), overlaps and fingerprints; errors are not yet
    refused.

    ``overlaps`` is None where an image that cannot be read or compared made the audit impossible.
    ``fingerprint`` is of images and class masks, ``change_fingerprint`` of the change masks.
    """

    root: Path
    table: pd.DataFrame
    changes: pd.DataFrame
    problems: pd.DataFrame
    overlaps: Overlaps | None
    fingerprint: str
    change_fingerprint: str


def inspect(root: str | Path) -> Dossier:
    """Scan, check, audit and fingerprint a tree.

    Problems, overlaps and fingerprint are kept in the user's cache folder (``WUSU_CACHE`` overrides it),
    keyed by path below the root, size and time of change of every file and by this package's code, so that a
    second call is fast. Raises FileNotFoundError if there is no tree at ``root``.
    """
    base = resolve(root)
    table, changes = scan(base), scan_changes(base)
    folder = _cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_signature(base)}.json"
    with FileLock(path.with_suffix(".lock")):
        stored = _load(path)
        if stored is None:
            stored = _work_out(base, table, changes)
            write_json(path, stored)
    overlaps = None
    if stored["pairs"] is not None:
        pairs = pd.DataFrame(stored["pairs"], columns=PAIR_COLUMNS)
        overlaps = Overlaps(pairs, pd.DataFrame(stored["layout"], columns=LAYOUT_COLUMNS))
    problems = pd.DataFrame(stored["problems"], columns=list(PROBLEM_COLUMNS))
    marks = stored["fingerprint"], stored["change_fingerprint"]
    return Dossier(base, table, changes, problems, overlaps, *marks)


def _work_out(base: Path, table: pd.DataFrame, changes: pd.DataFrame) -> dict:
    """The expensive results as lists that JSON can hold."""
    problems = check(base)
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


def _cache_folder() -> Path:
    import platformdirs

    cache = named_folder("WUSU_CACHE") or Path(platformdirs.user_cache_dir("wusu-lib"))
    return cache / "dossiers"


def _signature(base: Path) -> str:
    """32 hex digits of every file's path, size and time of change, and of the code that reads them."""
    total = hashlib.blake2b(digest_size=16)
    for folder, _, names in sorted(item for top in FOLDERS for item in os.walk(base / top)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            state = os.stat(path)
            total.update(f"{os.path.relpath(path, base)}|{state.st_size}|{state.st_mtime_ns}\n".encode())
    mapping = base / "class_mapping.json"
    total.update(mapping.read_bytes() if mapping.is_file() else b"")
    for name in ("checks.py", "inspection.py", "splits.py", "tree.py", "../imagery.py", "../legend.py"):
        source = Path(__file__).parent / name
        total.update(source.read_bytes())
    return total.hexdigest()


def _load(path: Path) -> dict | None:
    """What is stored, or None if nothing is or it is damaged."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
