"""A table of the siamese network's parts with their sizes, for the notebooks."""

import pandas as pd
from torch import nn

from wusu_lib import models
from wusu_lib.change.direct.siamese import SiameseModel


def table_of_parts(model: SiameseModel, image_size: int) -> pd.DataFrame:
    """Columns and rows as of ``models.describe``; the shapes are those of one date of a square pair.

    "head" gives the classes of a date and is there for semantic change only; "change", the change head, reads
    the decoder's maps of both dates.
    """
    shared = models.describe(model.base, image_size)
    kept = shared[(shared["part"] != "total") & ((shared["part"] != "head") | (model.method == "scd"))]
    grid = shared.loc[shared["part"] == "decoder", "output shape"].item().split(" x ", 1)[1]
    rows = [
        ("change", f"head on the {model.fusion} of two dates", *_sizes(model.change_head), f"1 x {grid}"),
        ("total", type(model).__name__, *_sizes(model), f"1 x {image_size} x {image_size}"),
    ]
    return pd.concat([kept, pd.DataFrame(rows, columns=list(shared))], ignore_index=True)


def _sizes(module: nn.Module) -> tuple[int, int]:
    """Parameters, and those of them that are trained."""
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained)
