"""Variants of one experiment: the same notebook with a parameter changed, each compared with the run itself.

A variant has a key of its own, so it is trained once and read from then on. The experiment's folder
links to it.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from wusu_lib import compare
from wusu_lib.experiment import Experiment
from wusu_lib.models.catalogue import find
from wusu_lib.parameters import SegmentationParameters
from wusu_lib.runs import Run


def bands_and_skips(exp: Experiment) -> dict[str, Experiment]:
    """What experiment 6 asks beside its main question: no near infrared, and another block for the skip.

    The blocks are those at the quarter points of the backbone, without the one that the run itself uses and
    the last one, which the skip is joined to; none where the decoder has no skip to choose. Without the
    infrared in the run itself, that variant is left out.
    Raises ValueError for an experiment that trains no segmentation model.
    """
    stated = exp.parameters
    if not isinstance(stated, SegmentationParameters):
        raise ValueError(
            f"{exp.name} trains no segmentation model, so it has neither bands nor a skip to choose"
        )
    spec = find(stated.backbone)
    encoder = spec.encoder(stated.scale)
    own = stated.skip_block or encoder.skip + 1
    choosable = spec.transformer and stated.decoder == "deeplab"
    blocks = [tap + 1 for tap in encoder.taps[:-1] if choosable and tap + 1 != own]
    found = {"red, green, blue only": exp.variant(bands="rgb")} if stated.bands == "all" else {}
    return found | {f"skip from block {block}": exp.variant(skip_block=block) for block in blocks}


def pretrained(exp: Experiment, teacher: str = "exp04") -> Experiment:
    """The experiment with a backbone that has learnt before: at demo scale, where none is published, another
    experiment's.

    ``teacher`` names an experiment that trains its backbone; its first seed's run gives the weights and is
    made if it is not stored. Whatever else than random weights the experiment starts from is left alone.
    Raises ValueError for an experiment that trains no segmentation model.
    """
    stated = exp.parameters
    if not isinstance(stated, SegmentationParameters):
        raise ValueError(f"{exp.name} trains no segmentation model, so it has no backbone to teach")
    if stated.weights != "random":
        return exp
    run = exp.other(teacher, backbone=stated.backbone, bands=stated.bands).runs()[0]
    return exp.variant(weights=str(run.folder / "model.safetensors"))


def effects(variants: Mapping[str, Experiment], runs: Sequence[Run]) -> pd.DataFrame:
    """Each variant minus the run itself, on the predicted metric and split; trains what is not stored.

    Columns as of ``compare.differences``, the variant's label under experiment.
    """
    if not variants:
        return compare.differences({}, runs, "mIoU")
    first = next(iter(variants.values()))
    stated = first.comparison
    if stated is None:
        raise ValueError(f"{first.name} states no prediction, so there is no metric to compare on")
    sides = {label: variant.runs() for label, variant in variants.items()}
    return compare.differences(sides, runs, stated.metric, stated.split, first.parameters.background)
