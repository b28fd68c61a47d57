"""Computed sentences: each reads one figure or table of a notebook from the numbers behind it.

A run may come out differently from the one that the author of a notebook saw. So no prose of a notebook
repeats a result; these functions do. Each returns an ``IPython.display.Markdown`` object, shown as the last
expression of a cell.
"""

from wusu_lib.sentences.analysis import boundary, disagreement, gap, objects, stability
from wusu_lib.sentences.data import balance, bands, data, dates, examples, shared, shared_ground, transitions
from wusu_lib.sentences.differences import variants
from wusu_lib.sentences.results import (
    absent,
    class_iou,
    confusion,
    curves,
    predictions,
    ten_columns,
    unseen,
    verdict,
)
from wusu_lib.sentences.stages import (
    change_errors,
    change_flows,
    change_targets,
    change_transitions,
    code_book,
    three_dates,
    two_stage_figures,
    two_stage_gains,
    two_stage_settings,
    two_stage_source,
)
from wusu_lib.sentences.ways import change_data, change_figures, change_maps, change_masks, ways
from wusu_lib.sentences.words import counted, listed, pooled

__all__ = [
    "absent",
    "balance",
    "bands",
    "boundary",
    "change_data",
    "change_errors",
    "change_figures",
    "change_flows",
    "change_maps",
    "change_masks",
    "change_targets",
    "change_transitions",
    "class_iou",
    "code_book",
    "confusion",
    "counted",
    "curves",
    "data",
    "dates",
    "disagreement",
    "examples",
    "gap",
    "listed",
    "objects",
    "pooled",
    "predictions",
    "shared",
    "shared_ground",
    "stability",
    "ten_columns",
    "three_dates",
    "transitions",
    "two_stage_figures",
    "two_stage_gains",
    "two_stage_settings",
    "two_stage_source",
    "unseen",
    "variants",
    "verdict",
    "ways",
]
