"""What took long is published with the code: the log at length, and how far machines go apart.

python -m wusu_lib.pages.published publish study runs_study/log    # the last step of `make study`
python -m wusu_lib.pages.published processors exp01 exp07    # `make processors`: once for each arithmetic
python -m wusu_lib.pages.published tuning    # `make tuning`: how the demo's settings were chosen
"""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from wusu_lib import files, provenance
from wusu_lib.data.masks import read_index
from wusu_lib.data.tree import demo_city
from wusu_lib.experiment.experiment import Experiment, definition, notebook_files, open_notebook
from wusu_lib.experiment.two_stage import Stack, stacks
from wusu_lib.files import replacing, write_json
from wusu_lib.measures import simulation
from wusu_lib.measures.change import measure
from wusu_lib.measures.classes import METRICS, confusion
from wusu_lib.measures.comparison import block_counts
from wusu_lib.measures.neighbours import LEVEL
from wusu_lib.measures.verdict import Prediction, outcome_of
from wusu_lib.pages import overview
from wusu_lib.pages.overview import Entry
from wusu_lib.pages.style import (
    LINES,
    MISSING,
    QUIET,
    Sentence,
    between,
    captioned,
    counted,
    listed,
    open_figure,
    styled,
    styled_table,
)
from wusu_lib.runs import store
from wusu_lib.runs.store import Run
from wusu_lib.synthetic import CITIES, FRESH, fingerprint, write

OVERLAY = "study"  # what the demo's pages are shown beside
SUMMARY, RECORDS, VERDICTS = "results", "records", "verdicts.csv"
COLUMNS = [
    *("experiment", "metric", "difference", "low", "high", "verdict", "seeds", "blocks"),
    *("data", "finished", "commit", "machine"),
]


def folder() -> Path:
    """Where the log at length is published. Raises FileNotFoundError without a repository."""
    return provenance.repository() / "published" / OVERLAY


# The log at length. ``published/<overlay>/`` holds the executed notebook of each experiment, freed of what is
# this machine's, the records of the runs behind them (no weights) and ``verdicts.csv``. The book shows these
# pages beside the demo's.


def publish(overlay: str, executed: Path, root: Path, data_root: str = "") -> list[str]:
    """Put executed notebooks and what stands behind them under ``root``/published/; the pages, for _toc.yml.

    ``overlay``: what the notebooks were run with, a name in ``params/`` or a path; ``executed``: their
    folder; ``data_root``: theirs. An experiment whose runs are not all stored is left out, and the summary
    says so. Raises ValueError, before anything is written, where no experiment has all its runs, and for an
    executed notebook that is missing, holds an error or names a folder of this machine.
    """
    every = overview.collect(overlay, data_root)
    name, target = Path(overlay).stem, root / "published" / Path(overlay).stem
    lacking = [entry.exp.name for entry in every if len(entry.runs) < len(entry.exp.seeds)]
    log = [entry for entry in every if entry.exp.name not in lacking]
    if not log:
        raise ValueError(f"{listed(lacking)}: not all seeds are run with {name}; run them, then publish")
    stories = {entry.exp.name: _story(name, entry) for entry in log}
    stories[SUMMARY] = _origin(name, log) + (f" Not run yet: {listed(lacking)}." if lacking else "")
    pages = {page: _page(executed / f"{page}.ipynb", story) for page, story in stories.items()}
    data = {entry.exp.dossier.fingerprint for entry in log}
    behind = [run for run in store.find() if run.record["data"]["fingerprint"] in data]
    runs = {run.key: run.record for run in behind if run.experiment not in lacking}
    (target / RECORDS).mkdir(parents=True, exist_ok=True)
    for earlier in [*(target / RECORDS).glob("*.json"), *target.glob("*.ipynb")]:
        if earlier.stem not in runs | pages:
            earlier.unlink()
    for key, record in runs.items():
        write_json(target / RECORDS / f"{key}.json", _freed(record))
    for page, text in pages.items():
        _write(target / f"{page}.ipynb", text)
    _write(target / VERDICTS, verdicts(log).to_csv(index=False))
    return [f"published/{name}/{page}" for page in pages]


def _freed(record: dict[str, Any]) -> dict[str, Any]:
    """A run's record without the folders of this machine."""
    data = {**record["data"], "root": Path(record["data"]["root"]).name}
    return {k: v for k, v in record.items() if k != "working_directory"} | {"data": data}


def _write(path: Path, text: str) -> None:
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def verdicts(log: Sequence[Entry]) -> pd.DataFrame:
    """One row an experiment that was compared, with ``COLUMNS``; differences and their ends from -1 to 1."""
    rows = []
    for entry in log:
        if (found := entry.difference) is None or entry.verdict is None:
            continue
        ends = {name: round(getattr(found, name), 5) for name in ("low", "high")}
        rows.append(
            {
                **{"experiment": entry.exp.name, "metric": f"{found.split} {found.metric}"},
                **{"difference": round(found.value, 5), **ends, "verdict": entry.verdict.word},
                **{"seeds": found.n_seeds, "blocks": found.n_blocks, "data": entry.exp.dossier.fingerprint},
                **_made(entry.runs),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _made(runs: Sequence[Run]) -> dict[str, str]:
    """When, with which code and on what machine runs were made, by the last of them."""
    last = max(runs, key=lambda run: run.record["finished"]).record
    device = last["device"]
    return {
        "finished": last["finished"][:10],
        "commit": (last["git"]["commit"] or "")[:8],
        "machine": last["machine"]["processor"] if device == "cpu" else device,
    }


def _story(overlay: str, entry: Entry) -> str:
    """What a published page says first: what it is, and which page asks the same at demo scale."""
    demo = f"[The demo's page](/book/log/{entry.exp.name}.ipynb) asks the same with less."
    return f"{_origin(overlay, [entry])} {demo}"


def _origin(overlay: str, log: Sequence[Entry]) -> str:
    runs = [run for entry in log for run in entry.runs]
    made, seeds = _made(runs), {run.seed for run in runs}
    return (
        f"*Run at length with `params/{overlay}.yaml`, {counted(len(seeds), 'seed')}, finished "
        f"{made['finished']} on {made['machine']} with the code of commit {made['commit'] or MISSING}.*"
    )


def _page(path: Path, story: str) -> str:
    """An executed notebook as text, the story under its heading, without what papermill noted of it."""
    if not path.is_file():
        raise ValueError(f"{path} is not there: run the notebook, then publish")
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["metadata"] = {k: v for k, v in notebook["metadata"].items() if k != "papermill"}
    for cell in notebook["cells"]:
        if "outputs" in cell:  # what is glued belongs to the demo's own page, which other pages quote
            cell["outputs"] = [o for o in cell["outputs"] if "scrapbook" not in o.get("metadata", {})]
        if any(output["output_type"] == "error" for output in cell.get("outputs", [])):
            raise ValueError(f"{path} holds an error: mend it and run it again, then publish")
        cell["metadata"] = {k: v for k, v in cell["metadata"].items() if k == "tags"}
    heading, *rest = notebook["cells"]
    told = {"cell_type": "markdown", "id": "published", "metadata": {}, "source": story}
    notebook["cells"] = [_first_line(heading), told, *_remaining(heading), *rest]
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    if here := [name for name in (str(Path.home()), str(provenance.repository())) if f"{name}/" in text]:
        raise ValueError(f"{path} names {here[0]}, a folder of this machine: change what shows it")
    return text


def _first_line(cell: dict[str, Any]) -> dict[str, Any]:
    """The heading alone, told apart from that of the demo's page."""
    name, colon, question = "".join(cell["source"]).split("\n", 1)[0].partition(":")
    return {**cell, "source": f"{name}, at length{colon}{question}"}


def _remaining(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """What follows a heading in its cell, as a cell."""
    text = "".join(cell["source"]).partition("\n")[2].strip()
    return [{**cell, "id": f"{cell.get('id', 'heading')[:50]}-text", "source": text}] if text else []


_NEXT = "Methods and reproducibility"


def with_pages(contents: str, overlay: str, pages: Sequence[str]) -> str:
    """The table of contents, line by line as it was, with these pages in a part of their own.

    What was published with another overlay keeps its part. Raises ValueError where there is no part "Methods
    and reproducibility", before which it would stand.
    """
    part = f"  - caption: At length, {overlay}\n    chapters:\n"
    kept = re.sub(rf"{re.escape(part)}(      - file: .*\n)*", "", contents)
    before, found, after = kept.partition(f"  - caption: {_NEXT}\n")
    if not found:
        raise ValueError(f"_toc.yml has no part {_NEXT!r}, before which the published pages are listed")
    chapters = "".join(f"      - file: {page}\n" for page in pages)
    return f"{before}{part}{chapters}{found}{after}"


def publish_here(asked: Sequence[str]) -> None:
    """Publish in this repository; ``asked``: overlay, the executed notebooks' folder, perhaps the data's."""
    overlay, executed, *data = asked
    repository = provenance.repository()
    contents = repository / "_toc.yml"
    pages = publish(overlay, Path(executed), repository, *data)
    listed_pages = with_pages(contents.read_text(encoding="utf-8"), Path(overlay).stem, pages)
    _write(contents, listed_pages)
    sys.stdout.write(f"Published in published/{Path(overlay).stem} and listed in _toc.yml.\n")


# Shown beside the demo.


def recorded() -> pd.DataFrame:
    """The published verdicts, with ``COLUMNS``; without a row where nothing is published."""
    path = folder() / VERDICTS
    return pd.read_csv(path, keep_default_na=False) if path.is_file() else pd.DataFrame(columns=COLUMNS)


def at_length(exp: Experiment) -> list[Sentence]:
    """What the published page of an experiment found, in a sentence; nothing for a page that is one."""
    rows = recorded()
    rows = rows[(rows["experiment"] == exp.called) & (rows["data"] != exp.dossier.fingerprint)]
    return [_beside(row) for row in rows.to_dict("records")]


def _beside(row: dict[str, Any]) -> Sentence:
    name, verdict = row["experiment"], row["verdict"] or "no verdict"
    return Sentence(
        f"[The same at length](../published/{OVERLAY}/{name}.ipynb), {counted(row['seeds'], 'seed')}, "
        f"{row['blocks']} blocks, finished {row['finished']}: {row['metric']} {_moved(row)}, {verdict}."
    )


def _moved(row: dict[str, Any]) -> str:
    return f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"


def table(log: Sequence[Entry]) -> Styler:
    """Verdicts at length beside those of ``log``: a row an experiment, with when and where they were made."""
    here = {row["experiment"]: row for row in verdicts(log).to_dict("records")}
    rows = [
        {
            "experiment": row["experiment"],
            "metric": row["metric"],
            "here": _moved(demo) if (demo := here.get(row["experiment"])) else MISSING,
            "verdict here": demo["verdict"] if demo else MISSING,
            "at length": _moved(row),
            "verdict at length": row["verdict"],
            **{name: row[name] for name in ("seeds", "blocks", "finished", "commit", "machine")},
        }
        for row in recorded().to_dict("records")
    ]
    frame = pd.DataFrame(rows or [{"experiment": "nothing is published yet: run make study"}])
    return styled_table(frame, "at-length", index=False)


# What the processor's arithmetic changes in a figure, beside what the seed changes: `make processors`.
#
# Sums that are rounded in another order lead a training to other weights. How far the figures go apart is
# measured with trainings that differ in nothing else, and kept in ``published/processors.csv``.

SEEDS = (42, 43, 44)
SAME = ["experiment", "arithmetic", "seed"]  # what one row is about
PROCESSOR_COLUMNS = [*SAME, "val mIoU", "processor", "torch", "commit", "finished"]


def processors_file() -> Path:
    """Where the record is kept. Raises FileNotFoundError without a repository."""
    return provenance.repository() / "published" / "processors.csv"


def recorded_processors() -> pd.DataFrame:
    """The record: one row a training, with ``PROCESSOR_COLUMNS``, val mIoU from 0 to 1.

    Without a row where nothing was recorded. Raises ValueError for a file that is no such record.
    """
    path = processors_file()
    if not path.exists():
        return pd.DataFrame(columns=PROCESSOR_COLUMNS)
    try:
        rows = pd.read_csv(path)
    except (OSError, ValueError) as error:  # a folder; no table, or not UTF-8
        raise _foreign(path, f"cannot be read as a table ({error})") from error
    if list(rows.columns) != PROCESSOR_COLUMNS:
        raise _foreign(
            path, f"has the columns {', '.join(rows.columns)}, expected {', '.join(PROCESSOR_COLUMNS)}"
        )
    return rows


def _foreign(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path} {reason}: it was not written by this tool, which writes there; move it away")


def record_processors(names: list[str]) -> None:
    """Train the experiments of these notebooks at demo scale with ``SEEDS`` under the arithmetic at hand.

    Rows of the same experiment, arithmetic and seed are replaced. Raises as ``open_notebook``; before
    anything is trained ValueError as ``recorded_processors``, and where a link stands in the record's place.
    """
    if processors_file().is_symlink():
        raise _foreign(processors_file(), "is a link")
    recorded_processors()
    demo = provenance.repository() / "params" / "demo.yaml"
    overlay = {**yaml.safe_load(demo.read_text(encoding="utf-8")), "seeds": list(SEEDS)}
    rows = [_processor_row(run) for name in names for run in open_notebook(name, **overlay).runs()]
    every = (
        pd.concat([recorded_processors(), pd.DataFrame(rows)])
        if len(recorded_processors())
        else pd.DataFrame(rows)
    )
    every = every.drop_duplicates(SAME, keep="last").sort_values(SAME)
    processors_file().parent.mkdir(exist_ok=True)
    with replacing(processors_file()) as draft:
        every.to_csv(draft, index=False)


def _processor_row(run: Run) -> dict[str, str | int | float]:
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
    told = [arithmetic[name] for name in ("onednn_limit", "aten_limit") if arithmetic[name]]
    limits = listed(list(dict.fromkeys(told)))
    limited = f" limited to {limits}" if limits else ""
    return f"{arithmetic['instruction_set']}{limited}, {counted(int(arithmetic['demo_threads']), 'thread')}"


def spreads(rows: pd.DataFrame) -> pd.DataFrame:
    """How far val mIoU goes apart, a row an experiment; ``rows`` as ``recorded_processors`` gives them.

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


def processors_sentence() -> Sentence:
    """Both spreads in words, and where the record comes from."""
    rows = recorded_processors()
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


def processors_table() -> Styler:
    """Val mIoU of every training: one row an experiment and arithmetic, one column a seed."""
    wide = recorded_processors().pivot(index=SAME[:2], columns="seed", values="val mIoU").reset_index()
    wide.columns = pd.Index([f"seed {name}" if isinstance(name, int) else name for name in wide.columns])
    return styled_table(wide, "processors", index=False).format(precision=3)


@styled
def processors_figure() -> Figure | Sentence:
    """Val mIoU of every training: a row an experiment and arithmetic, a dot a seed; a sentence if none."""
    rows = recorded_processors()
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
        "Validation mIoU of trainings that differ in seed and arithmetic only: the processor's instruction "
        "set, limits on it, and the number of threads. Dots of one colour and shape share their seed.",
        "Dot plot: one row an experiment and arithmetic, one dot a seed, a line from lowest to highest.",
    )


# How the demo's settings were chosen, on a city that no experiment uses: `make tuning`.
#
# One parameter of one experiment is changed at a time, with one seed: the table shows where a setting would
# have been clearly better, no more than that.

TUNING_SEED = 99  # of the city; no other has it
GROUND = "km2 to learn from"  # no parameter: another city
TUNED: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    ("exp05", "learning_rate", (5e-4, 1e-3, 2e-3)),
    ("exp05", "encoder_learning_rate", (3e-5, 1e-4, 3e-4)),
    ("exp05", "batch_size", (4, 8, 16)),
    ("exp05", "schedule", ("one_cycle", "plateau")),
    ("exp05", "epochs", (2, 4, 8)),
    ("exp05", GROUND, tuple(CITIES)[:2]),
    ("exp01", "learning_rate", (5e-4, 1e-3, 2e-3)),
    ("exp07", "learning_rate", (1e-4, 1e-3, 2e-3)),
)
TUNING_COLUMNS = [
    *("experiment", "parameter", "value", "stated", "val mIoU"),
    *("processor", "commit", "finished"),
]


def tuning_file() -> Path:
    """Where the record is kept. Raises FileNotFoundError without a repository."""
    return provenance.repository() / "published" / "tuning.csv"


def recorded_tuning() -> pd.DataFrame:
    """The record: a row a training, with ``TUNING_COLUMNS``; none where nothing was recorded.

    stated: whether the experiment's notebook (at demo scale) has this value.
    """
    path = tuning_file()
    return pd.read_csv(path, dtype={"value": str}) if path.is_file() else pd.DataFrame(columns=TUNING_COLUMNS)


def tuning_city(city: str) -> Path:
    """Root of a city of ``TUNING_SEED``, otherwise as the demo's of that name; written the first time."""
    arguments = {**CITIES[city], "seed": TUNING_SEED}
    path = files.cache_folder() / f"tuning_{fingerprint(sorted(arguments.items()))}"

    def make(root: Path) -> Path:
        with TemporaryDirectory(dir=root.parent) as scratch:
            write(Path(scratch) / "tree", **arguments)  # type: ignore[arg-type]
            (Path(scratch) / "tree").rename(root)
        return root

    return files.kept(path, lambda root: root if root.is_dir() else None, make)


def trials() -> list[tuple[str, str, Any, Experiment]]:
    """Experiment, parameter and value of every trial, and the experiment to run: checked, nothing trained.

    More ground is seen for as many steps: of four times the ground, a quarter of the epochs.
    """
    found = []
    for name, parameter, values in TUNED:
        for value in values:
            changed = {"epochs": 1 if value == "large" else 4} if parameter == GROUND else {parameter: value}
            root = str(tuning_city(value if parameter == GROUND else "small"))
            exp = open_notebook(name, data_root=root, seeds=[SEEDS[0]], **changed)
            found.append((name, parameter, value, exp))
    return found


def record_tuning(_asked: Sequence[str]) -> None:
    """Train every trial and keep what came out. Raises as ``open_notebook``."""
    rows = [_tuning_row(*trial) for trial in trials()]
    with replacing(tuning_file()) as draft:
        pd.DataFrame(rows, columns=TUNING_COLUMNS).to_csv(draft, index=False)


def _tuning_row(name: str, parameter: str, value: Any, exp: Experiment) -> dict[str, Any]:
    (run,) = exp.runs()
    own = definition(name).parameters
    stated = value == "small" if parameter == GROUND else getattr(own, parameter) == value
    told = round(_learnt_from(exp), 2) if parameter == GROUND else value
    return {
        **{"experiment": name, "parameter": parameter, "value": told, "stated": stated},
        "val mIoU": round(run.scores()["mIoU"], 4),
        "processor": run.record["machine"]["processor"],
        "commit": run.record["git"]["commit"][:8],
        "finished": run.record["finished"][:10],
    }


def _learnt_from(exp: Experiment) -> float:
    """Ground (km2, at 1 m a pixel) of a city's train part; neighbouring patches share some of it."""
    cut = CITIES["large" if (exp.table["split"] == "train").sum() > 1000 else "small"]
    columns, rows = cast("tuple[int, int]", cut["cols"])[0], cast(int, cut["rows"])
    size, stride = cast(int, cut["patch_size"]), cast(int, cut["stride"])
    height, width = ((n - 1) * stride + size for n in (rows, columns))
    return 2 * height * width / 1e6


def tuning_table() -> Styler | None:
    """Every trial, what the notebooks state marked."""
    rows = recorded_tuning()
    if rows.empty:
        return None  # the sentence says so
    shown = rows[["experiment", "parameter", "value", "stated", "val mIoU"]].copy()
    shown["stated"] = np.where(shown["stated"], "stated", "")
    return styled_table(shown, "tuning", index=False).format(precision=3, subset=["val mIoU"])


def tuning_sentence() -> Sentence:
    """For each parameter, whether another value than the stated one did better, and where it was recorded."""
    rows = recorded_tuning()
    if rows.empty:
        return Sentence("Nothing is recorded yet: `make tuning` trains and records.")
    told = []
    for (name, parameter), part in rows.groupby(["experiment", "parameter"], sort=False):
        best, own = part.loc[part["val mIoU"].idxmax()], part[part["stated"]].iloc[0]
        gain = best["val mIoU"] - own["val mIoU"]
        told.append(
            f"{name}, {parameter}: {own['value']} is the best of {counted(len(part), 'value')}."
            if best["stated"]
            else f"{name}, {parameter}: {best['value']} gave {gain:.3f} more than the stated {own['value']}."
        )
    machines, commits = (listed(sorted(set(rows[c].astype(str)))) for c in ("processor", "commit"))
    return Sentence(f"{' '.join(told)} Recorded on {machines} with commit {commits}.")


# How often verdicts were right: the demo's pairs on cities that no training saw, `make truth`.

TRAINED = (42, 43, 44)  # seeds that are compared; further ones follow them
NOTHING = Sentence("Nothing is recorded yet: `make truth` judges and records.")
TRUTH_COLUMNS = [
    *("experiment", "cities", "further", "truth", "predicted", "demo", "blocks", "seeds", "method"),
    *("intervals", "held", "width", "right", "wrong", "open"),
]


def truth_file() -> Path:
    """Where the rates are kept. Raises FileNotFoundError without a repository."""
    return provenance.repository() / "published" / "truth.csv"


def recorded_truth() -> pd.DataFrame:
    """The record, with ``TRUTH_COLUMNS``: ``simulation.truth_rates`` of each experiment; no row without one.

    cities: how many fresh cities were judged; further: seeds beside those that are compared. truth: the
    difference to the baseline on all fresh ground, mean over the further seeds (without any, over those that
    are compared). predicted: its outcome; demo: the demo's own.
    """
    path = truth_file()
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=TRUTH_COLUMNS)


def record_truth(asked: Sequence[str]) -> None:
    """Judge experiments and their baselines on fresh cities; rows of the same experiments are replaced.

    ``asked``: number of cities, number of further seeds, names (without any, all that predict something of
    class maps). What is not trained yet is trained. Raises ValueError for one that predicts nothing of them.
    """
    cities, further, *names = asked
    for name in names or [path.stem for path in notebook_files() if _of_maps(path.stem)]:
        found = _truth(name, int(cities), int(further))
        kept = recorded_truth()
        every = pd.concat([kept[kept["experiment"] != name], found]) if len(kept) else found
        rows = every.sort_values(["experiment", "blocks", "seeds", "method"])
        _write(truth_file(), rows.to_csv(index=False, float_format="%.5f"))


def _of_maps(name: str) -> Prediction | None:
    """What an experiment predicts of class maps; None where that is nothing."""
    text = getattr(definition(name).parameters, "prediction", "")
    stated = Prediction.parse(text) if text else None
    return stated if stated and stated.metric in METRICS else None


def _truth(name: str, cities: int, further: int) -> pd.DataFrame:
    overlay = yaml.safe_load((provenance.repository() / "params" / "demo.yaml").read_text(encoding="utf-8"))
    if (stated := _of_maps(name)) is None:
        raise ValueError(f"{name} predicts nothing of class maps, so it has no truth to be held against")
    seeds = [*TRAINED, *(max(TRAINED) + number for number in range(1, further + 1))]
    exp = open_notebook(name, **{**overlay, "seeds": seeds})
    sides = exp.runs(), exp.baseline()
    of = measure(stated.metric, sides[0][0].labels.judged_with(sides[1][0].labels))
    train, pieces = exp.table[exp.table["split"] == "train"], []
    for city in FRESH[:cities]:
        fresh = open_notebook(name, **{**overlay, "data_root": str(demo_city(city))})
        judged = [
            [judge_on(run, train, fresh.table, fresh.dossier.fingerprint) for run in side] for side in sides
        ]
        pieces += [block_counts(judged, split, of) for split in ("val", "test")]
    rows = simulation.against_truth(pieces, of, stated, len(TRAINED))
    whole = of.score(np.sum([piece.values.sum(axis=2) for piece in pieces], axis=0))
    truth = float((whole[0] - whole[1])[len(TRAINED) if further else 0 :].mean())
    own = [[run for run in side if run.seed in TRAINED] for side in sides]
    demo = exp.judge(*own)[1].word
    known = {"experiment": name, "cities": cities, "further": further, "truth": truth, "demo": demo}
    predicted = outcome_of(stated, truth, truth)
    return simulation.truth_rates(rows).assign(**known, predicted=predicted)[TRUTH_COLUMNS]


COUNTED_BY = (
    "wusu_lib.experiment.two_stage:stacks",
    "wusu_lib.experiment.segmentation:Predictor,build_network",
    "wusu_lib.measures.classes:confusion",
)
IMAGES = 64  # whose probabilities are held at a time


@dataclass(frozen=True)
class Judged:
    """What ``measures.comparison`` needs of a run: its counts on the validation and test images of a tree.

    ``confusion``: one row an image, with patch, site, date, split and block; ``matrices``: int64 [N, 12, 12]
    as ``confusion``, rows truth.
    """

    seed: int
    confusion: pd.DataFrame
    matrices: np.ndarray


def judge_on(run: Run, train: pd.DataFrame, table: pd.DataFrame, name: str) -> Judged:
    """Judge a stored run's model on the images of ``table`` that are labelled and not in its train part.

    ``train``: the rows that a per-pixel floor is fitted to. ``name``: of the tree, under which the counts are
    kept in the cache folder; a tree of another content has another name. The images have one size.
    """
    rows = table[(table["split"] != "train") & table["mask"].notna()].reset_index(drop=True)

    def make(path: Path) -> np.ndarray:
        found = _matrices(stacks(run, train), rows)
        with replacing(path) as draft, draft.open("wb") as file:
            np.savez_compressed(file, matrices=found)
        return found

    code = provenance.text_hash(str(provenance.code(COUNTED_BY)))
    path = files.cache_folder() / f"judged_{run.key}_{name}_{code}.npz"
    matrices = files.kept(path, _stored_matrices, make)
    return Judged(run.seed, rows[["patch", "site", "date", "split", "block"]], matrices)


def _stored_matrices(path: Path) -> np.ndarray | None:
    return np.load(path)["matrices"] if path.is_file() else None


def _matrices(stack: Stack, rows: pd.DataFrame) -> np.ndarray:
    found = []
    for start in range(0, len(rows), IMAGES):
        part = rows.iloc[start : start + IMAGES]
        maps = stack(part["image"].tolist()).argmax(axis=1).astype(np.uint8)
        truth = (read_index(mask) for mask in part["mask"])
        found += [confusion(*pair) for pair in zip(truth, maps, strict=True)]
    return np.stack(found)


@styled
def truth_figure() -> Figure | Sentence:
    """Share of intervals that hold the truth, by blocks: a panel a number of seeds, a line a method."""
    rows = recorded_truth()
    if rows.empty:
        return NOTHING
    pooled = _pooled(rows)
    seeds = sorted(set(pooled["seeds"]))
    drawn = open_figure(3.2)
    panels = drawn.subplots(1, len(seeds), sharey=True, squeeze=False)[0]
    for axes, number in zip(panels, seeds, strict=True):
        for method, colour, marker in zip(simulation.METHODS, LINES, "osD", strict=False):
            part = pooled[(pooled["seeds"] == number) & (pooled["method"] == method)]
            axes.plot(part["blocks"], part["held"], color=colour, marker=marker, label=method)
        axes.axhline(LEVEL, color=QUIET, linewidth=1, linestyle="--")
        axes.set(title=counted(number, "seed"), xlabel="blocks", xscale="log")
        axes.set_xticks(
            sorted(simulation.SIZES), [str(size) for size in sorted(simulation.SIZES)], minor=False
        )
        axes.minorticks_off()
    panels[0].set_ylabel("share that holds the truth")
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper right", ncols=len(labels))
    return captioned(
        drawn,
        "held",
        "Share of 95 % intervals that hold the true difference, over all experiments and parts of the fresh "
        "ground, by the number of blocks of a part. Dashed: what is promised.",
        "Line plot: share of intervals that hold the truth against the number of blocks, a line a method.",
    )


def _pooled(rows: pd.DataFrame) -> pd.DataFrame:
    """``recorded_truth`` over all experiments, weighted by their intervals."""
    weighed = rows.assign(
        **{name: rows[name] * rows["intervals"] for name in ("held", "right", "wrong", "open")}
    )
    sums = weighed.groupby(["blocks", "seeds", "method"])[
        ["intervals", "held", "right", "wrong", "open"]
    ].sum()
    shares = sums[["held", "right", "wrong", "open"]].div(sums["intervals"], axis=0)
    return shares.assign(intervals=sums["intervals"]).reset_index()


def truth_sentence() -> Sentence | None:
    """How often the verdicts' intervals held the truth, and how often a verdict was right, wrong or open."""
    rows = recorded_truth()
    if rows.empty:
        return None  # the figure says so
    pooled = _pooled(rows[rows["method"] == "ours"])
    most = pooled[pooled["blocks"] == pooled["blocks"].max()]
    told = [
        f"With {row.blocks} blocks and {counted(int(row.seeds), 'seed')}, {row.held:.1%} of "
        f"{int(row.intervals)} intervals held the truth; {row.right:.0%} of the verdicts were right, "
        f"{row.wrong:.1%} wrong, {row.open:.0%} left it open."
        for row in most.itertuples()
    ]
    firsts = rows.drop_duplicates("experiment")
    cities, further = (between(firsts[name], "{:g}") for name in ("cities", "further"))
    ground = f"Judged on {cities} fresh cities, with {further} further seeds."
    wrong = firsts[(firsts["demo"] != firsts["predicted"]) & (firsts["demo"] != "inconclusive")]
    own = (
        f"{listed(wrong['experiment'].tolist())} of the demo's own"
        if len(wrong)
        else "None of the demo's own"
    )
    return Sentence(
        " ".join([ground, *told, f"{own} {counted(len(firsts), 'verdict')} contradict the truth."])
    )


def truth_pairs_table() -> Styler | None:
    """A row an experiment: true difference to its baseline, the demo's verdict, the outcome of the truth."""
    rows = recorded_truth().drop_duplicates("experiment")
    if rows.empty:
        return None  # the figure says so
    shown = rows[["experiment", "truth", "demo", "predicted"]].rename(
        columns={
            "truth": "true difference",
            "demo": "the demo's verdict",
            "predicted": "outcome of the truth",
        }
    )
    return styled_table(shown, "pairs", index=False).format("{:+.4f}", subset=["true difference"])


def truth_table() -> Styler | None:
    """``_pooled`` in a table: a row a number of blocks, seeds and method."""
    if recorded_truth().empty:
        return None  # the figure says so
    shown = _pooled(recorded_truth())[
        ["blocks", "seeds", "method", "intervals", "held", "right", "wrong", "open"]
    ]
    return styled_table(shown, "truth", index=False).format(
        "{:.1%}", subset=["held", "right", "wrong", "open"]
    )


if __name__ == "__main__":
    command, *asked = sys.argv[1:]
    commands = {
        "publish": publish_here,
        "processors": record_processors,
        "tuning": record_tuning,
        "truth": record_truth,
    }
    commands[command](asked)
