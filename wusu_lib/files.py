"""Files and folders: written whole or not at all, checked beforehand, found from here or the repository."""

import hashlib
import itertools
import json
import os
import secrets
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

from filelock import FileLock

from wusu_lib import provenance

# Files that are either whole or absent: written beside their place, flushed to disk, then renamed into it.


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give an empty draft beside ``path``; what was written there becomes ``path`` when the block ends well.

    Its random name is taken by this process alone, so that no link that lies there is followed; its mode is
    that of the user's umask, whatever writes it.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    mode = os.fstat(handle).st_mode & 0o777
    os.close(handle)
    try:
        yield draft
        draft.chmod(mode)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


# Files that say themselves whether they are whole: records by a field, others by what stands at their end.

RECORD = "record.json"
HOLDS = "holds"  # in a record: what this library made in the folder, "run" or "maps"
MAPS = "maps"
MAP_NAMES = ("classes.tif", "t1.tif", "t2.tif", "fromto.tif", "confidence.tif")
MAP_FILES = (  # all that is written to a folder of maps; names with a slash are folders
    *(".lock", ".strips/", "images/", *MAP_NAMES, *(f"{name}.aux.xml" for name in MAP_NAMES)),
    *("changes.gpkg", "changes.geojson", "changes.html"),
)
SEAL = "sha256"
TICK = 0.05  # seconds in which a file may change without another time of change


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` with the hash of it, whole or not at all (no NaN: a missing figure is null)."""
    text = _sealed(content)
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def read_json(path: Path) -> dict[str, Any] | None:
    """What ``write_json`` wrote; None where nothing is, or what differs from it by a single byte."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        if not isinstance(content, dict) or content.pop(SEAL, None) is None:
            return None
        return content if _sealed(content) == text else None
    except (OSError, ValueError, RecursionError):
        return None


def _sealed(content: dict[str, Any]) -> str:
    text, end = json.dumps({**content, SEAL: ""}, indent=1, allow_nan=False), '"\n}'
    return text.removesuffix(end) + hashlib.sha256(text.encode()).hexdigest() + end + "\n"


def add_seal(path: Path) -> None:
    """Append the hash of a file's bytes to it: readers of npy and zip files leave it alone."""
    with path.open("r+b") as file:
        hashed = hashlib.file_digest(file, "sha256").hexdigest()
        file.write(hashed.encode())


def is_sealed(path: Path) -> bool:
    """Whether a file ends in the hash of all that stands before."""
    left, digest = path.stat().st_size - 64, hashlib.sha256()
    with path.open("rb") as file:
        while left > 0 and (part := file.read(min(left, 1 << 20))):
            digest.update(part)
            left -= len(part)
        return file.read() == digest.hexdigest().encode()


def stated(path: Path) -> dict[str, Any]:
    """What a record says of a file: its size and the SHA-256 of its bytes."""
    state = path.stat()
    settled = time.time_ns() - state.st_ctime_ns > TICK * 1e9
    times = (state.st_mtime_ns, state.st_ctime_ns) if settled else (secrets.randbits(64),)
    return {"bytes": state.st_size, "sha256": _sha256(str(path), state.st_size, *times)}


def agrees(path: Path, entry: Any) -> bool:
    """Whether a file, no link, is what a record says of it; every byte is read."""
    return path.is_file() and not path.is_symlink() and stated(path) == entry


@lru_cache(maxsize=10_000)
def _sha256(path: str, *state: int) -> str:
    """Read once in a process, unless the file is touched."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def set_aside(path: Path, why: str = "damaged") -> Path:
    """Rename what must neither be used nor lost, with one warning; gives its new path."""
    names = (path.with_name(f"{path.name}.broken{number or ''}") for number in itertools.count())
    aside = next(name for name in names if not os.path.lexists(name))
    os.rename(path, aside)
    warnings.warn(f"{path} is {why}: moved to {aside.name}, it is made anew", stacklevel=3)
    return aside


# Whose a folder is. What writes into one asks first: it is new, empty, or its record says who made it.


def claim(
    folder: str | Path, kind: str, writes: Iterable[str] = (), inputs: Iterable[str | Path] = ()
) -> Path:
    """The folder, made if need be, for files of one ``kind`` ("maps"); its record says so from now on.

    ``writes``: names of what will be written, a folder's with a slash; ``inputs``: what is read meanwhile.
    Raises ValueError that names the file, before anything is written, where the folder holds what no record
    says that this library made as that kind, where an input would be replaced, where a link, or a folder in
    the place of a file, stands under one of the names, and as ``writable``.
    """
    path, writes = Path(folder).expanduser(), list(writes)
    try:
        there = sorted(entry for entry in path.iterdir() if not entry.name.startswith(f".{RECORD}."))
    except (OSError, ValueError):  # not there, or no folder: ``writable`` knows more
        there = []
    record = path / RECORD
    if there and not _says(record, kind):
        found = record if record in there else there[0]
        raise ValueError(
            f"out: {found} is there, and no record says that {path} holds {kind} made by this library; "
            "nothing was written: give a new or an empty folder"
        )
    read = {Path(given).expanduser().resolve() for given in inputs} if there else set()
    for name in [RECORD, *writes]:
        place = path / name
        wrong = os.path.lexists(place) and (place.is_symlink() or place.is_dir() != name.endswith("/"))
        if wrong or place in read or path.resolve() / name in read:
            what = "is not what this library would make there" if wrong else "is to be read"
            raise ValueError(f"out: {place} {what}, and would be replaced; give another folder")
    writable(path)
    if read_json(record) is None:
        if record.exists():
            set_aside(record)
        write_json(record, {HOLDS: kind, "status": "begun", "files": {}})
    return path


def _says(record: Path, kind: str) -> bool:
    """Whether a record, damaged ones included, says that this library made files of that kind."""
    if record.is_symlink() or not record.is_file():
        return False
    return f'"{HOLDS}": "{kind}"'.encode() in record.read_bytes()


@contextmanager
def drafts(folder: Path) -> Iterator[Path]:
    """A folder of a random name in ``folder``, for drafts with the names that they will have."""
    with TemporaryDirectory(dir=folder, prefix=".draft-") as scratch:
        yield Path(scratch)


def place(draft: Path, path: Path) -> None:
    """Move a finished draft to its place in a claimed folder; its hash goes into the record first.

    What stands there goes as in ``remove``.
    """
    remove(path)
    record = read_json(path.parent / RECORD) or {}
    noted = record.get("files", {})
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    write_json(path.parent / RECORD, record | {"files": noted | {path.name: stated(draft)}})
    os.replace(draft, path)


def remove(path: Path) -> None:
    """Remove a file of a claimed folder; what is not as its record says is set aside."""
    noted = (read_json(path.parent / RECORD) or {}).get("files", {})
    if agrees(path, noted.get(path.name)):
        path.unlink()
    elif os.path.lexists(path):
        set_aside(path, "not what its record says")


# The user's cache folder: what is worked out once and kept, for all who share the folder.


def cache_folder() -> Path:
    """The environment's WUSU_CACHE, else the user's cache folder."""
    import platformdirs

    return named_folder("WUSU_CACHE") or Path(platformdirs.user_cache_dir("wusu-lib"))


def kept[T](path: Path, load: Callable[[Path], T | None], make: Callable[[Path], T]) -> T:
    """What is stored at ``path``, else what ``make(path)`` stores there.

    ``load(path)`` gives None where nothing whole is stored; what else stands there then is set aside.
    Reading takes no lock, so a folder that somebody else filled can be read without the right to write to
    it; two processes that miss the same thing make it once. Raises PermissionError or OSError that names
    WUSU_CACHE where nothing is stored and the folder cannot be written to.
    """
    if (found := _stored(path, load)) is not None:
        return found
    with _locked(path):
        if (found := _stored(path, load)) is not None:
            return found
        try:
            if os.path.lexists(path):
                set_aside(path)
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


YEARS = range(1900, 2100)


def as_typed(value: Any, name: str = "") -> Any:
    """A year as text, since a label or a folder may be called so; what else is no text is as it came.

    papermill's -p makes numbers of what looks like one. Only of a year it is known how it was typed: 4 may
    have been 04, 1000.0 may have been 1e3. Raises ValueError for any other number, for True, False and None,
    beginning with ``name``.
    """
    if type(value) is int and value in YEARS:
        return str(value)
    if isinstance(value, int | float | None):  # True and False are integers
        raise ValueError(
            f"{name}{': ' if name else ''}got {value!r}, which need not be what was typed: papermill's -p "
            "makes 4 of 04, 201504 of 2015_04 and 1000.0 of 1e3; expected text: give it with -r instead of "
            "-p, or in quotes where it stands in a cell or in a file of -f"
        )
    return value


def located(weights: str) -> str:
    """The first of ``places`` that is there, else the path from here."""
    tried = places(weights)
    return str(next((path for path in tried if path.exists()), tried[0]))


def places(given: str | Path) -> list[Path]:
    """Where a path may be: from here, and from the repository, since a notebook's folder need not be its
    caller's.
    """
    here, repository = Path(given).expanduser(), provenance.find_repository()
    return [here] if repository is None else [here, repository / here]


def named_folder(variable: str) -> Path | None:
    """The folder that an environment variable names; None where it is empty or not set.

    It may begin with ~ for the home folder: in a file of variables no shell replaces that.
    """
    named = os.environ.get(variable)
    return Path(named).expanduser() if named else None
