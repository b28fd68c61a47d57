"""What the values of a mask on disk mean: the classes of a class mask, the ground that nobody annotated.

A class mask holds codes. Which code stands for which class says ``class_mapping.json`` at the top of the tree
by the classes' names; without such a file, or where it agrees, the codes are the legend's. Unlabelled is code
0, what the file itself declares as nodata (or masks out), and one more code if the parameter ``unlabelled``
names it. Any whole-number type is read. A table of patches holds its masks as ``ClassMask``, which knows its
coding, so that nobody who reads one has to be told.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from wusu_lib import legend
from wusu_lib.imagery import missing, opened

MAPPING_FILE = "class_mapping.json"
MAPPING_EXPECTED = 'expected each class with its code once, for instance {"Road": 1, "Low building": 2}'
_UNLABELLED_NAMES = ("unlabelled", "unlabeled", "background")
_INDEX_OF_NAME = {name.lower(): index for index, name in enumerate(legend.NAMES)} | dict.fromkeys(
    _UNLABELLED_NAMES, 0
)


@dataclass(frozen=True)
class Coding:
    """Class index (0 = unlabelled) of each code that class masks may hold: pairs (code, index), by code.

    ``names``: what class_mapping.json calls codes that are no class of the legend, pairs (code, name).
    """

    codes: tuple[tuple[int, int], ...]
    names: tuple[tuple[int, str], ...] = ()

    @cached_property
    def _index_of(self) -> dict[int, int]:
        return dict(self.codes)

    @cached_property
    def _table(self) -> np.ndarray:
        """Index of each uint8 code, uint8 [256]."""
        return np.array([self._index_of.get(code, legend.NO_INDEX) for code in range(256)], dtype=np.uint8)

    def indices(self, codes: np.ndarray) -> np.ndarray:
        """Class index, uint8, of whole-number codes of any shape; NO_INDEX where the code is not known."""
        if codes.dtype == np.uint8:
            return self._table[codes]
        found, where = np.unique(codes, return_inverse=True)
        known = [self._index_of.get(int(code), legend.NO_INDEX) for code in found]
        return np.array(known, dtype=np.uint8)[where].reshape(codes.shape)

    def name(self, code: float) -> str | None:
        """Name of the class that a code stands for; None for unlabelled ground and for an unknown code."""
        index = self._index_of.get(int(code), 0) if code == int(code) else 0
        return legend.NAMES[index] if index else None

    def listed(self) -> str:
        """The codes in words, for a message."""
        return str([code for code, _ in self.codes])

    def with_unlabelled(self, code: int | None) -> "Coding":
        """This coding with one more code for unlabelled ground. Raises ValueError for the code of a class."""
        if code is None or self._index_of.get(code) == 0:
            return self
        if (name := self.name(code)) is not None:
            raise ValueError(
                f"unlabelled: got {code}, which is the code of {name} in these masks; expected a code that "
                "no class has, for instance 255"
            )
        return replace(self, codes=tuple(sorted([*self.codes, (code, 0)])))


LEGEND = Coding(tuple((code, index) for index, code in enumerate(legend.CODES)))


@dataclass(frozen=True)
class ClassMask:
    """A class mask's file with the coding of its tree. Stands for its path wherever a path is taken."""

    path: str
    coding: Coding = LEGEND

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Decoded:
    """``index``: class index uint8 [H, W], NO_INDEX for unknown codes; ``unknown``: their pixels, by code."""

    index: np.ndarray
    unknown: dict[int, int]


def decode(source: Any, coding: Coding) -> Decoded:
    """What an open class mask says. Raises ValueError (without the file's name) where it is none.

    That is: more than one band, no whole numbers, or a class's own code declared as nodata.
    """
    codes = _only_band(source)
    index = coding.indices(codes)
    without = missing(source)
    if without is not None:
        name = None if source.nodata is None else coding.name(source.nodata)
        if name is not None and (codes[without] == source.nodata).any():
            raise ValueError(
                f"declares {source.nodata:g} as nodata, which is the code of {name}; remove the declaration "
                "(gdal_edit.py -unsetnodata) or give unlabelled ground another code"
            )
        index[without] = 0
    unknown, pixels = np.unique(codes[index == legend.NO_INDEX], return_counts=True)
    return Decoded(index, dict(zip(unknown.tolist(), pixels.tolist(), strict=True)))


def read_index(mask: "str | os.PathLike[str]") -> np.ndarray:
    """Class index uint8 [H, W] of a class mask; a bare path is taken to hold the legend's codes.

    Raises ValueError naming the file for one that is unreadable, has several bands or no whole numbers, or
    holds codes that are not known.
    """
    coding = mask.coding if isinstance(mask, ClassMask) else LEGEND
    with opened(os.fspath(mask)) as source:
        try:
            found = decode(source, coding)
        except ValueError as error:
            raise ValueError(f"{mask}: {error}") from error
    if found.unknown:
        raise ValueError(f"{mask}: mask holds codes {list(found.unknown)}; expected only {coding.listed()}")
    return found.index


def read_index_or_none(mask: Any, shape: tuple[int, ...]) -> np.ndarray:
    """``read_index``; all unlabelled, of ``shape``, where a table has no mask (None or NaN)."""
    without = mask is None or isinstance(mask, float)
    return np.zeros(shape, dtype=np.uint8) if without else read_index(mask)


def decode_change(source: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Values, uint8 [H, W], of an open change mask, and which pixels it declares as nodata (None: no pixel).

    Nodata 0 is taken for a value: it is what most writers declare of a mask whose 0 is unchanged ground.
    Raises ValueError (without the file's name) for more than one band and for what does not fit 8 bits.
    """
    values = _only_band(source)
    without = None if source.nodata == 0 else missing(source)
    if without is not None:
        values[without] = 0
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 255:
        raise ValueError(f"values {low} to {high}; expected 0 to 255")
    return values.astype(np.uint8), without


def read_change(path: "str | os.PathLike[str]") -> tuple[np.ndarray, np.ndarray | None]:
    """``decode_change`` of a file; its errors name the file."""
    with opened(os.fspath(path)) as source:
        try:
            return decode_change(source)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _only_band(source: Any) -> np.ndarray:
    """The one band [H, W] of an open mask, of a whole-number type."""
    if source.count != 1:
        raise ValueError(f"expected one band, got {source.count}")
    if not np.issubdtype(source.dtypes[0], np.integer):
        raise ValueError(f"expected whole numbers (uint8), got {source.dtypes[0]}")
    return source.read(1)


def coding_of(root: Path, unlabelled: int | None = None) -> Coding:
    """Coding of the class masks of a tree: its class_mapping.json's, or the legend's.

    ``unlabelled``: one more code of unlabelled ground. A mapping that agrees with the legend on every class
    that it names is the legend's. One that differs must name every code that the masks hold. Raises
    ValueError where the file cannot be understood and where ``unlabelled`` is a class's code.
    """
    path = root / MAPPING_FILE
    coding = LEGEND
    if path.is_file():
        try:
            coding = _coding(_code_of_name(path.read_bytes()))
        except (ValueError, RecursionError, OverflowError) as error:  # bad JSON and bad text included
            raise ValueError(
                f"{path}: {error}; {MAPPING_EXPECTED}; or remove the file where the masks hold this "
                f"project's codes {list(legend.CODES)}"
            ) from error
    return coding.with_unlabelled(unlabelled)


def differences(coding: Coding) -> list[str]:
    """Classes with another code than the legend's, in words: "Woodland 5 (6 in the legend)"."""
    of_index = {index: code for code, index in reversed(coding.codes)}
    return [
        f"{name} {of_index.get(index, 'none')} ({code} in the legend)"
        for index, (name, code) in enumerate(zip(legend.NAMES, legend.CODES, strict=True))
        if of_index.get(index) != code
    ]


def _code_of_name(content: bytes) -> dict[str, int]:
    """Codes by name, of a JSON object that is written either way round, with any byte order mark."""
    pairs = json.loads(content, object_pairs_hook=list)
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        raise ValueError(f"holds a {type(pairs).__name__} and no object of names and codes")
    if pairs and all(_is_code(key) for key, _ in pairs):
        pairs = [(value, key) for key, value in pairs]
    found: dict[str, int] = {}
    owner: dict[int, str] = {}
    for name, code in pairs:
        if not isinstance(name, str) or _is_code(name) or not _is_code(code):
            raise ValueError(f"{name!r} and {code!r} are no name with a whole number")
        plain = " ".join(name.replace("_", " ").replace("-", " ").lower().split())
        if found.setdefault(plain, int(code)) != int(code):
            raise ValueError(f"{name!r} has two codes, {found[plain]} and {int(code)}")
        if owner.setdefault(int(code), plain) != plain:
            raise ValueError(f"code {int(code)} stands for both {owner[int(code)]!r} and {name!r}")
    return found


def _is_code(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lstrip("-").isdecimal()
    return isinstance(value, int) and not isinstance(value, bool)


def _coding(code_of_name: Mapping[str, int]) -> Coding:
    """The coding of a mapping; see ``coding_of`` for what it leaves unsaid."""
    known = {code: _INDEX_OF_NAME[name] for name, code in code_of_name.items() if name in _INDEX_OF_NAME}
    foreign = tuple(sorted((code, name) for name, code in code_of_name.items() if name not in _INDEX_OF_NAME))
    legends = dict(LEGEND.codes)
    if all(legends.get(code) == index for code, index in known.items()):
        kept = {code: index for code, index in legends.items() if code not in dict(foreign)}
        return Coding(tuple(sorted(kept.items())), foreign) if foreign else LEGEND
    if 0 not in dict(foreign):
        known.setdefault(0, 0)
    return Coding(tuple(sorted(known.items())), foreign)
