"""Every table of a notebook, as a pandas Styler: formatted, captionless, ready to be a
cell's last expression.
"""

import html
from collections.abc import Sequence
from typing import Literal, get_args, get_origin

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler
from pydantic.fields import FieldInfo

from wusu_lib import patches, reported
from wusu_lib.legend import Background, Scheme

MISSING = "–"


def styled(frame: pd.DataFrame, name: str, *, index: bool = True, prose: Sequence[str] = ()) -> Styler:
    """A frame as the book shows it: left-aligned text, wrapped ``prose`` columns, a stable
    id, sortable classes.
    """
    text = [c for c in frame if not pd.api.types.is_numeric_dtype(frame[c]) and c not in prose]
    classes = pd.DataFrame("", index=frame.index, columns=frame.columns)
    classes[text], classes[list(prose)] = "text", "prose"
    style = frame.style.set_uuid(name).set_table_attributes('class="dataframe"').format(na_rep=MISSING)
    style = style.set_td_classes(classes)
    return style if index else style.hide(axis="index")


def parameters(exp) -> Styler:
    """Every parameter of this run, those of its baseline, and what it means; an arrow marks what differs.

    A notebook states only some of them; the others have their defaults. Above them stands what this run is,
    where it is not its notebook's experiment as committed.
    """
    mine = exp.parameters.model_dump()
    theirs = exp.baseline_parameters()
    frame = pd.DataFrame({"value": {k: _plain(v) for k, v in mine.items()}})
    if theirs is not None:
        other = theirs.model_dump()
        frame[f"in {theirs.name}"] = [_beside(v, other, k) for k, v in mine.items()]
    frame["meaning"] = [_meaning(type(exp.parameters).model_fields[k]) for k in mine]
    frame.index.name = "parameter"
    style = styled(frame, "parameters", prose=list(frame))
    return style.set_caption(html.escape(" ".join(exp.notes))) if exp.notes else style


def _meaning(field: FieldInfo) -> str:
    """What a parameter says, with its allowed values where they are a closed choice."""
    allowed = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return f"{field.description} ({', '.join(allowed)})" if allowed else str(field.description)


def _plain(value) -> str:
    return MISSING if value == "" else str(value)


def _beside(value, other: dict, key: str) -> str:
    """The baseline's value where it differs, "same" where it does not."""
    if key not in other:
        return MISSING
    return "same" if other[key] == value else f"← {_plain(other[key])}"


def problems(exp, most: int = 20) -> Styler:
    """What the check of the files found, the worst first, at most ``most`` rows."""
    order = {"error": 0, "warning": 1, "note": 2}
    found = exp.dossier.problems.sort_values("severity", key=lambda s: s.map(order), kind="stable")
    frame = found[["severity", "problem", "file", "detail", "count"]].head(most)
    if found.empty:
        frame = pd.DataFrame([{"severity": "none", "problem": "no problem was found"}])
    return styled(frame, "problems", index=False, prose=[c for c in ("detail",) if c in frame])


def shared_ground(exp) -> Styler:
    """Share of the validation ground that is also in training or in test, for each way to divide the data."""
    rows = {}
    for scheme in ("blocks", "study", "folders"):
        table = patches.assign(exp.dossier.table, scheme, exp.dossier.overlaps)
        share = exp.dossier.overlaps.share(table)
        used = table.groupby("split")["site"].nunique()
        rows[scheme] = {
            "sites: train": used.get("train", 0),
            "val": used.get("val", 0),
            "test": used.get("test", 0),
            "val also in train": _share(share, "val", "train"),
            "val also in test": _share(share, "val", "test"),
        }
    frame = pd.DataFrame(rows).T
    frame.index.name = "split"
    style = styled(frame, "shared")
    return style.format("{:.0f}", subset=list(frame)[:3]).format(
        "{:.1%}", subset=list(frame)[3:], na_rep=MISSING
    )


def _share(share: pd.DataFrame, split: str, other: str) -> float:
    return share.loc[split, other] if split in share.index and other in share.columns else np.nan


def bands(exp) -> Styler:
    """Mean and standard deviation of each band on the training images by date and together,
    counts 0 to 255.
    """
    measured = exp.statistics
    frame = measured.by_date()
    rows = {
        f"20{date:02d}": dict(zip(part["band"], zip(part["mean"], part["std"], strict=True), strict=True))
        for date, part in frame.groupby("date")
    }
    rows["all dates"] = dict(
        zip(rows[next(iter(rows))], zip(measured.mean(), measured.std(), strict=True), strict=True)
    )
    text = {
        name: {band: f"{255 * m:.1f} ± {255 * s:.1f}" for band, (m, s) in row.items()}
        for name, row in rows.items()
    }
    out = pd.DataFrame(text).T
    out.index.name = "mean ± standard deviation"
    return styled(out, "bands")


def ten_columns(
    runs: Sequence, baseline: Sequence = (), background: Background = "ignore", classes: Scheme = "all"
) -> Styler:
    """The study's ten columns: this experiment, its baseline, and what the study reported.

    The study reported on the experiments as they are defined, so a variant has no such row.

    Mean over the seeds; with several seeds ± their standard deviation. Training and validation, metrics
    pooled over the patches of the split, protocol ``background``, with ``classes="merged"`` in the merged
    label space for both sides (the loss stays that of the training). Reported figures that are not plausible
    carry a dagger.
    """
    rows = {group[0].called: ten_row(group, background, classes) for group in (runs, baseline) if len(group)}
    for name in list(rows):
        if name in reported.table().index:
            rows[f"{name}, reported"] = reported_row(name)
    frame = by_split(pd.DataFrame(rows).T)
    frame.index.name = f"background: {background}" + (", classes merged" if classes == "merged" else "")
    return styled(frame, "ten")


def by_split(frame: pd.DataFrame) -> pd.DataFrame:
    """The ten columns under two headings, train and val, so that they fit a page."""
    ordered = frame[list(reported.COLUMNS)]
    ordered.columns = pd.MultiIndex.from_tuples([tuple(c.split("/")) for c in reported.COLUMNS])
    return ordered


def ten_row(runs: Sequence, background: Background = "ignore", classes: Scheme = "all") -> dict[str, str]:
    """One row: the ten figures of some runs that differ in their seed only."""
    scores = pd.DataFrame(
        [
            {
                f"{split}/{c}": v
                for split in ("train", "val")
                for c, v in run.scores(split, background, classes).items()
            }
            for run in runs
        ]
    )
    mean, spread = scores.mean(), scores.std()
    return {c: _with_spread(mean[c], spread[c]) for c in reported.COLUMNS}


def _with_spread(mean: float, spread: float) -> str:
    if np.isnan(mean):
        return MISSING
    return f"{mean:.3f}" if np.isnan(spread) else f"{mean:.3f} ± {spread:.3f}"


def reported_row(name: str) -> dict[str, str]:
    """One row of the study's figures as printed, daggers on the implausible ones."""
    row, flags = reported.table().loc[name], reported.flags()
    doubtful = set(flags.loc[flags["experiment"] == name, "column"])
    return {c: f"{row[c]:g}" + (" †" if c in doubtful else "") for c in reported.COLUMNS}


def provenance(runs: Sequence, baseline: Sequence = ()) -> Styler:
    """One row a run: key, seed, when, where, how long, how much memory, which code."""
    every = {run.key: run for run in [*baseline, *runs]}  # each run once, called as it is on this page
    listed = [every.pop(run.key) for run in [*runs, *baseline] if run.key in every]
    frame = pd.DataFrame([_origin(run) for run in listed]).set_index("run")
    return styled(frame, "provenance").format(precision=1)


def _origin(run) -> dict:
    record = run.record
    return {
        "run": f"{run.experiment}/{run.key}",
        "experiment": run.called,
        "seed": run.seed,
        "scale": run.parameters["scale"],
        "finished (UTC)": record["finished"],
        "minutes": round(record["seconds"] / 60, 1),
        "peak memory, GB": round(record["peak_memory_bytes"] / 1e9, 1),
        "device": record["device"],
        "commit": _commit(record),
        "code": f"made with other code: {', '.join(run.differs)}" if run.differs else "as here",
    }


def _commit(record: dict) -> str:
    git = record["git"]
    if git["commit"] is None:
        return "no repository"
    return git["commit"][:8] + (" + changes" if git["dirty"] else "")
