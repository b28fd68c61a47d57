"""Every experiment against its baseline: differences, what of them stands together, what was predicted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from wusu_lib import compare, figures, sentences, tables
from wusu_lib.overview.log import Entry

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
    adjusted = compare.holm(rows["p"])
    return rows.assign(p_holm=adjusted, stands=adjusted < ERROR_RATE)


def effects_figure(log: Sequence[Entry]) -> Any:
    """Forest plot of ``effects``; a sentence where there is nothing to draw."""
    rows = effects(log)
    return Markdown("There is nothing to draw yet.") if rows.empty else figures.forest(rows)


def effects_table(log: Sequence[Entry]) -> Styler:
    """``effects`` in words and numbers, with every n."""
    rows = effects(log)
    if rows.empty:
        return tables.styled(pd.DataFrame({"experiment": ["no verdict yet"]}), "effects", index=False)
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
    style = tables.styled(shown, "effects", index=False).format(precision=3, na_rep=tables.MISSING)
    small = ["p", "p after Holm"]
    return style.format("{:.4f}", subset=small, na_rep=tables.MISSING)


def _ends(low: float, high: float) -> str:
    return tables.MISSING if np.isnan(low) else f"{low:+.3f} to {high:+.3f}"


def effects_sentence(log: Sequence[Entry]) -> Markdown:
    """How many predictions were supported, refuted or left open, what differs at all, and at which scale."""
    rows = effects(log)
    if rows.empty:
        return Markdown("No experiment has been run with its present parameters, so there is no verdict yet.")
    outcomes = rows["outcome"].tolist()
    words = [
        f"{n} {outcome}"
        for outcome in ("supported", "refuted", "inconclusive")
        if (n := outcomes.count(outcome))
    ]
    standing = rows.loc[rows["stands"], "experiment"].tolist()
    differs = f"{sentences.listed(standing)}" if standing else "none"
    demo = any(entry.verdict.demo for entry in log if entry.verdict)
    note = f" {compare.DEMO}" if demo else ""
    return Markdown(
        f"Of {sentences.counted(len(outcomes), 'prediction')}, {sentences.listed(words)}. Differences from 0 "
        f"that stand when all are asked at once (Holm, 5 %): {differs}.{note}"
    )
