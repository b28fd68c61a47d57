"""A search for hyperparameters: drawn by Optuna, stopped early by ASHA, run by Ray Tune.

The sampler is TPE (Bergstra et al. 2011, NeurIPS 24), early stopping is that of Li et al. (2020, arXiv
1810.05934), https://docs.ray.io runs them here or on a cluster. A trial is one setting. On each rung it is a
stored run of the base experiment for so many epochs, so a trial that was cut off, by a kill or by a lost
machine, finds what it finished in the store. Ray keeps the state of the search beside the runs and goes on
from it. The best setting is trained anew with seeds that no trial had, and that is the search's own run. Ray
and Optuna are imported only where they are used.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, cast

import numpy as np
from pydantic import Field, field_validator, model_validator

from wusu_lib import files, provenance
from wusu_lib.experiment import segmentation
from wusu_lib.experiment.parameters import BudgetParameters, Count, Kind, Names
from wusu_lib.experiment.search import METRIC, adopted, some
from wusu_lib.models.catalogue import find
from wusu_lib.runs import cluster, store

if TYPE_CHECKING:
    from wusu_lib.experiment.experiment import Experiment


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
    "weight_average": Range(choices=(0.0, 0.9, 0.98)),
    "augmentation": Range(choices=("flips", "turns", "colour", "zoom")),
    "loss": Range(
        choices=(
            "cross_entropy",
            "cross_entropy+0.5*dice",
            "cross_entropy+dice",
            "cross_entropy+2*dice",
            "cross_entropy+lovasz",
        )
    ),
    "adaptation": Range(choices=("full", "differential", "lora")),
    "decoder_width": Range(choices=(0.5, 1.0, 2.0)),
    "skip_block": Range(choices=(1, 2, 3)),  # quarters of the encoder's blocks (``ranges``)
}
DIGITS = 3  # significant ones of a value that is drawn: so that a setting can be written down
STARTUP = 5  # trials drawn at random before the sampler learns from them
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
        return some(given)

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


def ranges(exp: "Experiment") -> dict[str, Range]:
    """What each hyperparameter of a search may be; of choices the base's own is always one.

    DeepLabV3+'s skip is tapped at a quarter of the blocks, or at the usual one.
    """
    stated = cast(TuningParameters, exp.parameters)
    base: Any = exp.other(stated.base).parameters
    found = {name: SPACE[name] for name in stated.hyperparameters}
    if "skip_block" in found:
        encoder = find(base.backbone).encoder(base.scale)
        quarters = [encoder.depth * k // 4 for k in SPACE["skip_block"].choices]
        found["skip_block"] = Range(choices=tuple(k for k in quarters if k != encoder.skip + 1))
    for name, given in found.items():
        if given.choices:
            own = getattr(base, name)
            found[name] = Range(choices=tuple(dict.fromkeys([own, *given.choices])))
    return found


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
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # what it logs is in the store
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the other one prints folders whatever is asked
    from ray import tune as ray_tune

    stated = cast(TuningParameters, exp.parameters)
    with cluster.connected(stated.parallel, object_store_memory=cluster.OBJECTS):
        objective = ray_tune.with_resources(
            ray_tune.with_parameters(_trial, exp=exp, place=cluster.place()), cluster.resources()
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
    space = {name: distribution(given) for name, given in ranges(exp).items()}
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


def _trial(config: dict[str, Any], exp: "Experiment", place: Mapping[str, str]) -> None:
    """In a worker: a setting from rung to rung, each reported, until Ray stops it."""
    cluster.settle(place)
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


def make(exp: "Experiment", seed: int, folder: Path) -> dict[str, Any]:
    """The best setting's run with a fresh seed, as the search's own; its trials in the record."""
    trials = tune(exp)
    best = exp.other(cast(TuningParameters, exp.parameters).base, **trials[0]["config"])
    return adopted(best, seed, folder) | {"chosen": trials[0]["config"], "trials": trials}


def _base_key(exp: "Experiment", _seed: int) -> dict[str, str]:
    """The key of the base's own setting on the first rung: those of all others follow from the same code."""
    first = setting_of(exp, {}, cast(TuningParameters, exp.parameters).rungs[0])
    return {"base": first.key(first.seeds[0])}


TUNED_BY = (
    "wusu_lib.experiment.search:adopted",
    "wusu_lib.experiment.tuning:SPACE,_search,_strategy,_trial,drawn,judged,make,ranges,setting_of,tune",
)
KIND = Kind(
    schema=TuningParameters,
    told_by=frozenset({"hyperparameters", "trials"}),
    code=(*segmentation.KIND.code, *TUNED_BY),
    packages=(*segmentation.KIND.packages, "ray", "optuna"),
    make=make,
    parts=lambda exp: exp.other(cast(TuningParameters, exp.parameters).base).parts(),
    source=_base_key,
)
