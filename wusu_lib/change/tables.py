"""Tables of the pages on change, as pandas Stylers."""

from collections.abc import Mapping, Sequence

import pandas as pd
from pandas.io.formats.style import Styler

from wusu_lib import tables
from wusu_lib.change import chains, errors, measures
from wusu_lib.change.codebook import CodeBook
from wusu_lib.change.evidence import count_chains
from wusu_lib.change.results import read_beside
from wusu_lib.change.steps import variant_runs
from wusu_lib.change.variants import VARIANTS
from wusu_lib.runs import Run

SPLITS = {"val": "validation", "test": "test"}
CHAIN_SOURCES = ("annotation", "each date by itself", "all dates together")


def pooled(runs: Sequence, split: str) -> "pd.Series":
    """Every change figure of a split, pooled over its pairs, mean over the runs (seeds)."""
    kept = [
        measures.scores(run.matrices[(run.confusion["split"] == split).to_numpy()].sum(axis=0))
        for run in runs
    ]
    return pd.DataFrame(kept).mean()


def figures(sides: Mapping[str, Sequence], splits: Sequence[str] = ("val", "test")) -> Styler:
    """Every change figure (rows) by split and side (columns): name -> runs. Binary runs lack the semantic."""
    found = {(SPLITS[split], name): pooled(runs, split) for split in splits for name, runs in sides.items()}
    frame = pd.DataFrame(found).reindex(list(measures.FIGURES))
    frame.index.name = "figure"
    return tables.styled(frame, "change").format(precision=3, na_rep=tables.MISSING)


def variants(runs: Sequence[Run], names: Sequence[str] = tuple(measures.FIGURES)) -> Styler:
    """Figures of every variant of a two-stage run on validation and test, one row a variant."""
    rows = {
        VARIANTS[name]: pd.concat(
            {SPLITS[s]: pooled(variant_runs(runs, name), s)[list(names)] for s in ("val", "test")}
        )
        for name in VARIANTS
    }
    frame = pd.DataFrame(rows).T
    frame.index.name = "variant"
    return tables.styled(frame, "variants").format(precision=3, na_rep=tables.MISSING)


def trials(runs: Sequence[Run], figure: str) -> Styler:
    """What each setting gave on validation, one row a trial; the chosen ones are marked."""
    rows = [{"seed": run.seed, **trial} for run in runs for trial in run.record["trials"]]
    if not rows:
        return tables.styled(pd.DataFrame({"step": ["nothing was chosen"]}), "trials", index=False)
    frame = pd.DataFrame(rows)
    best = frame.groupby(["seed", "step"])["figure"].transform("max") == frame["figure"]
    words = {"tolerance": "width of a sliver, px", "smoothing": "prior's smoothing, px"}
    frame["step"] = frame["step"].replace(words | {"unit_share": "share of change in smaller areas"})
    frame["chosen"] = best.map({True: "yes", False: ""})
    frame = frame.rename(columns={"figure": f"val {figure}"}).drop(columns=["seed"] if len(runs) == 1 else [])
    return (
        tables.styled(frame, "trials", index=False)
        .format("{:g}", subset=["value"])
        .format(precision=4, subset=[f"val {figure}"])
    )


def error_rates(runs: Sequence[Run]) -> Styler:
    """Observed and expected rates of each error of change, with their ratio, by split."""
    parts = {SPLITS[split]: errors.rates(errors.counted(runs, split)) for split in errors.SPLITS}
    frame = pd.concat(parts, axis=0, names=["split", "error"]).reset_index()
    frame["observed / expected"] = frame["observed"] / frame["expected"]
    style = tables.styled(frame, "errors", index=False)
    return (
        style.format("{:.2%}", subset=["observed", "expected"], na_rep=tables.MISSING)
        .format("{:.2f}", subset=["observed / expected"], na_rep=tables.MISSING)
        .format("{:,}", subset=["pixels"])
    )


def chain_counts(exp, runs: Sequence[Run]) -> pd.DataFrame:
    """``chains.summary`` by split and source (annotation, single dates, all dates together), first run."""
    train = count_chains(exp.table[exp.table["split"] == "train"])
    found = read_beside(runs[0].folder, "chains")
    rows = {
        (split, source): chains.summary(found[i, j], train)
        for i, split in enumerate(errors.SPLITS)
        for j, source in enumerate(CHAIN_SOURCES)
    }
    return pd.DataFrame(rows).T


def three_dates(exp, runs: Sequence[Run]) -> Styler:
    """Chains over three dates: how many pixels change, return to their class, and do so implausibly."""
    counted = chain_counts(exp, runs).drop(columns=["unseen", "unseen_share"])
    frame = counted.rename(index=SPLITS, level=0).rename_axis(["split", "class maps"]).reset_index()
    whole = ["pixels", "changed", "returning", "implausible"]
    frame = frame.rename(columns={"implausible_share": "implausible, share of changed"})
    return (
        tables.styled(frame, "chains", index=False)
        .format("{:,.0f}", subset=whole)
        .format("{:.1%}", subset=["implausible, share of changed"], na_rep=tables.MISSING)
    )


def codes(book: CodeBook) -> Styler:
    """The learnt code book: code, from, to, colour, pixels and how many of them the class masks confirm."""
    frame = book.table()
    frame[["from", "to"]] = frame[["from", "to"]].replace("", "any class")
    frame.loc[frame["label"] == 0, "to"] = "the same"
    frame = frame[["code", "from", "to", "colour", "pixels", "agreement"]]
    style = tables.styled(frame, f"codes_{book.kind}", index=False)
    style = style.format("{:,}", subset=["pixels"]).format("{:.2%}", subset=["agreement"])
    return style.map(_swatch, subset=["colour"]).set_table_attributes('class="dataframe sortable"')


def _swatch(colour: str) -> str:
    """A cell filled with the colour that it names."""
    from wusu_lib.figures.theme import text_on

    return f"background-color: {colour}; color: {text_on(colour)}"


def never_seen(book: CodeBook, most: int = 200) -> Styler:
    """Transitions without a code, by the class of the first date."""
    names = [name.split(" to ") for name in book.report()["never_seen"][:most]]  # type: ignore[index]
    frame = pd.DataFrame(names, columns=["from", "to"])
    frame = frame.groupby("from", sort=False)["to"].agg(", ".join).reset_index()
    return tables.styled(frame, "never_seen", index=False, prose=["to"])
