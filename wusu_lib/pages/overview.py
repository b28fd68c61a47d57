"""The log at a glance, from stored records only: status, effects, reported beside reproduced, every run."""

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pandas.io.formats.style import Styler

from wusu_lib import legend, provenance
from wusu_lib.experiment import experiment, notebooks
from wusu_lib.experiment.experiment import Experiment, defined
from wusu_lib.experiment.notebooks import Definition
from wusu_lib.experiment.parameters import DataParameters
from wusu_lib.files import as_typed
from wusu_lib.measures import classes, comparison
from wusu_lib.measures.verdict import DEMO, Prediction, Verdict, holm
from wusu_lib.pages import differences, results
from wusu_lib.pages.style import MISSING, Sentence, counted, judged_in, listed, styled_table
from wusu_lib.runs import store
from wusu_lib.runs.store import Run


@dataclass(frozen=True)
class Entry:
    """One notebook of the log with what is stored of it. Without runs there is no verdict."""

    exp: Experiment
    title: str
    runs: Sequence[Run]
    difference: comparison.Difference | None = None
    verdict: Verdict | None = None

    @property
    def metric(self) -> str:
        """The figure that stands for it in a table: mIoU of class maps, else the one predicted."""
        stated = self.exp.comparison
        return "mIoU" if stated is None or stated.metric in classes.METRICS else stated.metric


def collect(overlay: str = "demo", data_root: str = "") -> list[Entry]:
    """Every experiment's notebook with its stored runs at its present parameters; nothing is trained.

    ``overlay``: the file that papermill's -f was given: a name in ``params/`` or a path. Raises
    FileNotFoundError naming those in ``params/`` for any other.
    """
    changed = overlaid(overlay, data_root)
    return [_entry(path.stem, changed) for path in experiment.notebook_files()]


def overlaid(overlay: str = "demo", data_root: str = "") -> dict[str, Any]:
    """The parameters that a file of ``params/`` states, and where the data are; arguments and errors as of
    ``collect``.
    """
    params = provenance.repository() / "params"
    overlay = as_typed(overlay, "overlay")
    path = Path(overlay) if Path(overlay).suffix else params / f"{overlay}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in params.glob("*.yaml")))
        raise FileNotFoundError(f"overlay: {path} is not there; known: {known}, or the path of a YAML file")
    return {**yaml.safe_load(path.read_text(encoding="utf-8")), "data_root": data_root}


def _entry(name: str, changed: dict[str, Any]) -> Entry:
    exp = experiment.open_notebook(name, **changed)
    stored, reference = exp.stored(), exp.reference()
    baseline = reference.stored() if reference else []
    if len(stored) < len(exp.seeds) or len(baseline) < len(exp.seeds):
        return Entry(exp, question(name), stored)
    return Entry(exp, question(name), stored, *exp.judge(stored, baseline))


def question(name: str) -> str:
    """The question in a notebook's first heading, without its number."""
    cells = json.loads(experiment.notebook(name).read_text(encoding="utf-8"))["cells"]
    heading = "".join(cells[0]["source"]).splitlines()[0]
    asked = heading.lstrip("# ").split(": ", 1)[-1]
    return asked[0].upper() + asked[1:]


# What is stored: every run, the runs of one setting together, and those that were interrupted.

# Runs that differ only in these stand in one row: they cannot change a figure.
WITHOUT_EFFECT = DataParameters.without_effect
CHOSEN = ("backbone", "decoder", "adaptation", "normalisation")


def over_seeds(group: Sequence[Run], metric: str, split: str = "val") -> dict[str, float | int]:
    """Mean, spread (standard deviation, NaN with one run) and n of runs that differ in their seed only."""
    figures = pd.Series([run.scores(split)[metric] for run in group], dtype=float)
    return {"mean": figures.mean(), "spread": figures.std(), "n": len(figures)}


def _metric(run: Run) -> str:
    """The figure that stands for a run of its kind."""
    size = run.matrices.shape[-1]
    return {legend.N_INDEX: "mIoU", 2: "BCD F1"}.get(size, "Fscd from-to")


def _named(experiment: str, stated: dict[str, Any]) -> dict[str, str]:
    """What a run is called, from how it differs from its notebook, and its conditions where they differ."""
    found = defined(experiment)
    own = None if found is None else found.parameters.model_dump()
    return {
        "experiment": notebooks.called({**stated, "name": experiment}, own),
        "conditions": notebooks.conditions(stated, own) or MISSING,
    }


def by_setting() -> Styler:
    """The stored runs with their seeds collapsed: one row for the same experiment, parameters and data.

    Where one seed was run more than once, with other code, the latest counts.
    """
    groups: dict[str, dict[int, Run]] = {}
    for run in sorted(store.find(), key=lambda run: run.record["finished"]):
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
        **{name: first.parameters.get(name, MISSING) for name in CHOSEN},
        "metric": f"val {metric}",
        **over_seeds(group, metric),
        "seeds": ", ".join(str(seed) for seed in sorted(run.seed for run in group)),
    }


def every_run() -> Styler:
    """All complete runs as a sortable table; the interval is the run's own over spatial blocks."""
    return _sortable([_row(run) for run in store.find()], "every")


def _sortable(rows: list[dict], name: str) -> Styler:
    frame = pd.DataFrame(rows) if rows else pd.DataFrame({"experiment": ["no run is stored"]})
    prose = [column for column in ("conditions",) if column in frame]
    style = styled_table(frame, name, index=False, prose=prose).format(precision=3, na_rep=MISSING)
    whole = [column for column in ("epochs", "minutes") if column in frame]
    return style.format("{:g}", subset=whole, na_rep=MISSING).set_table_attributes(
        'class="dataframe sortable"'
    )


def _row(run: Run) -> dict:
    stated, metric = run.parameters, _metric(run)
    own = comparison.interval([run], metric, "val", run.labels)
    tested = (run.confusion["split"] == "test").any()
    return {
        **_named(run.experiment, run.parameters),
        "key": run.key[:8],
        "scale": stated["scale"],
        **{name: stated.get(name, MISSING) for name in CHOSEN},
        "split": stated["split"],
        "background": run.labels.background,
        "seed": run.seed,
        "epochs": run.record.get("epochs"),
        "metric": metric,
        "val": own.value,
        "95 % interval": f"{own.low:.3f} to {own.high:.3f}",
        "test": run.scores("test")[metric] if tested else None,
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
            "begun": part.record.get("started", MISSING),
        }
        for part in store.incomplete()
    ]
    frame = pd.DataFrame(rows) if rows else pd.DataFrame({"experiment": ["none"]})
    return styled_table(frame, "interrupted", index=False)


# One row an experiment: its question, how far it is, what came out.


def status_board(log: Sequence[Entry]) -> Styler:
    """One row an experiment: question, outcome, figure on the validation patches over the seeds, state.

    looks: how often the data were asked, every seed, budget, variant and restated prediction counted.
    ``notebook``: whether its file states what is committed, and if not, in what it differs.
    """
    rows = [
        {
            "experiment": entry.exp.called,
            "question": entry.title,
            "verdict": (entry.verdict and entry.verdict.word) or MISSING,
            "against": entry.exp.comparison.baseline if entry.exp.comparison else MISSING,
            "metric": f"val {entry.metric}",
            **over_seeds(entry.runs, entry.metric),
            "state": _state(entry),
            "looks": entry.verdict.looks if entry.verdict else None,
            "notebook": _notebook(entry.exp.definition),
        }
        for entry in log
    ]
    return (
        styled_table(pd.DataFrame(rows), "board", index=False, prose=["question", "notebook"])
        .format(precision=3, na_rep=MISSING)
        .format("{:.0f}", subset=["looks"], na_rep=MISSING)
    )


def _notebook(definition: Definition | None) -> str:
    """How the notebook's file stands to the definition."""
    if definition is None or not definition.committed:
        return "not committed"
    return f"edited: {'; '.join(definition.edited)}" if definition.edited else "as committed"


def _state(entry: Entry) -> str:
    done, wanted = len(entry.runs), len(entry.exp.seeds)
    if done == wanted:
        return f"run ({entry.exp.parameters.scale})"
    return "not run" if done == 0 else f"{done} of {wanted} seeds run"


# Every experiment against its baseline: differences, what of them stands together, what was predicted.

ERROR_RATE = 0.05  # chance of one false finding in the whole log


def effects(log: Sequence[Entry]) -> pd.DataFrame:
    """One row an experiment that has a verdict; together they are the family of Holm's adjustment.

    Columns: experiment, metric, value, low, high, spread, threshold (signed), outcome, p, p_holm, stands
    (p_holm under 0.05), patches, blocks, seeds.
    """
    judged = [(entry, entry.difference, entry.verdict, entry.exp.prediction) for entry in log]
    rows = pd.DataFrame(
        [
            {
                "experiment": f"{entry.exp.called} − {stated.baseline}",
                "metric": f"{difference.split} {difference.metric}",
                "value": difference.value,
                "low": difference.low,
                "high": difference.high,
                "spread": np.nan if difference.spread is None else difference.spread,
                "threshold": stated.threshold if stated.direction == "rises" else -stated.threshold,
                "outcome": verdict.outcome,
                "p": difference.p_value,
                "patches": difference.n_patches,
                "blocks": difference.n_blocks,
                "seeds": difference.n_seeds,
            }
            for entry, difference, verdict, stated in judged
            if difference and verdict and stated
        ]
    )
    if rows.empty:
        return rows
    adjusted = holm(rows["p"])
    return rows.assign(p_holm=adjusted, stands=adjusted < ERROR_RATE)


def effects_figure(log: Sequence[Entry]) -> Any:
    """Forest plot of ``effects``; a sentence where there is nothing to draw."""
    rows = effects(log)
    return Sentence("There is nothing to draw yet.") if rows.empty else differences.forest_figure(rows)


def effects_table(log: Sequence[Entry]) -> Styler:
    """``effects`` in words and numbers, with every n."""
    rows = effects(log)
    if rows.empty:
        return styled_table(pd.DataFrame({"experiment": ["no verdict yet"]}), "effects", index=False)
    shown = pd.DataFrame(
        {
            "experiment": rows["experiment"],
            "metric": rows["metric"],
            "difference": rows["value"].map("{:+.3f}".format),
            "95 % interval": [_ends(row.low, row.high) for row in rows.itertuples()],
            "spread over seeds": rows["spread"],
            "predicted": rows["threshold"].map("{:+.3f}".format),
            "verdict": rows["outcome"],
            "p": rows["p"],
            "p after Holm": rows["p_holm"],
            "differs after Holm": rows["stands"].map({True: "yes", False: "no"}),
            "patches": rows["patches"],
            "blocks": rows["blocks"],
            "seeds": rows["seeds"],
        }
    )
    style = styled_table(shown, "effects", index=False).format(precision=3, na_rep=MISSING)
    small = ["p", "p after Holm"]
    return style.format("{:.4f}", subset=small, na_rep=MISSING)


def _ends(low: float, high: float) -> str:
    return MISSING if np.isnan(low) else f"{low:+.3f} to {high:+.3f}"


def effects_sentence(log: Sequence[Entry]) -> Sentence:
    """How many predictions were supported, refuted or left open, what differs at all, and at which scale."""
    rows = effects(log)
    if rows.empty:
        return Sentence("No experiment has been run with its present parameters, so there is no verdict yet.")
    outcomes = rows["outcome"].tolist()
    words = [
        f"{n} {outcome}"
        for outcome in ("supported", "refuted", "inconclusive")
        if (n := outcomes.count(outcome))
    ]
    standing = rows.loc[rows["stands"], "experiment"].tolist()
    differs = f"{listed(standing)}" if standing else "none"
    demo = any(entry.verdict.demo for entry in log if entry.verdict)
    note = f" {DEMO}" if demo else ""
    return Sentence(
        f"Of {counted(len(outcomes), 'prediction')}, {listed(words)}. Differences from 0 "
        f"that stand when all are asked at once (Holm, 5 %): {differs}.{note}"
    )


# The study's figures as reported, beside those of this log.


def reported_table(log: Sequence[Entry]) -> Styler:
    """The study's ten columns and this log's, one above the other for each experiment that reported any."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    names = {entry.exp.called: entry for entry in log}
    for name in results.reported_figures().index:
        rows[name, "study"] = results.reported_row(name)
        if name in names and names[name].runs:
            runs = names[name].runs
            rows[name, "this log"] = results.ten_row(runs, judged_in(runs))
    frame = results.by_split(pd.DataFrame.from_dict(rows, orient="index"))
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["experiment", "source"])
    return styled_table(frame, "reported")


def reported_notes() -> Sentence:
    """What is wrong with single figures of the study, and what its rows can be compared with."""
    flags = results.reported_flags().groupby("reason", sort=False)
    doubts = [
        f"- † {listed(list(part['column']))} of {part['experiment'].iloc[0]}: {reason}."
        for reason, part in flags
    ]
    alike = results.reported_comparability().groupby(results.reported_comparability(), sort=False).groups
    notes = [f"- {listed(list(names))}: {text}" for text, names in alike.items()]
    return Sentence("\n".join([*doubts, *notes]))


# The road map: the question of every experiment, by phase, from the notebooks and the table of contents.


def phases() -> dict[str, str]:
    """The part of the book that each notebook's page is in: exp05 -> "Phase 2: architecture".

    The table of contents is the one place that tells an experiment's phase.
    """
    parts = yaml.safe_load((provenance.repository() / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    pages = {chapter["file"]: part["caption"] for part in parts for chapter in part["chapters"]}
    return {page.rsplit("/", 1)[1]: phase for page, phase in pages.items() if page.startswith("book/log/")}


def roadmap() -> Styler:
    """One row an experiment: phase, number (a link from a page in ``book/``), question, baseline.

    Experiments come in the order of the table of contents, those that are no page of it last.
    """
    pages = phases()
    order = {name: place for place, name in enumerate(pages)}
    names = [path.stem for path in experiment.notebook_files()]
    names.sort(key=lambda name: order.get(name, len(order)))
    index = [(pages.get(name, "not in the book"), _linked(name, name in pages)) for name in names]
    frame = pd.DataFrame(
        {
            "question": [question(name) for name in names],
            "compared with": [_baseline(name) for name in names],
        },
        index=pd.MultiIndex.from_tuples(index, names=["phase", "experiment"]),
    )
    return styled_table(frame, "roadmap", prose=["question"]).format_index(str, axis=0, level="experiment")


def number(name: str) -> str:
    """An experiment's number as prose has it: 5 for exp05."""
    return name.removeprefix("exp").lstrip("0") or "0"


def _linked(name: str, page: bool) -> str:
    """The number as HTML, whatever letters a notebook's name has."""
    shown = html.escape(number(name))
    return f'<a href="log/{html.escape(name)}.html">{shown}</a>' if page else shown


def _baseline(name: str) -> str:
    """Number of the experiment that the prediction names; a dash for one that is compared with nothing."""
    stated = getattr(notebooks.from_notebook(experiment.notebook(name)), "prediction", None)
    return MISSING if stated is None else number(Prediction.parse(stated).baseline)
