"""Everything that is wrong with a tree, in one table; and the refusal to train on what would spoil it."""

import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path

import pandas as pd

from wusu_lib import legend
from wusu_lib.patches import consistency
from wusu_lib.patches.contents import PROBLEM_COLUMNS, Problem, Tally, examine, name_of
from wusu_lib.patches.table import KINDS, Entry, entries, first_of_each, resolve

SEVERITIES = ("error", "warning", "note")
NAMED_FILES = 10  # in the message of a refusal
_EXAMPLE = {"image": "HS15_0.tif", "mask": "HS15_0.tif", "bcd": "HS1516_0.tif", "scd": "HS1516_0.tif"}


def check(root: str | Path) -> pd.DataFrame:
    """Read every file of a tree once and list all problems, the worst first.

    Columns: severity, problem, file (below the root; "" for the tree as a whole), detail, count (pixels or
    files). "error": training would be spoiled (unreadable, wrong bands, dtype or size, unknown code, empty
    image, partner missing). "warning": suspicious. "note": information. Raises FileNotFoundError if there is
    no tree at ``root``.
    """
    base = resolve(root)
    found = entries(base)
    usable = [e for kind in KINDS for e in first_of_each(found, kind).values()]
    tally = _examine_all(usable, base)
    problems = [
        *tally.problems,
        *_names(found, base),
        *_missing_partners(usable, base),
        *_missing_dates(usable, base),
        *_class_mapping(base),
        *consistency.sizes(tally, base),
        *consistency.duplicates(tally, base),
        *consistency.band_order(tally),
        *consistency.changes(tally, base),
        *consistency.published_counts(usable),
    ]
    problems.sort(key=lambda p: (SEVERITIES.index(p.severity), p.problem, p.file, p.detail))
    return pd.DataFrame(map(astuple, problems), columns=list(PROBLEM_COLUMNS))


def refuse(problems: pd.DataFrame) -> None:
    """Raise ValueError naming the files if any problem is an error."""
    errors = problems[problems["severity"] == "error"]
    if errors.empty:
        return
    lines = [f"  {row.file}: {row.problem} ({row.detail})" for row in errors.head(NAMED_FILES).itertuples()]
    more = f"\n  and {len(errors) - NAMED_FILES} more" if len(errors) > NAMED_FILES else ""
    raise ValueError(
        f"{len(errors)} problems in the data would spoil training; repair or remove these files:\n"
        + "\n".join(lines)
        + more
    )


def _examine_all(files: list[Entry], root: Path) -> Tally:
    """Examine site by site in two or more threads and add up; at any time only a few sites are in memory."""
    sites: dict[str, list[Entry]] = {}
    for entry in files:
        sites.setdefault(entry.site, []).append(entry)
    total = Tally()
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for tally in pool.map(lambda part: examine(part, root), sites.values()):
            total.problems += tally.problems
            total.sizes |= tally.sizes
            total.changes |= tally.changes
            total.digests |= tally.digests
            for key, sums in tally.cover.items():
                total.cover[key] = total.cover.get(key, 0) + sums
    return total


def _names(found: list[Entry], root: Path) -> Iterable[Problem]:
    """Names that cannot be read, names in another area's folder, two files for one patch."""
    seen: dict[tuple, Entry] = {}
    for entry in found:
        name = name_of(entry.path, root)
        if not entry.dates:
            yield Problem(
                "note", "name not understood", name, f"left out; expected a name like {_EXAMPLE[entry.kind]}"
            )
            continue
        if entry.area != entry.area_folder:
            detail = f"the name says {entry.area}, the folder {entry.area_folder}; the name counts"
            yield Problem("warning", "area contradicts folder", name, detail)
        other = seen.setdefault((entry.kind, *entry.key), entry)
        if other is not entry:
            detail = f"left out; {name_of(other.path, root)} has the same area, date and index"
            yield Problem("error", "two files for one patch", name, detail)


def _missing_partners(files: list[Entry], root: Path) -> Iterable[Problem]:
    """Images without mask, masks without image, BCD without SCD and the reverse.

    A date of an area for which a folder holds no masks at all is one note: data may be published without
    labels.
    """
    keys = {kind: {e.key for e in files if e.kind == kind} for kind in KINDS}
    labelled = {key[:3] for key in keys["mask"]}
    unlabelled = sorted({key[:3] for key in keys["image"]} - labelled)
    for folder, area, (date,) in unlabelled:
        count = sum(key[:3] == (folder, area, (date,)) for key in keys["image"])
        yield Problem(
            "note", "no masks for a date", "", f"{folder}: none of {count} {area}{date:02d} patches", count
        )
    for entry in files:
        name = name_of(entry.path, root)
        if entry.kind == "image" and entry.key[:3] in labelled and entry.key not in keys["mask"]:
            yield Problem("error", "missing mask", name, f"expected class/{entry.path.name}")
        elif entry.kind == "mask" and entry.key not in keys["image"]:
            yield Problem("error", "missing image", name, f"expected imgs/{entry.path.name}")
        elif entry.kind in ("bcd", "scd"):
            other = "scd" if entry.kind == "bcd" else "bcd"
            if entry.key not in keys[other]:
                yield Problem(
                    "warning", "missing change mask", name, f"expected {KINDS[other]}/{entry.path.name}"
                )
            for date in entry.dates:
                if (entry.folder, entry.area, (date,), entry.index) not in keys["image"]:
                    detail = f"no image {entry.area}{date:02d}_{entry.index} for this change mask"
                    yield Problem("warning", "missing image", name, detail)


def _missing_dates(files: list[Entry], root: Path) -> Iterable[Problem]:
    """Sites that lack an image of a date, or change masks of an interval, that others of their area have."""
    for kind, problem in (("image", "missing date"), ("bcd", "missing change masks")):
        of_area: dict[tuple[str, str], set] = {}
        of_site: dict[Entry, set] = {}
        first: dict[str, Entry] = {}
        for e in (e for e in files if e.kind == kind or (kind == "bcd" and e.kind == "scd")):
            of_area.setdefault((e.folder, e.area), set()).add(e.dates)
            of_site.setdefault(first.setdefault(e.site, e), set()).add(e.dates)
        for entry, dates in of_site.items():
            for missing in sorted(of_area[entry.folder, entry.area] - dates):
                wanted = f"{entry.area}{''.join(f'{d:02d}' for d in missing)}_{entry.index}.tif"
                yield Problem("warning", problem, name_of(entry.path, root), f"{wanted} is not there")


def _class_mapping(root: Path) -> Iterable[Problem]:
    """class_mapping.json against the legend: the same name with another code."""
    path = root / "class_mapping.json"
    if not path.is_file():
        return
    try:
        mapping = {
            str(name).strip().lower(): int(code) for name, code in json.loads(path.read_text("utf-8")).items()
        }
    except (ValueError, TypeError, AttributeError, UnicodeDecodeError) as error:
        yield Problem(
            "warning", "class_mapping.json not understood", path.name, f"expected names with codes: {error}"
        )
        return
    for land_class in legend.CLASSES:
        code = mapping.get(land_class.name.lower(), land_class.code)
        if code != land_class.code:
            detail = f"{land_class.name} has code {code} there and {land_class.code} in this project's legend"
            yield Problem("warning", "other class codes", path.name, detail)
