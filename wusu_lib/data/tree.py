"""A WUSU tree as a table: where it is, its files found, their names read, paired and fingerprinted."""

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from wusu_lib import files

# A WUSU tree as a table: finds the files, reads their names, pairs them.
#
# Layout (Shi et al. 2023, OpenWUSU512 as published; ``val`` only in re-split trees; any part may be
# missing)::
#
#     {train,val,test}/AREA/imgs/AREAyy_INDEX.tif            4 bands uint8 in the order blue, green, red, NIR
#     {train,val,test}/AREA/class/AREAyy_INDEX.tif           1 band uint8, class codes
#     {train,val,test}/AREA/change/{BCD,SCD}/AREAyyYY_INDEX.tif
#
# Files are paired by what their names say, never by the order they are listed in.

FOLDERS = ("train", "val", "test")
KINDS = {"image": "imgs", "mask": "class", "bcd": "change/BCD", "scd": "change/SCD"}
PUBLISHED_FOLDER = "OpenWUSU512"
_NAME = re.compile(r"([A-Za-z]+)(\d{2})(\d{2})?_(\d+)\.tiff?", re.IGNORECASE)
_COLUMNS = ["patch", "site", "folder", "split", "area", "date", "index", "image", "mask", "block"]
_CHANGE_COLUMNS = ["folder", "area", "date1", "date2", "index", "site", "bcd", "scd"]


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
    """Every file in the imgs, class and change folders of a resolved root, by path; hidden files left out."""
    found = []
    for folder in FOLDERS:
        for area_folder in sorted(p for p in (root / folder).glob("*") if p.is_dir()):
            for kind, place in KINDS.items():
                files = sorted((area_folder / place).glob("*"))
                names = [p for p in files if p.is_file() and not p.name.startswith(".")]
                found += [_entry(kind, folder, area_folder.name, path) for path in names]
    return found


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


def scan(root: str | Path) -> pd.DataFrame:
    """List a tree's images: one row each, sorted by folder, area, date, index.

    Columns: patch ("test/HS15_17"), site ("test/HS_17"), folder (on disk), split (= folder), area, date
    (two-digit year), index, image (path), mask (path, or NA where there is none), block (= site). Raises
    FileNotFoundError if there is nothing like WUSU at ``root``.
    """
    base = resolve(root)
    found = entries(base)
    images, masks = first_of_each(found, "image"), first_of_each(found, "mask")
    if not images:
        raise FileNotFoundError(f"{base}: no image found; expected files such as train/HS/imgs/HS15_0.tif")
    rows = []
    for (folder, area, (date,), index), entry in sorted(images.items()):
        mask = masks.get(entry.key)
        patch = f"{folder}/{area}{date:02d}_{index}"
        path = None if mask is None else str(mask.path)
        rows.append((patch, entry.site, folder, folder, area, date, index, str(entry.path), path, entry.site))
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


_digests: dict[tuple[str, int, int], bytes] = {}


def _digest(path: str) -> bytes:
    """Hash of a file's bytes; remembered for this process while size and time of change stay the same."""
    state = Path(path).stat()
    key = (path, state.st_size, state.st_mtime_ns)
    if key not in _digests:
        _digests[key] = hashlib.blake2b(Path(path).read_bytes(), digest_size=16).digest()
    return _digests[key]


def fingerprint(table: pd.DataFrame) -> str:
    """16 hex digits of the names (from train/val/test on) and contents of all files of the table.

    Independent of where the tree lies, of the rows' order and of the split assigned.
    """
    return _fingerprint({path for column in ("image", "mask") for path in table[column].dropna()}, 4)


def fingerprint_changes(changes: pd.DataFrame) -> str:
    """16 hex digits of the names and contents of the change masks, as ``fingerprint`` of the other files."""
    return _fingerprint({path for column in ("bcd", "scd") for path in changes[column].dropna()}, 5)


def _fingerprint(files: set[str], depth: int) -> str:
    """Hash of files by content and by the last ``depth`` parts of their paths."""
    paths = sorted(files)
    with ThreadPoolExecutor(4) as pool:
        digests = list(pool.map(_digest, paths))
    names = ["/".join(Path(path).parts[-depth:]) for path in paths]
    total = hashlib.blake2b(digest_size=8)
    for name, digest in sorted(zip(names, digests, strict=True)):
        total.update(name.encode() + b"\0" + digest)
    return total.hexdigest()


# Where data and weights that a parameter names are: from here, else from the repository.


def data_root(given_root: str) -> Path:
    """The data's folder: the mini city for an empty text, else a path from here, else from the repository.

    Raises FileNotFoundError naming where it was looked for.
    """
    given_root = files.as_typed(given_root, "data_root")
    if not given_root:
        from wusu_lib import synthetic

        return synthetic.demo_city()
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
