"""A WUSU tree as a table: where it is, its files found, their names read, paired and fingerprinted."""

import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from wusu_lib import files
from wusu_lib.data.masks import LEGEND, ClassMask, coding_of

# Layout (Shi et al. 2023, OpenWUSU512 as published; ``val`` only in re-split trees; any part may be
# missing)::
#
#     {train,val,test}/AREA/imgs/AREAyy_INDEX.tif            4 bands uint8 in the order blue, green, red, NIR
#     {train,val,test}/AREA/class/AREAyy_INDEX.tif           1 band uint8, class codes
#     {train,val,test}/AREA/change/{BCD,SCD}/AREAyyYY_INDEX.tif
#
# Files are paired by what their names say, never by the order they are listed in. What GDAL is told of a
# file later (a nodata value, a mask) it keeps beside it in ``SIDECARS``, which count as a part of the file.

SIDECARS = (".aux.xml", ".msk")
_DECLARED_NODATA = re.compile(rb"<NoDataValue.*?</NoDataValue>", re.DOTALL)
FOLDERS = ("train", "val", "test")
KINDS = {"image": "imgs", "mask": "class", "bcd": "change/BCD", "scd": "change/SCD"}
PUBLISHED_FOLDER = "OpenWUSU512"
_NAME = re.compile(r"([A-Za-z]+)(\d{2})(\d{2})?_(\d+)\.tiff?", re.IGNORECASE)
_COLUMNS = ["patch", "site", "folder", "split", "area", "date", "index", "image", "mask", "block"]
_CHANGE_COLUMNS = ["folder", "area", "date1", "date2", "index", "site", "bcd", "scd"]
FileState = tuple[int, int, int, int]


@dataclass(frozen=True)
class Entry:
    """One file of a tree with what its name says; ``dates`` is empty if the name cannot be read.

    ``kind`` is a key of ``KINDS``, ``area_folder`` the folder that it lies in, ``dates`` one two-digit year
    for an image or a class mask and two for a change mask.
    """

    kind: str
    folder: str
    area_folder: str
    path: Path
    area: str = ""
    dates: tuple[int, ...] = ()
    index: int = -1

    @property
    def site(self) -> str:
        """The ground footprint, e.g. "test/HS_17": the same for all dates."""
        return f"{self.folder}/{self.area}_{self.index}"

    @property
    def key(self) -> tuple:
        """What pairs files: folder, area, dates, index."""
        return self.folder, self.area, self.dates, self.index


def resolve(root: str | Path) -> Path:
    """The folder that holds train/val/test: ``root`` or its child OpenWUSU512.

    Raises FileNotFoundError, naming the expected layout, if there is none.
    """
    given = Path(root).expanduser()
    for candidate in (given, given / PUBLISHED_FOLDER):
        if any((candidate / folder).is_dir() for folder in FOLDERS):
            return candidate.resolve()
    found = (
        "no such folder" if not given.is_dir() else f"it holds {sorted(p.name for p in given.iterdir())[:8]}"
    )
    raise FileNotFoundError(
        f"{given}: not a WUSU tree ({found}). Expected {{train,test}}/HS/{{imgs,class}}/HS15_0.tif in "
        f"it or in its child {PUBLISHED_FOLDER}/; give the folder that holds train/ and test/"
    )


def entries(root: Path) -> list[Entry]:
    """Every file in the imgs, class and change folders of a resolved root, by path.

    Hidden files and sidecars are left out.
    """
    found = []
    for folder in FOLDERS:
        for area_folder in sorted(p for p in (root / folder).glob("*") if p.is_dir()):
            for kind, place in KINDS.items():
                paths = _listed(area_folder / place)
                found += [_entry(kind, folder, area_folder.name, path) for path in paths]
    return found


def _listed(folder: Path) -> list[Path]:
    """Files and links that lead nowhere, by name; the folder tells what each is, so none is looked up."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as listing:
        names = [
            item.name
            for item in listing
            if not item.name.startswith(".")
            and not item.name.endswith(SIDECARS)
            # only links are looked up: is_file() raises for one that leads to itself
            and (not os.path.isdir(item.path) if item.is_symlink() else item.is_file())
        ]
    return [folder / name for name in sorted(names)]


def _entry(kind: str, folder: str, area_folder: str, path: Path) -> Entry:
    match = _NAME.fullmatch(path.name)
    is_change = kind in ("bcd", "scd")
    if match is None or (match[3] is not None) != is_change:
        return Entry(kind, folder, area_folder, path)
    dates = (int(match[2]), int(match[3])) if is_change else (int(match[2]),)
    return Entry(kind, folder, area_folder, path, match[1], dates, int(match[4]))


def first_of_each(found: list[Entry], kind: str) -> dict[tuple, Entry]:
    """Files of a kind by pairing key; of two with the same key (HS15_1, HS15_01) the first counts."""
    keyed: dict[tuple, Entry] = {}
    for entry in found:
        if entry.kind == kind and entry.dates:
            keyed.setdefault(entry.key, entry)
    return keyed


def scan(root: str | Path, unlabelled: int | None = None) -> pd.DataFrame:
    """List a tree's images: one row each, sorted by folder, area, date, index.

    Columns: patch ("test/HS15_17"), site ("test/HS_17"), folder (on disk), split (= folder), area, date
    (two-digit year), index, image (path), mask (``ClassMask``, or NA where there is none), block (= site).
    ``unlabelled``: a code that class masks have for unlabelled ground, beside 0. Raises FileNotFoundError if
    there is nothing like WUSU at ``root``; ValueError as ``masks.coding_of``.
    """
    base = resolve(root)
    coding = coding_of(base, unlabelled)
    found = entries(base)
    images, masks = first_of_each(found, "image"), first_of_each(found, "mask")
    if not images:
        raise FileNotFoundError(f"{base}: no image found; expected files such as train/HS/imgs/HS15_0.tif")
    rows = []
    for (folder, area, (date,), index), entry in sorted(images.items()):
        mask = masks.get(entry.key)
        patch = f"{folder}/{area}{date:02d}_{index}"
        file = None if mask is None else ClassMask(str(mask.path), coding)
        rows.append((patch, entry.site, folder, folder, area, date, index, str(entry.path), file, entry.site))
    return pd.DataFrame(rows, columns=_COLUMNS)


def scan_changes(root: str | Path) -> pd.DataFrame:
    """List a tree's change masks: one row an interval and site, sorted by folder, area, dates, index.

    Columns: folder, area, date1, date2, index, site, bcd, scd (paths, or NA where there is none). May be
    empty.
    """
    found = entries(resolve(root))
    bcd, scd = first_of_each(found, "bcd"), first_of_each(found, "scd")
    rows = []
    for key in sorted(bcd.keys() | scd.keys()):
        folder, area, (date1, date2), index = key
        paths = [str(keyed[key].path) if key in keyed else None for keyed in (bcd, scd)]
        rows.append((folder, area, date1, date2, index, f"{folder}/{area}_{index}", *paths))
    return pd.DataFrame(rows, columns=_CHANGE_COLUMNS)


_digests: dict[tuple[str, FileState], bytes] = {}


def reads_all() -> bool:
    """Whether ``WUSU_VERIFY=content`` asks that no file is taken for unchanged by its state alone.

    Raises ValueError for another value.
    """
    given = os.environ.get("WUSU_VERIFY", "")
    if given not in ("", "content"):
        raise ValueError(f'WUSU_VERIFY: got {given!r}; expected "content", or nothing for the quick check')
    return given == "content"


def file_state(path: str | os.PathLike[str]) -> FileState:
    """Size, modification time (ns), inode and change time (ns) of a file.

    A copy can keep the first two of the file that it replaces; nobody can set the other two. Of a link that
    leads nowhere, the link's own.
    """
    try:
        found = os.stat(path)
    except OSError:
        found = os.lstat(path)
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns


def digest(path: str) -> bytes:
    """Hash of a file's bytes, and what its sidecars say of missing values.

    The hash is remembered for this process while the file's state stays the same.
    """
    key = (path, file_state(path))
    if key not in _digests or reads_all():
        _digests[key] = hashlib.blake2b(_content(Path(path)), digest_size=16).digest()
    return _digests[key] + b"".join(_of_sidecar(Path(path + ending)) for ending in SIDECARS)


def _content(path: Path) -> bytes:
    """A file's bytes; none of a link that leads nowhere, which is a row of the table of problems."""
    return b"" if path.is_symlink() and not path.exists() else path.read_bytes()


def _of_sidecar(path: Path) -> bytes:
    """A mask as it is; of GDAL's notes only a declared nodata value, since viewers add statistics to them."""
    if not path.is_file():
        return b""
    content = path.read_bytes()
    return content if path.suffix == ".msk" else b"".join(_DECLARED_NODATA.findall(content))


def fingerprint(table: pd.DataFrame) -> str:
    """16 hex digits of the names (from train/val/test on) and contents of all files of the table.

    And of the class masks' coding, where it is not the legend's. Independent of where the tree lies, of the
    rows' order and of the split assigned.
    """
    files = {os.fspath(path) for column in ("image", "mask") for path in table[column].dropna()}
    masks = [mask for mask in table["mask"].dropna() if isinstance(mask, ClassMask)]
    codings = sorted({repr(mask.coding.codes) for mask in masks if mask.coding.codes != LEGEND.codes})
    return _fingerprint(files, 4, "".join(codings))


def fingerprint_changes(changes: pd.DataFrame) -> str:
    """16 hex digits of the names and contents of the change masks, as ``fingerprint`` of the other files."""
    return _fingerprint({path for column in ("bcd", "scd") for path in changes[column].dropna()}, 5)


def _fingerprint(files: set[str], depth: int, also: str = "") -> str:
    """Hash of files by content and by the last ``depth`` parts of their paths, and of a text."""
    paths = sorted(files)
    with ThreadPoolExecutor(4) as pool:
        digests = list(pool.map(digest, paths))
    names = ["/".join(Path(path).parts[-depth:]) for path in paths]
    total = hashlib.blake2b(digest_size=8)
    for name, content in sorted(zip(names, digests, strict=True)):
        total.update(os.fsencode(name) + b"\0" + content)
    total.update(also.encode())
    return total.hexdigest()


# Where data and weights that a parameter names are: from here, else from the repository.


def data_root(given_root: str, city: str = "small") -> Path:
    """The data's folder: a mini city for an empty text, else a path from here, else from the repository.

    Raises FileNotFoundError naming where it was looked for.
    """
    given_root = files.as_typed(given_root, "data_root")
    if not given_root:
        return demo_city(city)
    given = Path(given_root).expanduser()
    tried = [place.resolve() for place in files.places(given)]
    for folder in tried:
        if folder.is_dir():
            return folder
    where = " nor ".join(dict.fromkeys(map(str, tried)))
    raise FileNotFoundError(
        f"data_root: got {given_root!r}, but there is no folder {where}; "
        "expected a folder in WUSU's layout (train/ and test/ with areas in them), or an empty text for the "
        "mini city"
    )


def demo_city(city: str = "small") -> Path:
    """Root of a demo city's tree; takes a minute the first time.

    Kept under the folder in the environment variable WUSU_CACHE, else the user's cache folder. Two processes
    that ask at the same time write it once. Every file is compared, once in a process, with its hash in
    the city's record. Errors as of ``files.kept``.
    """
    from wusu_lib import synthetic

    def make(root: Path) -> Path:
        return synthetic.write_demo(root, _note_hashes, city)

    return files.kept(files.cache_folder() / synthetic.demo_name(city), whole_city, make)


def _note_hashes(root: Path) -> None:
    """Write the record of a new tree: the hash of every file."""
    made = sorted(path for path in root.rglob("*") if path.is_file())
    hashes = {str(path.relative_to(root)): files.stated(path) for path in made}
    files.write_json(root / files.RECORD, {"files": hashes})


def whole_city(root: Path) -> Path | None:
    """The root of a demo's tree whose every byte is what its record says; None for any other."""
    made = (files.read_json(root / files.RECORD) or {}).get("files", {})
    good = made and all(files.agrees(root / name, entry) for name, entry in made.items())
    return root if good else None
