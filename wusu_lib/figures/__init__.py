"""Every figure of the project: one style, one palette, each function returns a matplotlib ``Figure``.

A figure shows itself with its caption, exactly once: where a cell ends with the call.
"""

from wusu_lib.figures.analysis import boundary, gap, objects
from wusu_lib.figures.captions import captioned
from wusu_lib.figures.change_flows import change_flows
from wusu_lib.figures.change_maps import change_maps
from wusu_lib.figures.change_scores import change_errors, change_transitions
from wusu_lib.figures.change_targets import change_targets
from wusu_lib.figures.change_ways import change_ways
from wusu_lib.figures.classes import class_iou, confusion_matrix
from wusu_lib.figures.contradictions import disagreement
from wusu_lib.figures.curves import curves_of_ways, training_curves
from wusu_lib.figures.data import band_histograms, class_balance, from_to
from wusu_lib.figures.effects import effect, forest
from wusu_lib.figures.ground import shared_ground
from wusu_lib.figures.imagery import rgb, stretch
from wusu_lib.figures.intervals import cleaning_gains, intervals, over_two_stages, variants
from wusu_lib.figures.maps import dates, patch_examples, predictions
from wusu_lib.figures.model import parts
from wusu_lib.figures.rates import false_differences, found_gains, rates, with_seeds
from wusu_lib.figures.scenes import scene_changes, scene_maps
from wusu_lib.figures.steps import step_losses, taught_step_losses
from wusu_lib.figures.theme import style, use

__all__ = [
    "band_histograms",
    "boundary",
    "captioned",
    "change_errors",
    "change_flows",
    "change_maps",
    "change_targets",
    "change_transitions",
    "change_ways",
    "class_balance",
    "class_iou",
    "cleaning_gains",
    "confusion_matrix",
    "curves_of_ways",
    "dates",
    "disagreement",
    "effect",
    "false_differences",
    "forest",
    "found_gains",
    "from_to",
    "gap",
    "intervals",
    "objects",
    "over_two_stages",
    "parts",
    "patch_examples",
    "predictions",
    "rates",
    "rgb",
    "scene_changes",
    "scene_maps",
    "shared_ground",
    "step_losses",
    "stretch",
    "style",
    "taught_step_losses",
    "training_curves",
    "use",
    "variants",
    "with_seeds",
]
