"""Files and folders: written whole or not at all, checked beforehand, found from here or the repository."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from filelock import FileLock

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


# The user's cache folder: what is worked out once and kept, for all who share the folder.


def cache_folder() -> Path:
    """The environment's WUSU_CACHE, else the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("WUSU_CACHE") or platformdirs.user_cache_dir("wusu-lib")).expanduser()


def kept[T](path: Path, load: Callable[[Path], T | None], make: Callable[[Path], T]) -> T:
    """What is stored at ``path``, else what ``make(path)`` stores there.

    ``load(path)`` gives None where nothing whole is stored. Reading takes no lock, so a folder that somebody
    else filled can be read without the right to write to it; two processes that miss the same thing make it
    once. Raises PermissionError or OSError that names WUSU_CACHE where nothing is stored and the folder
    cannot be written to.
    """
    if (found := _stored(path, load)) is not None:
        return found
    with _locked(path):
        if (found := _stored(path, load)) is not None:
            return found
        try:
            return make(path)
        except PermissionError as error:  # of another user's file here, or of what is being read elsewhere
            if error.filename and Path(error.filename).is_relative_to(path.parent):
                raise _unusable(path.parent, error) from error
            raise


def _stored[T](path: Path, load: Callable[[Path], T | None]) -> T | None:
    """What is stored; None also where this user may not read it, or a file stands where a folder should."""
    try:
        return load(path)
    except (PermissionError, NotADirectoryError):
        return None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file to be written; its folder is made, and must be one that takes files."""
    lock = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(lock).acquire()
        if not os.access(path.parent, os.W_OK):
            held.lock.release()
            raise PermissionError(13, "no right to write", str(path.parent))
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise _unusable(path.parent, error) from error
    with held:
        yield


def _unusable(where: Path, error: OSError | NotImplementedError) -> OSError:
    """The error of a folder that cannot be written to, in one sentence."""
    kind = PermissionError if isinstance(error, PermissionError) else OSError
    reason = getattr(error, "strerror", None) or str(error)
    file = getattr(error, "filename", None)
    about = f" ({file})" if file and str(file) != str(where) else ""
    return kind(
        f"the cache folder {where} lacks what is needed here and cannot be written to: {reason}{about}; "
        "set the environment variable WUSU_CACHE to a folder of your own"
    )


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
