"""Every figure of the project: one style, one palette, each function returns a matplotlib ``Figure``.

A figure is not on pyplot's list, so a notebook shows it exactly once: where a cell ends with the call.
"""

from wusu_lib.figures.analysis import boundary, gap, objects
from wusu_lib.figures.change_flows import change_flows
from wusu_lib.figures.change_maps import change_maps
from wusu_lib.figures.change_scores import change_errors, change_transitions
from wusu_lib.figures.change_targets import change_targets
from wusu_lib.figures.change_ways import change_ways
from wusu_lib.figures.classes import class_iou, confusion_matrix
from wusu_lib.figures.contradictions import disagreement
from wusu_lib.figures.curves import training_curves
from wusu_lib.figures.data import band_histograms, class_balance, from_to
from wusu_lib.figures.effects import effect, forest
from wusu_lib.figures.ground import shared_ground
from wusu_lib.figures.imagery import rgb, stretch
from wusu_lib.figures.intervals import intervals
from wusu_lib.figures.maps import dates, patch_examples, predictions
from wusu_lib.figures.model import parts
from wusu_lib.figures.rates import rates
from wusu_lib.figures.scenes import scene_changes, scene_maps
from wusu_lib.figures.steps import step_losses
from wusu_lib.figures.theme import style, use

__all__ = [
    "band_histograms",
    "boundary",
    "change_errors",
    "change_flows",
    "change_maps",
    "change_targets",
    "change_transitions",
    "change_ways",
    "class_balance",
    "class_iou",
    "confusion_matrix",
    "dates",
    "disagreement",
    "effect",
    "forest",
    "from_to",
    "gap",
    "intervals",
    "objects",
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
    "training_curves",
    "use",
]
