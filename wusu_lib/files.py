"""Files and folders: written whole or not at all, checked beforehand, found from here or the repository."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from filelock import FileLock

from wusu_lib import provenance

# Files that are either whole or absent: written beside their place, flushed to disk, then renamed into it.

DRAFT = ".tmp"  # how the name of what is not whole yet ends; it begins with a dot


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; what was written there becomes ``path`` when the block ends
    well.

    Its name cannot be foreseen and it is made exclusively, so that nobody's link is followed; its mode is
    that of the user's umask, whoever wrote into it.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}{DRAFT}")
    with faults_told(path.parent):
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)) as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
        try:
            yield draft
            draft.chmod(mode)  # a library may have put a file of its own there
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)


# Files that say themselves whether they are whole: JSON in a field, others at their end. Records hold the
# hashes of all other files.

SEAL = "sha256"
TICK = 0.05  # seconds in which a file may change without another time of change
_hashes: dict[tuple[str | int, ...], str] = {}  # of this process, by path and state of the file


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` with its hash, whole or not at all (no NaN: a missing figure is null).

    What stands there and cannot be read is set aside.
    """
    text = _sealed(content)
    if os.path.lexists(path) and read_json(path) is None:
        set_aside(path)
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def read_json(path: Path) -> dict[str, Any] | None:
    """What ``write_json`` wrote; None where nothing is, or what differs from that by a single byte."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        if isinstance(content, dict) and content.pop(SEAL, None) and _sealed(content) == text:
            return content
    except (OSError, ValueError, RecursionError):  # not there, or not JSON
        pass
    return None


def _sealed(content: dict[str, Any]) -> str:
    """JSON that ends in the hash of itself with that hash left empty."""
    text, end = json.dumps({**content, SEAL: ""}, indent=1, allow_nan=False), '"\n}'
    return text.removesuffix(end) + hashlib.sha256(text.encode()).hexdigest() + end + "\n"


def add_seal(path: Path) -> None:
    """Append the hash of a file's bytes to it: readers of npy and of zip files leave it alone."""
    with path.open("r+b") as file:
        file.write(hashlib.file_digest(file, "sha256").hexdigest().encode())


def is_sealed(path: Path) -> bool:
    """Whether a file ends in the hash of all that stands before."""
    left, digest = path.stat().st_size - 64, hashlib.sha256()
    with path.open("rb") as file:
        while left > 0 and (part := file.read(min(left, 2**20))):
            digest.update(part)
            left -= len(part)
        return file.read() == digest.hexdigest().encode()


def stated(path: Path) -> dict[str, Any]:
    """What a record says of a file: its size and the SHA-256 of its bytes.

    The hash is remembered for this process while the file's state stays the same.
    """
    return _stated(path, path.stat())


def _stated(path: Path, state: os.stat_result) -> dict[str, Any]:
    key = (str(path), state.st_size, state.st_mtime_ns, state.st_ino, state.st_ctime_ns)
    found = _hashes.get(key)
    if found is None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time_ns() - state.st_ctime_ns > TICK * 1e9:
            _hashes[key] = found
    return {"bytes": state.st_size, "sha256": found}


def agrees(path: Path, entry: Any) -> bool:
    """Whether a file, no link, is what a record says of it; every byte is read."""
    try:
        state = os.lstat(path)
    except PermissionError:
        raise
    except OSError:  # not there
        return False
    return stat.S_ISREG(state.st_mode) and _stated(path, state) == entry


def set_aside(path: Path, why: str = "damaged") -> None:
    """Move a damaged file or folder to a free name beside it, with a warning; nothing is deleted."""
    names = (path.with_name(f"{path.name}.broken{n or ''}") for n in range(10_000))
    free = next(name for name in names if not os.path.lexists(name))
    os.rename(path, free)
    warnings.warn(f"{path} is {why}: moved to {free.name}, it is made anew", stacklevel=3)


# Faults of the disk and of memory, which each library tells in words of its own, in one sentence.

LEAST = 2**20  # bytes free, under which a library's failure to write is put down to the disk


class _NoRoomError(OSError):
    """Told already."""


class _NoMemoryError(MemoryError):
    """Told already."""


@contextmanager
def faults_told(folder: Path) -> Iterator[None]:
    """A full disk or quota while writing to ``folder``, and memory that does not suffice, in one sentence.

    Raises OSError (of the same number) and MemoryError. What is no such fault is raised as it came, and what
    an inner block told already.
    """
    try:
        yield
    except (_NoRoomError, _NoMemoryError):
        raise
    except Exception as error:
        number = getattr(error, "errno", None)
        if number is None and _writing(error) and not _has_room(folder):
            number = errno.ENOSPC  # GDAL and pyogrio tell of no number
        if number in (errno.ENOSPC, errno.EDQUOT):
            reason = os.strerror(number)
            text = f"{folder}: nothing more can be written ({reason}); make room there, then run this again"
            raise _NoRoomError(number, text) from error
        if isinstance(error, MemoryError) or any(sign in str(error) for sign in NO_MEMORY):
            raise _NoMemoryError(
                "memory does not suffice for this step; use a smaller window or batch, or a machine with "
                f"more memory, and run this again: what is finished in {folder} stays ({str(error)[:200]})"
            ) from error
        raise


# As torch says it of the CPU's and of the GPU's memory, and oneDNN of its own.
NO_MEMORY = ("can't allocate memory", "out of memory", "could not create a primitive")


def _writing(error: Exception) -> bool:
    """Whether an error may be a failure to write: numpy's without a number, GDAL's, pyogrio's."""
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in ("rasterio", "pyogrio")


def _has_room(folder: Path) -> bool:
    """Whether a mebibyte can be written, which a quota may forbid as well as a disk."""
    try:
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(LEAST))
    except OSError:
        return False
    return True


# Whose a folder is: asked before anything is written into it.

RECORD = "record.json"
MADE = "made"  # in a record: the kind of what this library made in the folder
BEGUN = "begun"  # a record's status while nothing is there yet but the claim


def claim(
    folder: str | Path, kind: str, inputs: Sequence[str | Path] = (), names: Sequence[str] = ()
) -> Path:
    """The folder for files of one kind ("maps", "run"): new, empty, or claimed for that kind before.

    A record that says so is written into it; one that is damaged and still says so is set aside. Raises
    ValueError, and writes nothing, for a folder that holds anything else, an input that lies in it, a link in
    it, and a folder that has one of the ``names`` of the files to be written; as ``writable``.
    """
    place = Path(folder).expanduser()
    found = sorted(place.iterdir()) if place.is_dir() else []
    record = read_json(place / RECORD)
    mine = record.get(MADE) == kind if record is not None else _says(place / RECORD, kind)
    faults = [path for path in map(Path, inputs) if path.resolve().parent == place.resolve()]
    begun = re.compile(rf"\.{re.escape(RECORD)}\.[0-9a-f]{{16}}{re.escape(DRAFT)}")
    ours = [path for path in found if mine or begun.fullmatch(path.name)]  # a kill may leave the first draft
    faults += [path for path in found if path not in ours or path.is_symlink()]
    if faults:
        raise ValueError(
            f"out: got {str(folder)!r}, which holds {faults[0].name}: not written there by this tool, which "
            f"would have to write {kind} beside it or over it; give a new or an empty folder"
        )
    require_places(place, names)
    if writable(place) and not (mine and record):
        write_json(place / RECORD, {MADE: kind, "status": BEGUN})
    return place


def _says(record: Path, kind: str) -> bool:
    """Whether a record that is no longer what was written says whose the folder is all the same."""
    try:
        return f'"{MADE}": "{kind}"' in record.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


WRITTEN = "written"  # in a record: the hashes of what was written beside the files that make it complete


@contextmanager
def recorded(folder: Path, names: Sequence[str]) -> Iterator[None]:
    """Put the hashes of the files that the block writes into the record of a claimed folder.

    A file of these names that is not what the record says is set aside.
    """
    record = read_json(folder / RECORD) or {}
    before = record.get(WRITTEN, {})
    for name in names:
        if name in before and (folder / name).exists() and not agrees(folder / name, before[name]):
            set_aside(folder / name)
    others = {name: entry for name, entry in before.items() if name not in names}
    write_json(folder / RECORD, record | {WRITTEN: others})  # a kill must leave no hash of another file
    yield
    made = {name: stated(folder / name) for name in names if (folder / name).is_file()}
    write_json(folder / RECORD, (read_json(folder / RECORD) or {}) | {WRITTEN: others | made})


# The user's cache folder: what is worked out once and kept, for all who share the folder.


def cache_folder() -> Path:
    """The environment's WUSU_CACHE, else the user's cache folder."""
    import platformdirs

    return named_folder("WUSU_CACHE") or Path(platformdirs.user_cache_dir("wusu-lib"))


def kept[T](path: Path, load: Callable[[Path], T | None], make: Callable[[Path], T]) -> T:
    """What is stored at ``path``, else what ``make(path)`` stores there.

    ``load(path)`` gives None where nothing whole is stored; what stands there then is set aside. Reading
    takes no lock, so a folder that somebody else filled can be read without the right to write to it; two
    processes that miss the same thing make it once. Raises PermissionError or OSError that names WUSU_CACHE
    where nothing is stored and the folder cannot be written to.
    """
    if (found := _stored(path, load)) is not None:
        return found
    with _locked(path):
        if (found := _stored(path, load)) is not None:
            return found
        try:
            if os.path.lexists(path):
                set_aside(path)
            with faults_told(path.parent):
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


def require_places(folder: Path, files: Iterable[str], folders: Iterable[str] = ()) -> None:
    """Raise ValueError where a folder stands in the place of a file that will be written, or the reverse."""
    for name, wrong in [*((n, Path.is_dir) for n in files), *((n, Path.is_file) for n in folders)]:
        if wrong(folder / name):
            kind = "a folder" if wrong is Path.is_dir else "a file"
            raise ValueError(
                f"out: {folder / name} is {kind}, but its name is needed; move it, or give another out"
            )


YEARS = range(1900, 2100)


def as_typed(value: Any, name: str = "") -> Any:
    """A year as text, since a label or a folder may be called so; what else is no text is as it came.

    papermill's -p makes numbers of what looks like one. Only of a year it is known how it was typed: 4 may
    have been 04, 1000.0 may have been 1e3. Raises ValueError for any other number, for True, False and None,
    beginning with ``name``.
    """
    if isinstance(value, str) and (bad := re.search("[\0\ud800-\udfff]", value)):
        raise ValueError(
            f"{name}{': ' if name else ''}got {value!r}; {bad[0]!a} in it is no letter that a file can hold "
            "(of a file's name: it is not UTF-8); expected plain text, rename the file"
        )
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
    return str(next((path for path in tried if os.path.exists(path)), tried[0]))


def places(given: str | Path) -> list[Path]:
    """Where a path may be: from here, and from the repository, as a notebook may be run from anywhere."""
    here, repository = Path(given).expanduser(), provenance.find_repository()
    return [here] if repository is None else [here, repository / here]


def named_folder(variable: str) -> Path | None:
    """The folder that an environment variable names; None where it is empty or not set.

    It may begin with ~ for the home folder: in a file of variables no shell replaces that.
    """
    named = os.environ.get(variable)
    return Path(named).expanduser() if named else None


def second_name(file: Path, name: Path) -> None:
    """Give a file that nobody changes a second name; a copy on a file system without links."""
    name.unlink(missing_ok=True)
    try:
        os.link(file, name)
    except OSError:
        shutil.copyfile(file, name)
