"""A search for the best model: a grid of backbones and decoders, by successive halving.

All cells are trained for a few epochs, the best of them for more, and so on. What comes out is
trained anew with seeds that no cell was trained with, and that is the search's own run: whatever luck chose
it does not count for it. Cells are runs of their own, stored by their keys, so nothing is trained twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, cast

import numpy as np
from pydantic import Field, field_validator, model_validator

from wusu_lib import files, provenance
from wusu_lib.experiment import segmentation
from wusu_lib.experiment.parameters import BudgetParameters, Count, Kind, Names, Seeds, Text
from wusu_lib.models import catalogue, decoders
from wusu_lib.runs import cluster
from wusu_lib.runs.store import Run

if TYPE_CHECKING:
    from wusu_lib.experiment.experiment import Experiment

Rungs = Annotated[list[Count], Text, Field(min_length=1)]
METRIC = "mIoU"  # on the validation patches: what decides which cells go on


class SearchParameters(BudgetParameters):
    """A search over backbones and decoders; all else is as the experiment ``base`` has it."""

    without_effect: ClassVar[frozenset[str]] = BudgetParameters.without_effect | {"parallel"}

    base: str = Field(
        "exp05",
        pattern=r"^[a-z][a-z0-9_]*$",
        examples=["exp05"],
        description="segmentation experiment whose backbone and decoder are searched for",
    )
    backbones: Names = Field(examples=[["prithvi_600m", "resnet50"]], description="rows of the grid")
    decoders: Names = Field(examples=[["fpn", "deeplab"]], description="columns of the grid")
    rungs: Rungs = Field(
        [1, 2], examples=[[1, 2]], description="epochs of each rung; what is left is trained in full"
    )
    keep: Annotated[int, Field(ge=2)] = Field(
        3, examples=[3], description="of so many cells one goes on to the next rung"
    )
    search_seeds: Seeds = Field([7], examples=[[7]], description="one run of each cell a seed")
    parallel: Count = Field(
        1, examples=[2], description="cells that are trained at a time; more than one by Ray's workers"
    )

    @field_validator("backbones")
    @classmethod
    def _backbones_exist(cls, backbones: list[str]) -> list[str]:
        for name in backbones:
            catalogue.find(name)
        return some(backbones)

    @field_validator("decoders")
    @classmethod
    def _decoders_exist(cls, given: list[str]) -> list[str]:
        return some([decoders.canonical(name) for name in given])

    @model_validator(mode="after")
    def _fresh_seeds(self) -> Self:
        if both := sorted({*self.seeds} & {*self.search_seeds}):
            raise ValueError(
                f"seeds: {both} chose the cell too (search_seeds={self.search_seeds}); expected seeds that "
                "no cell is trained with, so that luck in the search is no luck in the result"
            )
        if sorted(self.rungs) != self.rungs:
            raise ValueError(f"rungs: got {self.rungs}; expected epochs that rise, for instance [1, 2]")
        return self


def some(names: list[str]) -> list[str]:
    """The names; ValueError unless there is one at least, and each stands once."""
    if not names or len(set(names)) < len(names):
        raise ValueError(f"got {names}; expected at least one name, each once")
    return names


@dataclass(frozen=True)
class Cell:
    """One cell on one rung: its runs, one a search seed, or the reason why there are none."""

    backbone: str
    decoder: str
    epochs: int
    runs: Sequence[Run] = field(default=(), repr=False)
    reason: str = ""

    @property
    def name(self) -> str:
        """As "resnet50 + fpn"."""
        return f"{self.backbone} + {self.decoder}"

    @property
    def score(self) -> float:
        """Mean over seeds of the validation figure; minus infinity for a cell that failed."""
        found = [run.scores("val")[METRIC] for run in self.runs]
        return float(np.mean(found)) if found else -np.inf


def _stated(exp: "Experiment") -> SearchParameters:
    """The parameters of a search; ValueError for another kind of experiment."""
    if not isinstance(exp.parameters, SearchParameters):
        raise ValueError(f"{exp.name} searches for no model; give backbones and decoders")
    return exp.parameters


def cell_of(exp: "Experiment", backbone: str, decoder: str, epochs: int) -> "Experiment":
    """The base experiment with another backbone and decoder, for so many epochs and the search's seeds.

    Raises ValueError where the two do not go together.
    """
    stated = _stated(exp)
    changed = {"backbone": backbone, "decoder": decoder, "skip_block": 0}
    return exp.other(stated.base, **changed, epochs=epochs, seeds=stated.search_seeds)


def climb(exp: "Experiment") -> list[list[Cell]]:
    """Every rung with its cells, the best first; trains what is not stored.

    A cell that cannot be built or trained keeps its place with the reason, and goes no further. Raises
    ValueError where no cell is left.
    """
    stated = _stated(exp)
    left = list(product(stated.backbones, stated.decoders))
    rungs = []
    for epochs in stated.rungs:
        cells = _rung(exp, [(*pair, min(epochs, stated.epochs)) for pair in left])
        cells.sort(key=lambda cell: -cell.score)  # stable: of equals the first named
        good = [cell for cell in cells if cell.runs]
        if not good:
            raise ValueError(f"{exp.name}: no cell could be trained: {cells[0].name}: {cells[0].reason}")
        rungs.append(cells)
        left = [(cell.backbone, cell.decoder) for cell in good[: -(-len(good) // stated.keep)]]
    return rungs


def _rung(exp: "Experiment", cells: Sequence[tuple[str, str, int]]) -> list[Cell]:
    """Cells (backbone, decoder, epochs) trained one after another, or by workers, who leave them stored."""
    parallel = _stated(exp).parallel
    if parallel == 1:
        return [_trained(exp, *cell) for cell in cells]
    reasons = cluster.spread(_reason, [(exp, *cell) for cell in cells], parallel)
    return [
        Cell(*cell, reason=reason) if reason else _trained(exp, *cell)
        for cell, reason in zip(cells, reasons, strict=True)
    ]


def _reason(exp: "Experiment", *cell: Any) -> str:
    """In a worker: train a cell; why it failed, else empty."""
    return _trained(exp, *cell).reason


def _trained(exp: "Experiment", backbone: str, decoder: str, epochs: int) -> Cell:
    try:
        return Cell(backbone, decoder, epochs, cell_of(exp, backbone, decoder, epochs).runs())
    except ValueError as error:  # what does not go together, or did not learn
        return Cell(backbone, decoder, epochs, reason=str(error).splitlines()[-1])


def winner(exp: "Experiment", rungs: Sequence[Sequence[Cell]]) -> "Experiment":
    """The base experiment with the best cell of the last rung, at the search's own budget and seeds."""
    best = rungs[-1][0]
    changed = {"backbone": best.backbone, "decoder": best.decoder, "skip_block": 0}
    return exp.other(_stated(exp).base, **changed)


COPIED = ("confusion.npz", "predictions.npz", "history.csv", "steps.csv", "model.safetensors")
TAKEN = (
    "metrics",
    "absent",
    "losses",
    "best_epoch",
    "epochs",
    "stopped_early",
    "model",
    "device",
    "arithmetic",
)


def make(exp: "Experiment", seed: int, folder: Path) -> dict[str, Any]:
    """The winner's run with a fresh seed, as the search's own: its files and figures, and what was chosen."""
    rungs = climb(exp)
    best = rungs[-1][0]
    chosen = {"backbone": best.backbone, "decoder": best.decoder}
    return adopted(winner(exp, rungs), seed, folder) | {"chosen": chosen}


def adopted(found: "Experiment", seed: int, folder: Path) -> dict[str, Any]:
    """A run of what a search found, as the search's own: files into ``folder``, figures returned."""
    run = found.runs()[found.seeds.index(seed)]
    for name in COPIED:
        files.second_name(run.file(name), folder / name)
    taken = {name: run.record[name] for name in (*TAKEN, "input", "parts", "seconds") if name in run.record}
    return taken | {"source": {"experiment": run.called, "key": run.key}, "trained": run.parameters}


# What the kind is.


def _grid(exp: "Experiment", seed: int) -> dict[str, str]:
    """One hash of the keys of all cells on the first rung; those of the other rungs follow from the same."""
    stated, keys = _stated(exp), []
    for backbone, decoder in product(stated.backbones, stated.decoders):
        try:
            cell = cell_of(exp, backbone, decoder, min(stated.rungs[0], stated.epochs))
        except ValueError as error:
            keys.append(str(error))
        else:
            keys += [cell.key(each) for each in cell.seeds]
    return {"grid": provenance.text_hash(" ".join(keys))}


KIND = Kind(
    schema=SearchParameters,
    told_by=frozenset({"backbones", "decoders"}),
    code=(*segmentation.KIND.code, "wusu_lib.experiment.search:Cell,adopted,cell_of,climb,make,winner"),
    packages=segmentation.KIND.packages,
    make=make,
    parts=lambda exp: exp.other(cast(SearchParameters, exp.parameters).base).parts(),
    source=_grid,
)
