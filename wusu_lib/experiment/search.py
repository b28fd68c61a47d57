"""A search for the best model: a grid of backbones and decoders, or hyperparameters drawn one after another.

All cells are trained for a few epochs, the best of them for more, and so on. What comes out is
trained anew with seeds that no cell was trained with, and that is the search's own run: whatever luck chose
it does not count for it. Cells are runs of their own, stored by their keys, so nothing is trained twice.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, cast

import numpy as np
from pydantic import Field, field_validator, model_validator

from wusu_lib import files, provenance
from wusu_lib.experiment import segmentation
from wusu_lib.experiment.parameters import BudgetParameters, Count, Kind, Names, Seeds, Text
from wusu_lib.models import catalogue, decoders
from wusu_lib.runs import store
from wusu_lib.runs.store import Run

if TYPE_CHECKING:
    from wusu_lib.experiment.experiment import Experiment

Rungs = Annotated[list[Count], Text, Field(min_length=1)]
METRIC = "mIoU"  # on the validation patches: what decides which cells go on


class SearchParameters(BudgetParameters):
    """A search over backbones and decoders; all else is as the experiment ``base`` has it."""

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

    @field_validator("backbones")
    @classmethod
    def _backbones_exist(cls, backbones: list[str]) -> list[str]:
        for name in backbones:
            catalogue.find(name)
        return _some(backbones)

    @field_validator("decoders")
    @classmethod
    def _decoders_exist(cls, given: list[str]) -> list[str]:
        return _some([decoders.canonical(name) for name in given])

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


def _some(names: list[str]) -> list[str]:
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
        cells = [_trained(exp, *pair, min(epochs, stated.epochs)) for pair in left]
        cells.sort(key=lambda cell: -cell.score)  # stable: of equals the first named
        good = [cell for cell in cells if cell.runs]
        if not good:
            raise ValueError(f"{exp.name}: no cell could be trained: {cells[0].name}: {cells[0].reason}")
        rungs.append(cells)
        left = [(cell.backbone, cell.decoder) for cell in good[: -(-len(good) // stated.keep)]]
    return rungs


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


# Hyperparameters: drawn by Optuna's sampler (TPE, Bergstra et al. 2011), stopped early by ASHA (Li et al.
# 2020, arXiv 1810.05934), run by Ray Tune (https://docs.ray.io) here or on the cluster of RAY_ADDRESS.
#
# A trial is one setting. On each rung it is a stored run of the base experiment for so many epochs, so a
# trial that was cut off, by a kill or by a lost machine, finds what it finished in the store. Ray keeps the
# state of the search beside the runs and goes on from it. Ray and Optuna are imported only where they are
# used.


@dataclass(frozen=True)
class Range:
    """What a hyperparameter may be: from ``low`` to ``high``, on a logarithmic scale or not, or a choice."""

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Any, ...] = ()


SPACE: dict[str, Range] = {
    "learning_rate": Range(3e-4, 1e-2, log=True),
    "encoder_learning_rate": Range(1e-5, 1e-3, log=True),
    "layer_decay": Range(0.5, 1.0),
    "weight_decay": Range(1e-5, 1e-1, log=True),
    "head_dropout": Range(0.0, 0.5),
    "batch_size": Range(choices=(4, 8, 16)),
    "schedule": Range(choices=("one_cycle", "plateau")),
    "augmentation": Range(choices=("flips", "turns", "colour")),
    "loss": Range(choices=("cross_entropy", "cross_entropy+dice", "cross_entropy+lovasz")),
    "adaptation": Range(choices=("full", "differential", "lora")),
}
DIGITS = 3  # significant ones of a value that is drawn: so that a setting can be written down
STARTUP = 5  # trials drawn at random before the sampler learns from them
STARTS = 4  # times that Ray is started before its error is told
OBJECTS = 2**28  # bytes of Ray's object store: a search ships parameters and tables, no images
LOST = 3  # times that a trial is started again because its worker was lost


class TuningParameters(BudgetParameters):
    """A search over hyperparameters; all else is as the experiment ``base`` has it."""

    base: str = Field(
        "exp05",
        pattern=r"^[a-z][a-z0-9_]*$",
        examples=["exp05"],
        description="segmentation experiment whose hyperparameters are searched for",
    )
    hyperparameters: Names = Field(
        examples=[["learning_rate", "head_dropout"]], description=f"some of {', '.join(SPACE)}"
    )
    trials: Count = Field(12, examples=[12], description="settings that are tried, the base's own first")
    least_epochs: Count = Field(
        1, examples=[1], description="of the first rung; each rung above has keep times as many"
    )
    keep: Annotated[int, Field(ge=2)] = Field(
        2, examples=[2], description="of so many trials one goes on to the next rung"
    )
    search_seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        7, examples=[7], description="of the sampler and of each trial"
    )
    parallel: Count = Field(
        1, examples=[2], description="trials at a time; with one the search can be repeated"
    )

    @field_validator("hyperparameters")
    @classmethod
    def _known(cls, given: list[str]) -> list[str]:
        if unknown := [name for name in given if name not in SPACE]:
            raise ValueError(f"got {unknown}; known: {', '.join(SPACE)}")
        return _some(given)

    @model_validator(mode="after")
    def _fresh_seeds(self) -> Self:
        if self.search_seed in self.seeds:
            raise ValueError(
                f"seeds: {self.search_seed} chose the setting too (search_seed); expected seeds that no "
                "trial is trained with, so that luck in the search is no luck in the result"
            )
        return self

    @property
    def rungs(self) -> list[int]:
        """Epochs of each rung, the last in full."""
        found = []
        epochs = self.least_epochs
        while epochs < self.epochs:
            found.append(epochs)
            epochs *= self.keep
        return [*found, self.epochs]


def setting_of(exp: "Experiment", config: Mapping[str, Any], epochs: int) -> "Experiment":
    """The base experiment with some hyperparameters, for so many epochs and the search's seed."""
    stated = cast(TuningParameters, exp.parameters)
    return exp.other(stated.base, **config, epochs=epochs, seeds=[stated.search_seed])


def judged(exp: "Experiment", config: Mapping[str, Any], epochs: int) -> float:
    """The validation figure of a setting; trained where it is not stored."""
    (run,) = setting_of(exp, config, epochs).runs()
    return float(run.scores("val")[METRIC])


def drawn(config: Mapping[str, Any]) -> dict[str, Any]:
    """A setting as the sampler drew it, its numbers to ``DIGITS`` significant digits."""
    return {
        name: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
        for name, value in config.items()
    }


def tune(exp: "Experiment") -> list[dict[str, Any]]:
    """The trials of a search, the best first; searches where that is not stored.

    Each has config (hyperparameter -> value), epochs (of the highest rung it reached), by_rung (the
    validation figure after each rung) and reason (why it failed, else empty). Raises ValueError where no
    trial could be trained.
    """
    stated = cast(TuningParameters, exp.parameters)
    about = [_base_key(exp, 0), sorted(stated.effective().items()), provenance.code(TUNED_BY)]
    name = provenance.text_hash(str(about))
    folder = store.root() / exp.name / "searched"

    def make(path: Path) -> dict[str, Any]:
        found = {"trials": _search(exp, folder / name)}
        files.write_json(path, found)
        return found

    trials = files.kept(folder / f"{name}.json", files.read_json, make)["trials"]
    good = [trial for trial in trials if trial["by_rung"]]
    if not good:
        raise ValueError(f"{exp.name}: no setting could be trained: {trials[0]['reason']}")
    return sorted(trials, key=lambda trial: (-len(trial["by_rung"]), -(trial["by_rung"] or [-np.inf])[-1]))


def _search(exp: "Experiment", folder: Path) -> list[dict[str, Any]]:
    """Run the search, or go on with it: Ray's state of it lies in ``folder``."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray tells its maker of each cluster
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # what it logs is in the store
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the other one prints folders whatever is asked
    from ray import tune as ray_tune

    stated = cast(TuningParameters, exp.parameters)
    with _connected(stated.parallel):
        objective = ray_tune.with_resources(
            ray_tune.with_parameters(_trial, exp=exp, place=_place()), _resources()
        )
        if ray_tune.Tuner.can_restore(str(folder)):
            tuner = ray_tune.Tuner.restore(
                str(folder), objective, resume_unfinished=True, resume_errored=True
            )
        else:
            tuner = ray_tune.Tuner(
                objective, tune_config=_strategy(exp), run_config=_storage(folder), param_space=None
            )
        found = tuner.fit()
        return [_told(found[number]) for number in range(len(found))]


def _strategy(exp: "Experiment") -> Any:
    """Sampler, early stopping and number of trials; the base's own setting is tried first."""
    import optuna
    from ray import tune as ray_tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    stated = cast(TuningParameters, exp.parameters)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    base = exp.other(stated.base).parameters
    own = {name: getattr(base, name) for name in stated.hyperparameters}
    sampler = optuna.samplers.TPESampler(seed=stated.search_seed, n_startup_trials=STARTUP)
    space = {name: distribution(SPACE[name]) for name in stated.hyperparameters}
    halving = ASHAScheduler(
        time_attr="epochs",
        max_t=stated.epochs,
        grace_period=min(stated.least_epochs, stated.epochs),
        reduction_factor=stated.keep,
    )
    return ray_tune.TuneConfig(
        metric=METRIC,
        mode="max",
        search_alg=OptunaSearch(space, METRIC, "max", points_to_evaluate=[own], sampler=sampler),
        scheduler=halving,
        num_samples=stated.trials,
        max_concurrent_trials=stated.parallel,
        reuse_actors=True,  # a worker imports torch once
    )


def distribution(given: Range) -> Any:
    """A range as Optuna has it."""
    import optuna

    if given.choices:
        return optuna.distributions.CategoricalDistribution(given.choices)
    return optuna.distributions.FloatDistribution(given.low, given.high, log=given.log)


def _storage(folder: Path) -> Any:
    from ray import tune as ray_tune

    folder.parent.mkdir(parents=True, exist_ok=True)
    return ray_tune.RunConfig(
        name=folder.name,
        storage_path=str(folder.parent),
        failure_config=ray_tune.FailureConfig(max_failures=LOST),
        verbose=0,
    )


def _resources() -> dict[str, float]:
    import ray

    return {"cpu": 1.0, "gpu": 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0}


def _place() -> dict[str, str]:
    """Where a worker finds repository, runs and cache: as here. Machines of a cluster share these folders."""
    return {
        "WUSU_ROOT": str(provenance.repository()),
        "WUSU_RUNS": str(store.root()),
        "WUSU_CACHE": str(files.cache_folder()),
    }


def _trial(config: dict[str, Any], exp: "Experiment", place: Mapping[str, str]) -> None:
    """In a worker: a setting from rung to rung, each reported, until Ray stops it."""
    os.environ.update(place)
    from ray import tune as ray_tune

    by_rung: list[float] = []
    for epochs in cast(TuningParameters, exp.parameters).rungs:
        try:
            by_rung.append(judged(exp, drawn(config), epochs))
        except ValueError as error:  # what cannot be trained is no fault of the worker: not tried again
            last = str(error).splitlines()[-1]
            ray_tune.report({METRIC: 0.0, "epochs": epochs, "by_rung": [], "reason": last})
            return
        ray_tune.report({METRIC: by_rung[-1], "epochs": epochs, "by_rung": list(by_rung), "reason": ""})


def _told(result: Any) -> dict[str, Any]:
    """A trial as the search's record tells it."""
    metrics = result.metrics or {}
    reason = metrics.get("reason", "") or (str(result.error).splitlines()[-1] if result.error else "")
    return {
        "config": drawn(result.config),
        "epochs": metrics.get("epochs", 0),
        "by_rung": list(metrics.get("by_rung", [])),
        "reason": reason,
    }


@contextmanager
def _connected(parallel: int) -> Iterator[None]:
    """Ray, connected to the cluster of RAY_ADDRESS, else started here; what was started is stopped again."""
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)  # what is no error is told by the search's own record
    if ray.is_initialized():
        yield
        return
    if address := os.environ.get("RAY_ADDRESS"):
        ray.init(address=address, **quiet)
    else:  # without an address Ray would join any cluster that somebody runs on this machine
        local: dict[str, Any] = {"address": "local", "num_cpus": parallel, "object_store_memory": OBJECTS}
        _start(include_dashboard=False, **local, **quiet)
    try:
        yield
    finally:
        ray.shutdown()


def _start(**stated: Any) -> None:
    """Start Ray on this machine; tried again, since it waits half a minute only, too short on a busy one."""
    import ray

    for left in reversed(range(STARTS)):
        try:
            ray.init(**stated)
        except Exception:  # Ray raises no narrower class
            ray.shutdown()
            if not left:
                raise
        else:
            return


def make_tuned(exp: "Experiment", seed: int, folder: Path) -> dict[str, Any]:
    """The best setting's run with a fresh seed, as the search's own; its trials in the record."""
    trials = tune(exp)
    best = exp.other(cast(TuningParameters, exp.parameters).base, **trials[0]["config"])
    return adopted(best, seed, folder) | {"chosen": trials[0]["config"], "trials": trials}


def _base_key(exp: "Experiment", _seed: int) -> dict[str, str]:
    """The key of the base's own setting on the first rung: those of all others follow from the same code."""
    first = setting_of(exp, {}, cast(TuningParameters, exp.parameters).rungs[0])
    return {"base": first.key(first.seeds[0])}


TUNED_BY = (
    "wusu_lib.experiment.search:SPACE,_search,_strategy,_trial,adopted,drawn,judged,make_tuned,setting_of,tune",
)
TUNING = Kind(
    schema=TuningParameters,
    told_by=frozenset({"hyperparameters", "trials"}),
    code=(*segmentation.KIND.code, *TUNED_BY),
    packages=(*segmentation.KIND.packages, "ray", "optuna"),
    make=make_tuned,
    parts=lambda exp: exp.other(cast(TuningParameters, exp.parameters).base).parts(),
    source=_base_key,
)
