"""What the processor's arithmetic changes in a figure, beside what the seed changes: the record and its page.

    python -m wusu_lib.pages.processors exp01 exp07    # `make processors`: once for each arithmetic

Sums that are rounded in another order lead a training to other weights. How far the figures go apart is
measured with trainings that differ in nothing else, and kept in ``published/processors.csv``.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from wusu_lib import provenance
from wusu_lib.experiment.experiment import open_notebook
from wusu_lib.files import replacing
from wusu_lib.pages.style import (
    LINES,
    QUIET,
    Sentence,
    captioned,
    counted,
    listed,
    open_figure,
    styled,
    styled_table,
)
from wusu_lib.runs.store import Run

SEEDS = (42, 43, 44)
SAME = ["experiment", "arithmetic", "seed"]  # what one row is about
COLUMNS = [*SAME, "val mIoU", "processor", "torch", "commit", "finished"]


def record_file() -> Path:
    """Where the record is kept. Raises FileNotFoundError without a repository."""
    return provenance.repository() / "published" / "processors.csv"


def recorded() -> pd.DataFrame:
    """The record: one row a training, with ``COLUMNS``, val mIoU from 0 to 1.

    Without a row where nothing was recorded. Raises ValueError for a file that is no such record.
    """
    path = record_file()
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS)
    try:
        rows = pd.read_csv(path)
    except (OSError, ValueError) as error:  # a folder; no table, or not UTF-8
        raise _foreign(path, f"cannot be read as a table ({error})") from error
    if list(rows.columns) != COLUMNS:
        raise _foreign(path, f"has the columns {', '.join(rows.columns)}, expected {', '.join(COLUMNS)}")
    return rows


def _foreign(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path} {reason}: it was not written by this tool, which writes there; move it away")


def record(names: list[str]) -> None:
    """Train the experiments of these notebooks at demo scale with ``SEEDS`` under the arithmetic at hand.

    Rows of the same experiment, arithmetic and seed are replaced. Raises as ``open_notebook``; before
    anything is trained ValueError as ``recorded``, and where a link stands in the record's place.
    """
    if record_file().is_symlink():
        raise _foreign(record_file(), "is a link")
    recorded()
    demo = provenance.repository() / "params" / "demo.yaml"
    overlay = {**yaml.safe_load(demo.read_text(encoding="utf-8")), "seeds": list(SEEDS)}
    rows = [_row(run) for name in names for run in open_notebook(name, **overlay).runs()]
    every = pd.concat([recorded(), pd.DataFrame(rows)]) if len(recorded()) else pd.DataFrame(rows)
    every = every.drop_duplicates(SAME, keep="last").sort_values(SAME)
    record_file().parent.mkdir(exist_ok=True)
    with replacing(record_file()) as draft:
        every.to_csv(draft, index=False)


def _row(run: Run) -> dict[str, str | int | float]:
    made_on = run.record["machine"]
    return {
        "experiment": run.experiment,
        "arithmetic": called(made_on["arithmetic"]),
        "seed": run.seed,
        "val mIoU": round(run.scores()["mIoU"], 4),
        "processor": made_on["processor"],
        "torch": run.record["versions"]["torch"],
        "commit": run.record["git"]["commit"][:8],
        "finished": run.record["finished"][:10],
    }


def called(arithmetic: dict[str, str]) -> str:
    """An arithmetic (``provenance.arithmetic``) in words: "AVX512_CORE_AMX limited to AVX2, 1 thread"."""
    limits = listed([arithmetic[name] for name in ("onednn_limit", "aten_limit") if arithmetic[name]])
    limited = f" limited to {limits}" if limits else ""
    return f"{arithmetic['instruction_set']}{limited}, {counted(int(arithmetic['demo_threads']), 'thread')}"


def spreads(rows: pd.DataFrame) -> pd.DataFrame:
    """How far val mIoU goes apart, a row an experiment; ``rows`` as ``recorded`` gives them.

    Columns: experiment; seed_range, the largest range of one arithmetic's seeds; arithmetic_range, the
    largest range of one seed's arithmetics; seeds and arithmetics, their numbers.
    """
    found = []
    for name, part in rows.groupby("experiment"):
        wide = part.pivot(index="seed", columns="arithmetic", values="val mIoU")
        found.append(
            {
                "experiment": name,
                "seed_range": float((wide.max() - wide.min()).max()),
                "arithmetic_range": float((wide.max(axis=1) - wide.min(axis=1)).max()),
                "seeds": wide.shape[0],
                "arithmetics": wide.shape[1],
            }
        )
    return pd.DataFrame(found)


def sentence() -> Sentence:
    """Both spreads in words, and where the record comes from."""
    rows = recorded()
    if rows.empty:
        return Sentence("Nothing is recorded yet: `make processors` trains and records.")
    told = [
        f"In {row.experiment} val mIoU goes apart by up to {row.seed_range:.3f} over "
        f"{counted(row.seeds, 'seed')} with the same arithmetic, by up to {row.arithmetic_range:.3f} over "
        f"{row.arithmetics} arithmetics with the same seed."
        for row in spreads(rows).itertuples()
    ]
    processors, versions, commits = (
        listed(sorted(set(rows[column].astype(str)))) for column in ("processor", "torch", "commit")
    )
    made = f"Recorded on {processors} with torch {versions} and the demo of commit {commits}, "
    made += f"{rows['finished'].max()}."
    return Sentence(" ".join([*told, made]))


def table() -> Styler:
    """Val mIoU of every training: one row an experiment and arithmetic, one column a seed."""
    wide = recorded().pivot(index=SAME[:2], columns="seed", values="val mIoU").reset_index()
    wide.columns = pd.Index([f"seed {name}" if isinstance(name, int) else name for name in wide.columns])
    return styled_table(wide, "processors", index=False).format(precision=3)


@styled
def figure() -> Figure | Sentence:
    """Val mIoU of every training: a row an experiment and arithmetic, a dot a seed; a sentence if none."""
    rows = recorded()
    if rows.empty:
        return Sentence("There is nothing to draw yet.")
    groups = list(rows.groupby(SAME[:2], sort=True))
    drawn = open_figure(0.36 * len(groups) + 1.2)
    axes = drawn.subplots()
    seeds = sorted(set(rows["seed"]))
    for y, (_, part) in enumerate(groups):
        axes.plot(
            [part["val mIoU"].min(), part["val mIoU"].max()], [y, y], color=QUIET, linewidth=1, zorder=1
        )
    for seed, colour, marker in zip(seeds, LINES, "osD^vP", strict=False):
        shown = [(part.loc[part["seed"] == seed, "val mIoU"], y) for y, (_, part) in enumerate(groups)]
        points = np.array([(float(value.iloc[0]), y) for value, y in shown if len(value)])
        axes.scatter(
            points[:, 0], points[:, 1], color=colour, marker=marker, s=34, zorder=2, label=f"seed {seed}"
        )
    axes.set_yticks(range(len(groups)), [f"{name} · {arithmetic}" for (name, arithmetic), _ in groups])
    axes.set(ylim=(len(groups) - 0.5, -0.5), xlabel="val mIoU")
    axes.grid(axis="x")
    drawn.legend(loc="outside upper right", ncols=len(seeds))
    return captioned(
        drawn,
        "processors",
        "Validation mIoU of trainings that differ in seed and arithmetic only: the processor's full "
        "instruction set or a limited one, one thread or two. Dots of one colour and shape share their seed.",
        "Dot plot: one row an experiment and arithmetic, one dot a seed, a line from lowest to highest.",
    )


if __name__ == "__main__":
    record(sys.argv[1:])
