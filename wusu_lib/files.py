"""Files and folders: written whole or not at all, checked beforehand, found from here or the repository."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from wusu_lib import provenance

# Files that are either whole or absent: written beside their place, flushed to disk, then renamed into it.


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; what was written there becomes ``path`` when the block ends
    well.
    """
    draft = path.with_name(f".{path.name}.tmp")
    yield draft
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(draft, path)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as JSON (no NaN: a missing figure is null), whole or not at all."""
    with replacing(path) as draft:
        draft.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


# The folder that results go to, checked before any work is done for them.


def writable(folder: str | Path) -> Path:
    """The folder, made if need be. Raises ValueError saying why where nothing can be written to it."""
    path = Path(folder).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path):
            pass
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ValueError(
            f"out: got {str(folder)!r}, but nothing can be written there ({reason}); give a folder that you "
            "may write to, on a disk with room"
        ) from error
    return path


def located(weights: str) -> str:
    """The path from here, else from the repository: a notebook's folder need not be its caller's."""
    here, there = Path(weights).expanduser(), provenance.REPOSITORY / weights
    return str(there if there.exists() and not here.exists() else here)
