"""Files that are either whole or absent: written beside their place, flushed to disk, then renamed into
it.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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
