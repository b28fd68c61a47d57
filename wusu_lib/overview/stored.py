"""What is stored: every run, the runs of one setting together, and those that were interrupted."""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from wusu_lib import compare, definitions, legend, runs, tables
from wusu_lib.experiment import defined
from wusu_lib.legend import Background, Scheme
from wusu_lib.parameters import DataParameters
from wusu_lib.runs import Run

# Runs that differ only in these stand in one row: they cannot change a figure.
WITHOUT_EFFECT = DataParameters.without_effect
CHOSEN = ("backbone", "decoder", "adaptation", "normalisation")


def over_seeds(group: Sequence[Run], metric: str, split: str = "val") -> dict[str, float | int]:
    """Mean, spread (standard deviation, NaN with one run) and n of runs that differ in their seed only."""
    figures = pd.Series([run.scores(split, *_protocol(run))[metric] for run in group], dtype=float)
    return {"mean": figures.mean(), "spread": figures.std(), "n": len(figures)}


def _protocol(run: Run) -> tuple[Background, Scheme]:
    return run.parameters.get("background", "ignore"), run.parameters.get("classes", "all")


def _metric(run: Run) -> str:
    """The figure that stands for a run of its kind."""
    size = run.matrices.shape[-1]
    return {legend.N_INDEX: "mIoU", 2: "BCD F1"}.get(size, "Fscd from-to")


def _named(experiment: str, stated: dict[str, Any]) -> dict[str, str]:
    """What a run is called, from how it differs from its notebook, and its conditions where they differ."""
    found = defined(experiment)
    own = None if found is None else found.parameters.model_dump()
    return {
        "experiment": definitions.called({**stated, "name": experiment}, own),
        "conditions": definitions.conditions(stated, own) or tables.MISSING,
    }


def by_setting() -> Styler:
    """The stored runs with their seeds collapsed: one row for the same experiment, parameters and data.

    Where one seed was run more than once, with other code, the latest counts.
    """
    groups: dict[str, dict[int, Run]] = {}
    for run in sorted(runs.find(), key=lambda run: run.record["finished"]):
        stated = {name: value for name, value in run.parameters.items() if name not in WITHOUT_EFFECT}
        data = run.record.get("data", {}).get("fingerprint")
        same = json.dumps([run.experiment, stated, data], sort_keys=True)
        groups.setdefault(same, {})[run.seed] = run
    rows = [_setting(list(group.values())) for _, group in sorted(groups.items())]
    return _sortable(rows, "settings")


def _setting(group: Sequence[Run]) -> dict:
    first = group[0]
    metric = _metric(first)
    return {
        **_named(first.experiment, first.parameters),
        "scale": first.parameters["scale"],
        **{name: first.parameters.get(name, tables.MISSING) for name in CHOSEN},
        "metric": f"val {metric}",
        **over_seeds(group, metric),
        "seeds": ", ".join(str(seed) for seed in sorted(run.seed for run in group)),
    }


def every_run() -> Styler:
    """All complete runs as a sortable table; the interval is the run's own over spatial blocks."""
    return _sortable([_row(run) for run in runs.find()], "every")


def _sortable(rows: list[dict], name: str) -> Styler:
    frame = pd.DataFrame(rows) if rows else pd.DataFrame({"experiment": ["no run is stored"]})
    prose = [column for column in ("conditions",) if column in frame]
    style = tables.styled(frame, name, index=False, prose=prose).format(precision=3, na_rep=tables.MISSING)
    whole = [column for column in ("epochs", "minutes") if column in frame]
    return style.format("{:g}", subset=whole, na_rep=tables.MISSING).set_table_attributes(
        'class="dataframe sortable"'
    )


def _row(run: Run) -> dict:
    stated, metric = run.parameters, _metric(run)
    background, classes = _protocol(run)
    own = compare.interval([run], metric, "val", background, classes)
    tested = (run.confusion["split"] == "test").any()
    return {
        **_named(run.experiment, run.parameters),
        "key": run.key[:8],
        "scale": stated["scale"],
        **{name: stated.get(name, tables.MISSING) for name in CHOSEN},
        "split": stated["split"],
        "background": background,
        "seed": run.seed,
        "epochs": run.record.get("epochs"),
        "metric": metric,
        "val": own.value,
        "95 % interval": f"{own.low:.3f} to {own.high:.3f}",
        "test": run.scores("test", background, classes)[metric] if tested else None,
        "minutes": round(run.record["seconds"] / 60, 1),
        "finished (UTC)": run.record["finished"][:16].replace("T", " "),
    }


def interrupted() -> Styler:
    """Runs that were begun and are not complete."""
    rows = [
        {
            **_named(part.experiment, part.parameters),
            "key": part.key[:8],
            "status": part.status,
            "begun": _begun(part),
        }
        for part in runs.incomplete()
    ]
    frame = pd.DataFrame(rows) if rows else pd.DataFrame({"experiment": ["none"]})
    return tables.styled(frame, "interrupted", index=False)


def _begun(part: runs.Unfinished) -> str:
    return part.record.get("started", tables.MISSING)
