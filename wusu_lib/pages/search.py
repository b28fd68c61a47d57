"""A search shown: the grid's figures and their intervals, what each cell costs, how sure its rank is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pandas.io.formats.style import Styler
from scipy.stats import kendalltau

from wusu_lib.experiment.search import METRIC, Cell
from wusu_lib.experiment.tuning import SPACE, Range, distribution
from wusu_lib.measures import comparison
from wusu_lib.pages.style import (
    LINES,
    MISSING,
    QUIET,
    SMALL,
    THIS,
    Sentence,
    between,
    captioned,
    counted,
    figure_in_words,
    heat_frame,
    listed,
    named_rows,
    open_figure,
    require,
    short_count,
    styled,
    styled_table,
    text_on,
)


def cells_frame(rungs: Sequence[Sequence[Cell]]) -> pd.DataFrame:
    """One row a cell, as it stood on the highest rung that it reached; the best first.

    Columns: cell, backbone, decoder, rung (from 1), epochs, value, low, high (validation mIoU, 95 % interval
    from spatial blocks), trained (parameters), seconds (of an epoch, mean over all), memory (bytes, the
    process's peak), seeds, reason (why it has no figures, else empty), chosen (whether it is the winner).
    """
    last = {cell.name: (number, cell) for number, cells in enumerate(rungs, 1) for cell in cells}
    rows = []
    for number, cell in last.values():
        row = {"cell": cell.name, "backbone": cell.backbone, "decoder": cell.decoder, "rung": number}
        row |= {"epochs": cell.epochs, "seeds": len(cell.runs), "reason": cell.reason}
        rows.append(row | (_figures(cell) if cell.runs else {}) | {"chosen": cell is rungs[-1][0]})
    columns = ["value", "low", "high", "trained", "seconds", "memory"]
    found = pd.DataFrame(rows).reindex(columns=[*rows[0], *[c for c in columns if c not in rows[0]]])
    return found.sort_values(["rung", "value"], ascending=False, ignore_index=True, kind="stable")


def _figures(cell: Cell) -> dict[str, Any]:
    interval = comparison.interval(cell.runs, METRIC, "val", cell.runs[0].labels)
    seconds = np.mean([run.history["seconds"].mean() for run in cell.runs])
    memory = max(run.record.get("peak_memory_bytes") or 0 for run in cell.runs)
    return {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "trained": cell.runs[0].record["model"]["trained"],
        "seconds": float(seconds),
        "memory": memory,
    }


@styled
def grid_figure(rungs: Sequence[Sequence[Cell]]) -> Figure:
    """Heat map of the first rung, where all cells had the same budget; below it what the others gave."""
    first, last = cells_frame(rungs[:1]), cells_frame(rungs).set_index("cell")
    rows, columns = (sorted(set(first[name])) for name in ("backbone", "decoder"))
    figure = open_figure(0.62 * len(rows) + 1.7)
    axes = figure.subplots()
    table = first.pivot(index="backbone", columns="decoder", values="value").loc[rows, columns]
    picture = axes.imshow(table, cmap="Blues", aspect="auto")
    for row in first.itertuples():
        at = columns.index(row.decoder), rows.index(row.backbone)
        if not np.isfinite(row.value):
            axes.text(*at, MISSING, ha="center", va="center", color=QUIET)
            continue
        words = f"{row.value:.3f} ± {(row.high - row.low) / 2:.3f}"
        later = last.loc[row.cell]
        if later["rung"] > 1:
            words += f"\nthen {later['value']:.3f}"
        colour = text_on(picture.cmap(picture.norm(row.value))[:3])
        weight = "bold" if later["chosen"] else "normal"
        axes.text(*at, words, ha="center", va="center", fontsize=SMALL, color=colour, fontweight=weight)
    heat_frame(figure, axes, rows, columns, f"validation {METRIC}, first rung")
    return captioned(
        figure,
        "grid",
        f"Validation {METRIC} of each cell after {counted(rungs[0][0].epochs, 'epoch')}, with half the "
        "width of its 95 % interval from spatial blocks. Second line: what it reached on the highest rung "
        "that it came to. Bold: the cell that was chosen. A dash: no figures, the table below says why.",
        "Heat map: backbones as rows, decoders as columns, a figure with its interval in each cell.",
    )


def grid_sentence(rungs: Sequence[Sequence[Cell]], base: Any = None) -> Sentence:
    """How the grid was halved, which cell came out, and by how much. ``base``: parameters it starts from."""
    steps = [f"{counted(len(cells), 'cell')} for {counted(cells[0].epochs, 'epoch')}" for cells in rungs]
    best, *others = [cell for cell in rungs[-1] if cell.runs]
    ahead = (
        f", {figure_in_words(best.score - others[0].score, '.3f')} ahead of *{others[0].name}* there"
        if others
        else ""
    )
    failed = [cell for cell in rungs[0] if not cell.runs]
    is_base = base is not None and (base.backbone, base.decoder) == (best.backbone, best.decoder)
    own = f" It is the pair of {base.name} itself." if is_base else ""
    lost = f" No figures: {listed([cell.name for cell in failed])}." if failed else ""
    return Sentence(
        f"The search trained {', then '.join(steps)}. The cell that came out is *{best.name}*: validation "
        f"{METRIC} {best.score:.3f}{ahead}.{own}{lost} These figures chose the cell, so they flatter it; the "
        "verdict is about new trainings of it."
    )


def cells_table(frame: pd.DataFrame) -> Styler:
    """Every cell with its figures and its cost; losers and failures stay."""
    shown = pd.DataFrame(
        {
            "cell": frame["cell"],
            "epochs": frame["epochs"],
            f"val {METRIC}": [_number(v, "{:.3f}") for v in frame["value"]],
            "95 %": [
                f"{low:.3f} to {high:.3f}" if np.isfinite(low) else MISSING
                for low, high in zip(frame["low"], frame["high"], strict=True)
            ],
            "trained parameters": [short_count(v) if np.isfinite(v) else MISSING for v in frame["trained"]],
            "s an epoch": [_number(v, "{:.1f}") for v in frame["seconds"]],
            "peak memory (GB)": [_number(v / 1e9, "{:.1f}") for v in frame["memory"]],
            "reason": frame["reason"].replace("", MISSING),
        }
    )
    return styled_table(shown, "cells", index=False, prose=["cell", "reason"])


def _number(value: float, form: str) -> str:
    return form.format(value) if np.isfinite(value) else MISSING


def pareto(frame: pd.DataFrame, cost: str = "seconds") -> pd.Series:
    """Whether no other cell is at least as good and at least as cheap, and better in one: bool, by row."""
    value, price = (frame[name].to_numpy(dtype=float) for name in ("value", cost))
    beaten = [
        bool(((value >= v) & (price <= p) & ((value > v) | (price < p))).any())
        for v, p in zip(value, price, strict=True)
    ]
    return pd.Series(np.isfinite(value) & ~np.array(beaten, dtype=bool), index=frame.index)


@styled
def pareto_figure(first: pd.DataFrame) -> Figure:
    """The first rung's figure against the seconds of an epoch; the front is named.

    ``first``: ``cells_frame`` of the first rung alone, where all cells had the same budget.
    """
    require(first, ["cell", "value", "low", "high", "seconds"], "cost and figure")
    rows = first[np.isfinite(first["value"])]
    front = pareto(rows)
    figure = open_figure(3.4)
    axes = figure.subplots()
    beaten = rows[~front]
    ends = [beaten["value"] - beaten["low"], beaten["high"] - beaten["value"]]
    axes.errorbar(beaten["seconds"], beaten["value"], ends, fmt="o", color=QUIET, capsize=2, label="beaten")
    best = rows[front].sort_values("seconds")
    axes.step(best["seconds"], best["value"], where="post", color=QUIET, alpha=0.5, linewidth=1)
    for number, row in enumerate(best.itertuples()):
        colour = LINES[number % len(LINES)]
        ends = [[row.value - row.low], [row.high - row.value]]
        axes.errorbar(row.seconds, row.value, ends, fmt="s", color=colour, capsize=2, label=row.cell)
    axes.set(xlabel="seconds an epoch", ylabel=f"validation {METRIC}")
    axes.grid(axis="both")
    figure.legend(loc="outside lower center", ncols=3)
    return captioned(
        figure,
        "pareto",
        f"Validation {METRIC} after the first rung, where all cells had the same budget, against the time of "
        "an epoch, with 95 % intervals. Named: cells that no other beats in both.",
        "Points with intervals; the best at each cost are joined by a line of steps, each in a colour.",
    )


def pareto_sentence(first: pd.DataFrame) -> Sentence:
    """Which cells are on the front."""
    rows = first[np.isfinite(first["value"])]
    best = rows[pareto(rows)].sort_values("seconds")
    words = [f"*{row.cell}* ({row.seconds:.1f} s, {row.value:.3f})" for row in best.itertuples()]
    return Sentence(
        f"Of {counted(len(rows), 'cell')} {listed(words)} {'is' if len(words) == 1 else 'are'} beaten by no "
        "other cell in both time and figure. The trained parameters of the cells go from "
        f"{short_count(rows['trained'].min())} to {short_count(rows['trained'].max())}."
    )


# How sure the order is: under other blocks, other seeds, a longer training.


def rank_frame(cells: Sequence[Cell]) -> pd.DataFrame:
    """Rank of each cell of a rung under resampled blocks (``comparison.ranks``), best first.

    Columns: cell, rank (as measured), low, high (95 % of the draws), first (share of draws in which it is the
    best).
    """
    good = [cell for cell in cells if cell.runs]
    drawn = comparison.ranks([cell.runs for cell in good], METRIC, "val", good[0].runs[0].labels)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0, method="inverted_cdf")
    return pd.DataFrame(
        {
            "cell": [cell.name for cell in good],
            "rank": np.arange(1, len(good) + 1),
            "low": low,
            "high": high,
            "first": (drawn == 1).mean(axis=0),
        }
    )


@styled
def ranks_figure(frame: pd.DataFrame) -> Figure:
    """Ranks with their ranges: ``rank_frame``."""
    require(frame, ["cell", "rank", "low", "high", "first"], "ranks")
    figure = open_figure(0.27 * len(frame) + 0.9)
    axes = figure.subplots()
    for y, row in enumerate(frame.itertuples()):
        axes.plot([row.low, row.high], [y, y], color=THIS, linewidth=2.2, solid_capstyle="butt")
        axes.plot(row.rank, y, "o", color=THIS, markersize=6, markeredgecolor="white")
    words = [f"{row.first:.0%}" for row in frame.itertuples()]
    named_rows(axes, frame["cell"].tolist(), "rank on the first rung (1 is the best)", words)
    axes.set_xlim(0.5, len(frame) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return captioned(
        figure,
        "ranks",
        "Rank of each cell on the first rung: as measured (dot) and its range in 95 % of 2,000 sets of "
        "blocks drawn with replacement. On the right: in how many of them the cell is the best.",
        "Rows of horizontal ranges with a dot each, from the best cell to the worst.",
    )


def ranks_sentence(frame: pd.DataFrame, rungs: Sequence[Sequence[Cell]]) -> Sentence:
    """How many cells may be the best, and whether seeds and a longer training keep the order."""
    likely = frame[frame["low"] == 1]["cell"].tolist()
    said = [
        f"{counted(len(likely), 'cell')} of {len(frame)} may be the best on the first rung: {listed(likely)}"
    ]
    seeds = [run.seed for run in rungs[0][0].runs]
    if len(seeds) == 1:
        said.append("that is with one seed: another may order the cells otherwise")
    else:
        by_seed = [[c.runs[k].scores("val")[METRIC] for c in rungs[0] if c.runs] for k in range(len(seeds))]
        taus = [kendalltau(by_seed[0], other).statistic for other in by_seed[1:]]
        said.append(f"Kendall's tau between the orders of two seeds is {min(taus):.2f} or more")
    before = {cell.name: cell.score for cell in rungs[0]}
    later = [cell for cell in rungs[-1] if cell.runs]
    if len(rungs) > 1 and len(later) > 1:
        tau = kendalltau([before[cell.name] for cell in later], [cell.score for cell in later]).statistic
        said.append(
            f"between the first rung and the last, over the {len(later)} cells that reached it, tau is "
            f"{figure_in_words(tau, '.2f')}".replace("-", "\N{MINUS SIGN}")
        )
    text = ". ".join(f"{part[0].upper()}{part[1:]}" for part in said)
    return Sentence(f"{text}.")


# Hyperparameters: what was tried, what mattered.


def trials_frame(trials: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a trial of ``tuning.tune``, the best first: its hyperparameters, epochs, first and last figure.

    Columns: a column a hyperparameter, then epochs, first (after the first rung), last, reason.
    """
    rows = [
        {
            **trial["config"],
            "epochs": trial["epochs"],
            "first": trial["by_rung"][0] if trial["by_rung"] else np.nan,
            "last": trial["by_rung"][-1] if trial["by_rung"] else np.nan,
            "reason": trial["reason"],
        }
        for trial in trials
    ]
    return pd.DataFrame(rows)


def _hyperparameters(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame if name not in ("epochs", "first", "last", "reason")]


def trials_table(frame: pd.DataFrame) -> Styler:
    """Every trial with its setting; losers and failures stay."""
    shown = pd.DataFrame(
        {
            **{name: [_plain(value) for value in frame[name]] for name in _hyperparameters(frame)},
            "epochs": frame["epochs"],
            f"val {METRIC}, first rung": [_number(v, "{:.3f}") for v in frame["first"]],
            f"val {METRIC}": [_number(v, "{:.3f}") for v in frame["last"]],
            "reason": frame["reason"].replace("", MISSING),
        }
    )
    return styled_table(shown, "trials", index=False, prose=["reason"])


def _plain(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@styled
def parallel_figure(frame: pd.DataFrame) -> Figure:
    """Parallel coordinates: an axis a hyperparameter, a line a trial, darker the better it was."""
    require(frame, ["first", "last", "epochs"], "trials")
    names = _hyperparameters(frame)
    places = {name: _scale(name, frame[name]) for name in names}
    good = frame[np.isfinite(frame["first"])].sort_values("first")
    figure = open_figure(3.6)
    axes = figure.subplots()
    for number, row in enumerate(good.itertuples(index=False)):
        values = dict(zip(good.columns, row, strict=True))
        share = number / max(1, len(good) - 1)
        y = [places[name][0](values[name]) for name in names]
        best = number == len(good) - 1
        colour, width = (THIS, 2.2) if best else (QUIET, 1.0)
        axes.plot(
            range(len(names)), y, marker="o", markersize=3, color=colour, linewidth=width,
            alpha=0.15 + 0.85 * share,
        )  # fmt: skip
    for number, name in enumerate(names):
        axes.axvline(number, color=QUIET, linewidth=0.8, zorder=0)
        for height, word in places[name][1]:
            axes.annotate(
                word, (number, height), (4, 0), textcoords="offset points", va="center", fontsize=SMALL
            )
    axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names])
    axes.set(xlim=(-0.2, len(names) - 0.3), ylim=(-0.05, 1.05))
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return captioned(
        figure,
        "trials",
        f"Every trial as a line through its hyperparameters, darker the higher its validation {METRIC} after "
        "the first rung; the best in blue.",
        "Parallel coordinates: a vertical axis for each hyperparameter, a line for each trial.",
    )


def _widened(name: str, values: pd.Series) -> Range:
    """From where to where was searched or, of choices, which were tried; the base's own may lie outside."""
    given = SPACE[name]
    if given.choices:
        tried = [choice for choice in given.choices if choice in set(values)]
        return replace(given, choices=tuple(dict.fromkeys([*tried, *values])))
    return replace(given, low=min(given.low, values.min()), high=max(given.high, values.max()))


def _scale(name: str, values: pd.Series) -> tuple[Any, list[tuple[float, str]]]:
    """From a value to its height (0 to 1) on the hyperparameter's axis, and the marks of the axis."""
    given = _widened(name, values)
    if given.choices:
        heights = {choice: k / max(1, len(given.choices) - 1) for k, choice in enumerate(given.choices)}
        return heights.__getitem__, [(h, str(choice)) for choice, h in heights.items()]
    low, high = given.low, given.high
    ends = np.log([low, high]) if given.log else np.array([low, high])

    def height(value: float) -> float:
        at = np.log(value) if given.log else value
        return float((at - ends[0]) / (ends[1] - ends[0]))

    return height, [(0.0, f"{low:.2g}"), (1.0, f"{high:.2g}")]


def importances(frame: pd.DataFrame, seed: int = 0) -> pd.Series:
    """Share of the variance of the first rung's figure that each hyperparameter explains, the largest first.

    By functional ANOVA on a forest (Hutter et al. 2014, ICML 32), as Optuna has it. Empty for fewer than
    three trials or where all are equal.
    """
    import optuna

    good = frame[np.isfinite(frame["first"])]
    names = _hyperparameters(frame)
    if len(good) < 3 or good["first"].nunique() == 1:
        return pd.Series(dtype=float)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=seed))
    for row in good.to_dict("records"):
        inside = {name: distribution(_widened(name, good[name])) for name in names}
        chosen = {name: row[name] for name in names}
        study.add_trial(
            optuna.trial.create_trial(params=chosen, distributions=inside, value=float(row["first"]))
        )
    varied = [name for name in names if good[name].nunique() > 1]
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    found = optuna.importance.get_param_importances(study, params=varied, evaluator=evaluator)
    return pd.Series(found).sort_values(ascending=False)


@styled
def importances_figure(found: pd.Series, trials: int) -> Figure:
    """``importances`` as bars."""
    figure = open_figure(0.34 * max(1, len(found)) + 0.9)
    axes = figure.subplots()
    if found.empty:
        axes.set_axis_off()
        axes.set_title("Too few trials, or all alike: nothing to tell apart")
    else:
        axes.barh(range(len(found)), 100 * found, color=THIS, height=0.6)
        words = [f"{share:.0%}" for share in found]
        named_rows(axes, found.index.tolist(), "share of the variance (%)", words)
    return captioned(
        figure,
        "importances",
        f"Share of the variance of the validation {METRIC} after the first rung that each hyperparameter "
        f"explains by itself or with others, by functional ANOVA over {counted(trials, 'trial')}.",
        "Horizontal bars, one for each hyperparameter, the most telling on top.",
    )


def tuning_sentence(frame: pd.DataFrame, found: pd.Series, base: str) -> Sentence:
    """What was chosen, how far it is ahead of the base's own setting, and what mattered."""
    best, own = frame.iloc[0], frame[np.isfinite(frame["last"])]
    full = own[own["epochs"] == own["epochs"].max()]
    names = _hyperparameters(frame)
    setting = ", ".join(f"{name} {_plain(best[name])}" for name in names)
    told = (
        f" Most of what differs after the first rung goes with {found.index[0]} ({found.iloc[0]:.0%})."
        if len(found)
        else ""
    )
    return Sentence(
        f"{counted(len(frame), 'setting')} were tried, {len(full)} of them in full. The best is {setting}: "
        f"validation {METRIC} {best['last']:.3f}; those in full reach {between(full['last'], '{:.3f}')}. The "
        f"first one tried is that of {base}.{told} These figures chose the setting, so "
        "they flatter it; the verdict is about new trainings of it."
    )
