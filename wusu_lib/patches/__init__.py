"""A WUSU tree as a table of patches: reading, checking, shared ground, splits."""

from wusu_lib.patches.checks import check, refuse
from wusu_lib.patches.dossier import Dossier, inspect
from wusu_lib.patches.overlaps import Overlaps, shared_ground
from wusu_lib.patches.raster import read
from wusu_lib.patches.splits import assign
from wusu_lib.patches.table import fingerprint, fingerprint_changes, resolve, scan, scan_changes

__all__ = [
    "Dossier",
    "Overlaps",
    "assign",
    "check",
    "fingerprint",
    "fingerprint_changes",
    "inspect",
    "read",
    "refuse",
    "resolve",
    "scan",
    "scan_changes",
    "shared_ground",
]
