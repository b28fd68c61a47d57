"""Sentences about two-stage change: source, figures, steps, transitions, targets, errors, chains."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from IPython.display import Markdown

from wusu_lib.change import errors, targets
from wusu_lib.change.measures import transitions
from wusu_lib.change.tables import CHAIN_SOURCES, SPLITS, chain_counts
from wusu_lib.change.tables import pooled as figures_of
from wusu_lib.sentences.words import counted, listed


def two_stage_source(runs: Sequence) -> Markdown:
    """Whose maps are compared, and how far the change masks agree with the class masks."""
    record = runs[0].record
    masks = [
        f"{found['agreement']:.1%} of the pixels of the {kind.upper()} masks"
        for kind, found in record["annotation"].items()
    ]
    return Markdown(
        f"The maps are those of **{record['source']['experiment']}**. Truth is made of the class masks of "
        f"both dates; through the learnt [code book](codes.ipynb) it agrees with {listed(masks)}."
    )


def two_stage_figures(runs: Sequence, baseline: Sequence) -> Markdown:
    """F1 of change and Fscd in both conventions, against the baseline, on the validation pairs."""
    mine, theirs = figures_of(runs, "val"), figures_of(baseline, "val")
    names = ("BCD F1", "Fscd per date", "Fscd from-to")
    words = [f"{name} is {mine[name]:.3f} against {theirs[name]:.3f}" for name in names]
    share = mine["BCD precision"]
    return Markdown(
        f"On the validation pairs {listed(words)} of **{baseline[0].called}**. Of the pixels "
        f"that are claimed to have changed, {share:.0%} did; of those that changed, "
        f"{mine['BCD recall']:.0%} are claimed. The two conventions differ because a "
        "transition has to be right at both dates at once."
    )


def two_stage_settings(runs: Sequence) -> Markdown:
    """The chosen settings, and whether a choice lies at the end of what was tried."""
    stated, words = runs[0].parameters, []
    for run in runs:
        chosen, best = run.record["settings"], _best(run.record["trials"])
        share = best.get("unit_share", stated["unit_shares"][0])
        words.append(
            f"Slivers are up to {counted(chosen['tolerance'], 'pixel')} wide, smaller areas may hold "
            f"{share:.1%} of a class's true change, and the prior is smoothed by "
            f"{chosen['smoothing']:,.0f} pixels."
        )
        tried = {"tolerance": "tolerances", "smoothing": "smoothings", "unit_share": "unit_shares"}
        ends = [
            step.replace("_", " ")
            for step, name in tried.items()
            if step in best and len(stated[name]) > 1 and best[step] in (min(stated[name]), max(stated[name]))
        ]
        verb = "lies" if len(ends) == 1 else "lie"
        words.append(f"The best {listed(ends)} {verb} at an end of what was tried." if ends else "")
    return Markdown(" ".join(words))


def _best(trials: list[dict]) -> dict[str, float]:
    """Value with the highest figure by step."""
    found: dict[str, dict] = {}
    for trial in trials:
        if trial["step"] not in found or trial["figure"] > found[trial["step"]]["figure"]:
            found[trial["step"]] = trial
    return {step: trial["value"] for step, trial in found.items()}


def two_stage_gains(gains: pd.DataFrame) -> Markdown:
    """Which steps help, which harm and which leave it open, by split; and MAP decoding against argmax."""
    words = []
    for split, part in gains.groupby("split", sort=False):
        kinds = {
            "surely raised the figure": part["low"] > 0,
            "surely lowered it": part["high"] < 0,
            "may do either, as zero lies inside the interval": (part["low"] <= 0) & (part["high"] >= 0),
        }
        said = [f"{int(which.sum())} {verb}" for verb, which in kinds.items() if which.any()]
        words.append(f"Of {len(part)} steps on {SPLITS[str(split)]}, {listed(said)}.")
    decoded = gains[(gains["step"] == "map")]
    moved = [
        f"{row.value:+.3f} ({row.low:+.3f} to {row.high:+.3f}) on {SPLITS[row.split]}"
        for row in decoded.itertuples()
    ]
    return Markdown(
        f"{' '.join(words)} Decoding two dates together instead of taking each date's likeliest class "
        f"changes the figure by {listed(moved)}. The settings were chosen on validation, so its gains are "
        "flattered; those on test are not."
    )


def change_flows(matrix: np.ndarray) -> Markdown:
    """How much changed in truth and prediction, and the largest flow of each."""
    sides = {"Annotated": matrix.sum(axis=1), "Predicted": matrix.sum(axis=0)}
    names = transitions(matrix)["name"]
    words = []
    for side, pixels in sides.items():
        total, top = int(pixels[1:].sum()), int(pixels[1:].argmax()) + 1
        largest = f"; the largest flow is {names[top].lower()} ({pixels[top] / total:.0%})" if total else ""
        words.append(f"{side} change covers {total / matrix.sum():.1%} of the labelled ground{largest}.")
    return Markdown(" ".join(words))


def change_transitions(matrix: np.ndarray) -> Markdown:
    """How many transitions occur, how many are found at all, and the best of them."""
    table = transitions(matrix).iloc[1:]
    real = table[table["support"] > 0]
    found = real[real["IoU"] > 0]
    invented = table[(table["support"] == 0) & (table["predicted"] > 0)]
    best = [f"{row.name_.lower()} ({row.IoU:.2f})" for row in _top(found)]
    named = f" The best are {listed(best)}." if best else ""
    return Markdown(
        f"{counted(len(real), 'transition')} of 110 occur in the annotation of the validation pairs, and "
        f"{len(found)} of them are found on some pixel.{named} {counted(len(invented), 'transition')} "
        "that the annotation does not have "
        f"{'is' if len(invented) == 1 else 'are'} claimed on {int(invented['predicted'].sum()):,} pixels."
    )


def _top(found: pd.DataFrame, most: int = 3) -> list:
    return list(
        found.sort_values("IoU", ascending=False).head(most).rename(columns={"name": "name_"}).itertuples()
    )


def change_targets(runs: Sequence, pairs: pd.DataFrame) -> Markdown:
    """How much of each target is found, and how much of what is claimed is none, over all of the pairs."""
    words = []
    for target, row in targets.counts(runs, pairs).iterrows():
        real, claimed = int(row["found"] + row["missed"]), int(row["found"] + row["false"])
        if not real:
            words.append(f"{target}: none in the annotation, {claimed:,} pixels claimed.")
            continue
        right = (
            f"; {row['found'] / claimed:.0%} of what is claimed is right" if claimed else "; none is claimed"
        )
        words.append(f"{target}: {row['found'] / real:.0%} of {real:,} pixels are found{right}.")
    return Markdown("Over all validation pairs. " + " ".join(words))


def change_errors(runs: Sequence) -> Markdown:
    """False and missed change against what independent errors would give, and how errors go together."""
    counts = errors.counted(runs, "val")
    rates, shared = errors.rates(counts), errors.dependence(counts)
    words = [
        f"{name} is observed on {row['observed']:.1%}, expected on {row['expected']:.1%}"
        for name, row in rates.iloc[:2].iterrows()
    ]
    return Markdown(
        f"On the validation pairs {listed(words)} of the pixels concerned. On unchanged ground, "
        f"{shared['wrong_first']:.0%} of the pixels are wrong at the first date and "
        f"{shared['wrong_second']:.0%} at the second; the correlation of the two errors is "
        f"{shared['correlation']:.2f}. Of the pixels wrong at the first date, {shared['repeated']:.0%} have "
        "the same wrong class at the second and so make no false change."
    )


def three_dates(exp, runs: Sequence) -> Markdown:
    """Implausible chains before and after decoding all dates together, beside the annotation's."""
    frame = chain_counts(exp, runs)
    words = []
    for split in errors.SPLITS:
        truth, before, after = (int(frame.loc[(split, s), "implausible"]) for s in CHAIN_SOURCES)
        words.append(
            f"On {SPLITS[split]}, {before:,} pixels follow an implausible chain when each date is mapped by "
            f"itself, {after:,} after decoding all dates together; the annotation has {truth:,}."
        )
    return Markdown(" ".join(words))


def code_book(book) -> Markdown:
    """What a learnt code book covers, where it contradicts itself, what it has never seen."""
    report = book.report()
    conflicts = report["conflicts"]
    clash = f"{counted(len(conflicts), 'conflict')}: {'; '.join(conflicts)}" if conflicts else "no conflict"
    seen = int(book.counts[:-1].sum())
    return Markdown(
        f"The {book.kind.upper()} masks use {counted(report['codes'], 'value')}, for unchanged ground and "
        f"{report['transitions']} possible changes. {report['agreement']:.2%} of the {seen:,} pixels that "
        f"are labelled at both dates carry the code of their transition. There is {clash}."
    )
