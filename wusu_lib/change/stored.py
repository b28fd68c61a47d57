"""Code books kept in the user's cache folder, under the fingerprint of the data they were learnt from."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock

from wusu_lib.atomic import write_json
from wusu_lib.change.codebook import CodeBook, learn
from wusu_lib.change.evidence import N_ROWS, Kind, check_kind, cross_tabulate
from wusu_lib.patches import Dossier


def code_book(dossier: Dossier, kind: Kind = "scd") -> CodeBook:
    """The code book of a tree (``patches.inspect(root)``), over all of its folders.

    Its evidence is counted once and kept as JSON in the folder code_books of the user's cache
    (``WUSU_CACHE`` overrides it), never in the data; the file's name holds the data's fingerprint and a hash
    of the change masks and of the counting code. A format is no label, so test folders count too. Call
    ``.require()`` on the result where the code must be one to one. Raises ValueError where there is nothing
    to learn from or a mask is damaged.
    """
    check_kind(kind)
    folder = _cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{dossier.fingerprint}_{kind}_{_masks_hash(dossier.changes, kind)}.json"
    with FileLock(path.with_suffix(".lock")):
        counts = _load(path)
        if counts is None:
            counts = cross_tabulate(dossier.table, dossier.changes, kind)
            write_json(path, _content(dossier.fingerprint, counts, kind))
    return learn(counts, kind)


def _cache_folder() -> Path:
    import platformdirs

    return Path(os.environ.get("WUSU_CACHE") or platformdirs.user_cache_dir("wusu-lib")) / "code_books"


def _masks_hash(changes: pd.DataFrame, kind: Kind) -> str:
    """16 hex digits of the names and contents of the change masks and of the code that counts them."""
    total = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(path) for path in changes[kind].dropna()):
        total.update("/".join(path.parts[-5:]).encode() + b"\0")
        total.update(hashlib.blake2b(path.read_bytes()).digest())
    for name in ("evidence.py", "maps.py", "transitions.py", "../legend.py"):
        total.update((Path(__file__).parent / name).read_bytes())
    return total.hexdigest()


def _content(fingerprint: str, counts: np.ndarray, kind: Kind) -> dict:
    """What is stored: the evidence, and for a reader's eye the table that follows from it."""
    rows, values = np.nonzero(counts)
    book = learn(counts, kind)
    return {
        "data": fingerprint,
        "kind": kind,
        "evidence": np.stack([rows, values, counts[rows, values]], axis=1).tolist(),
        "table": book.table().to_dict("records"),
    }


def _load(path: Path) -> np.ndarray | None:
    """The stored evidence [112, 256], or None if nothing is stored or it is damaged."""
    try:
        rows = np.array(json.loads(path.read_text("utf-8"))["evidence"], dtype=np.int64)
        counts = np.zeros((N_ROWS, 256), dtype=np.int64)
        counts[rows[:, 0], rows[:, 1]] = rows[:, 2]
    except (FileNotFoundError, ValueError, KeyError, IndexError):
        return None
    return counts
