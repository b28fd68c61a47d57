"""The folder that results go to, checked before any work is done for them."""

import os
from pathlib import Path
from tempfile import TemporaryFile


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
