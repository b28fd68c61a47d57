"""The log at a glance, from stored records only: status, effects, reported beside reproduced, every run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from wusu_lib import compare, experiment, figures, reported, runs, sentences, tables
from wusu_lib.experiment import NOTEBOOKS, Experiment
from wusu_lib.legend import Background
from wusu_lib.provenance import REPOSITORY
from wusu_lib.runs import Run

PARAMS = REPOSITORY / "params"


@dataclass(frozen=True)
class Entry:
    """One notebook of the log with what is stored of it. Without runs there is no verdict."""

    exp: Experiment
    title: str
    runs: Sequence[Run]
    difference: compare.Difference | None = None
    verdict: compare.Verdict | None = None


def collect(overlay: str = "demo", data_root: str = "") -> list[Entry]:
    """Every experiment's notebook with its stored runs at its present parameters; nothing is trained.

    ``overlay``: the file that papermill's -f was given: a name in ``params/`` or a path. Raises
    FileNotFoundError naming those in ``params/`` for any other.
    """
    path = Path(overlay) if Path(overlay).suffix else PARAMS / f"{overlay}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PARAMS.glob("*.yaml")))
        raise FileNotFoundError(f"overlay: {path} is not there; known: {known}, or the path of a YAML file")
    changed = {**yaml.safe_load(path.read_text()), "data_root": data_root}
    return [_entry(path.stem, changed) for path in sorted(NOTEBOOKS.glob("exp*.ipynb"))]


def _entry(name: str, changed: dict[str, Any]) -> Entry:
    exp = experiment.open_notebook(name, **changed)
    stored, reference = exp.stored(), exp.reference()
    baseline = reference.stored() if reference else []
    if len(stored) < len(exp.seeds) or len(baseline) < len(exp.seeds):
        return Entry(exp, _title(name), stored)
    return Entry(exp, _title(name), stored, *exp.judge(stored, baseline))


def _title(name: str) -> str:
    """The question in a notebook's first heading, without its number."""
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]
    heading = "".join(cells[0]["source"]).splitlines()[0]
    question = heading.lstrip("# ").split(": ", 1)[-1]
    return question[0].upper() + question[1:]


def status_board(log: Sequence[Entry]) -> Styler:
    """One row an experiment: question, state, figures, outcome."""
    rows = [
        {
            "experiment": entry.exp.name,
            "question": entry.title,
            "state": _state(entry),
            "val mIoU": _mean(entry.runs, "val", "mIoU"),
            "against": str(entry.exp.prediction.baseline) if entry.exp.prediction else tables.MISSING,
            "verdict": entry.verdict.outcome if entry.verdict else tables.MISSING,
        }
        for entry in log
    ]
    return tables.styled(pd.DataFrame(rows), "board", index=False, prose=["question"]).format(
        precision=3, na_rep=tables.MISSING
    )


def _state(entry: Entry) -> str:
    done, wanted = len(entry.runs), len(entry.exp.seeds)
    if done == wanted:
        return f"run ({entry.exp.parameters.scale})"
    return "not run" if done == 0 else f"{done} of {wanted} seeds run"


def _mean(group: Sequence[Run], split: str, metric: str) -> float:
    """Mean over the seeds of one figure, NaN where nothing is stored."""
    background: Background = group[0].parameters["background"] if group else "ignore"
    return pd.Series([run.scores(split, background)[metric] for run in group], dtype=float).mean()


def effects(log: Sequence[Entry]) -> pd.DataFrame:
    """One row an experiment that has a verdict: experiment, value, low, high, threshold (signed), outcome."""
    judged = [(entry, entry.difference, entry.verdict, entry.exp.prediction) for entry in log]
    return pd.DataFrame(
        [
            {
                "experiment": f"{entry.exp.name} − {stated.baseline}",
                "value": difference.value,
                "low": difference.low,
                "high": difference.high,
                "threshold": stated.threshold if stated.direction == "rises" else -stated.threshold,
                "outcome": verdict.outcome,
            }
            for entry, difference, verdict, stated in judged
            if difference and verdict and stated
        ]
    )


def effects_figure(log: Sequence[Entry]) -> Any:
    """Forest plot of ``effects``; a sentence where there is nothing to draw."""
    rows = effects(log)
    return Markdown("There is nothing to draw yet.") if rows.empty else figures.forest(rows)


def effects_sentence(log: Sequence[Entry]) -> Markdown:
    """How many predictions were supported, refuted or left open, and at which scale."""
    outcomes = [entry.verdict.outcome for entry in log if entry.verdict]
    words = [
        f"{n} {outcome}"
        for outcome in ("supported", "refuted", "inconclusive")
        if (n := outcomes.count(outcome))
    ]
    demo = any(entry.verdict.demo for entry in log if entry.verdict)
    note = f" {compare.DEMO}" if demo else ""
    return Markdown(
        f"Of {sentences.counted(len(outcomes), 'prediction')}, {sentences.listed(words)}.{note}"
        if outcomes
        else "No experiment has been run with its present parameters, so there is no verdict yet."
    )


def reported_table(log: Sequence[Entry]) -> Styler:
    """The study's ten columns and this log's, one above the other for each experiment that reported any."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    names = {entry.exp.name: entry for entry in log}
    for name in reported.table().index:
        rows[name, "study"] = tables.reported_row(name)
        if name in names and names[name].runs:
            rows[name, "this log"] = tables.ten_row(names[name].runs)
    frame = tables.by_split(pd.DataFrame.from_dict(rows, orient="index"))
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["experiment", "source"])
    return tables.styled(frame, "reported")


def reported_notes() -> Markdown:
    """What is wrong with single figures of the study, and what its rows can be compared with."""
    flags = reported.flags().groupby("reason", sort=False)
    doubts = [
        f"- † {sentences.listed(list(part['column']))} of {part['experiment'].iloc[0]}: {reason}."
        for reason, part in flags
    ]
    alike = reported.comparability().groupby(reported.comparability(), sort=False).groups
    notes = [f"- {sentences.listed(list(names))}: {text}" for text, names in alike.items()]
    return Markdown("\n".join([*doubts, *notes]))


def every_run() -> Styler:
    """All complete runs as a sortable table; the interval is the run's own over spatial blocks."""
    rows = [_row(run) for run in runs.find()]
    frame = pd.DataFrame(rows) if rows else pd.DataFrame({"experiment": ["no run is stored"]})
    style = tables.styled(frame, "every", index=False).format(precision=3, na_rep=tables.MISSING)
    whole = [column for column in ("epochs", "minutes") if column in frame]
    return style.format("{:g}", subset=whole, na_rep=tables.MISSING).set_table_attributes(
        'class="dataframe sortable"'
    )


def _row(run: Run) -> dict:
    stated = run.parameters
    own = compare.interval([run], "mIoU", "val", stated["background"])
    chosen = ("backbone", "decoder", "adaptation", "normalisation")
    return {
        "experiment": run.experiment,
        "key": run.key[:8],
        "scale": stated["scale"],
        **{name: stated.get(name, tables.MISSING) for name in chosen},
        "split": stated["split"],
        "background": stated["background"],
        "seed": run.seed,
        "epochs": run.record.get("epochs"),
        "val mIoU": own.value,
        "95 % interval": f"{own.low:.3f} to {own.high:.3f}",
        "test mIoU": _mean([run], "test", "mIoU") if (run.confusion["split"] == "test").any() else None,
        "minutes": round(run.record["seconds"] / 60, 1),
        "finished (UTC)": run.record["finished"][:16].replace("T", " "),
    }


def interrupted() -> Styler:
    """Runs that were begun and are not complete."""
    rows = [
        {"experiment": part.experiment, "key": part.key[:8], "status": part.status, "begun": _begun(part)}
        for part in runs.incomplete()
    ]
    frame = pd.DataFrame(rows) if rows else pd.DataFrame({"experiment": ["none"]})
    return tables.styled(frame, "interrupted", index=False)


def _begun(part: runs.Unfinished) -> str:
    return part.record.get("started", tables.MISSING)
