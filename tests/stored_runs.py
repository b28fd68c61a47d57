"""Stores small made runs as an experiment would, so that tests read real folders back."""

import numpy as np
import pandas as pd
from made_runs import patch_table, two_class_matrix

from wusu_lib import provenance
from wusu_lib.runs.results import write_results
from wusu_lib.runs.store import making, stored

STATED = {"scale": "demo", "split": "blocks", "background": "ignore"}


def open_run(name, key, facts, fill):
    """The run of that key, made by ``fill(folder)`` where it is not complete."""
    with making(name, key, facts) as draft:
        if draft is not None:
            draft.record |= fill(draft.folder)
    return stored(name, key, facts["parameters"])


def two_splits() -> pd.DataFrame:
    """Six validation patches in two blocks, three training patches in one."""
    train = patch_table(1, 1, split="train").replace("test/HS", "train/HS", regex=True)
    return pd.concat([patch_table(2, 1), train], ignore_index=True)


def store(name, seed, val, train=(9, 10, 9, 10), losses=None, history=None, **parameters):
    """A stored run that hits Road and Low building as ``made_runs.two_class_matrix`` is told, by split.

    ``val`` and ``train``: hits and pixels of both classes in each patch, or a matrix [12, 12].
    """
    rows = two_splits()
    each = {"val": val, "train": train}
    each = {s: m if isinstance(m, np.ndarray) else two_class_matrix(*m) for s, m in each.items()}
    curves = pd.DataFrame(columns=["epoch", "train/loss", "val/loss"]) if history is None else history

    def fill(folder):
        curves.to_csv(folder / "history.csv", index=False)
        found = write_results(folder, rows, np.stack([each[split] for split in rows["split"]]), {}, {})
        return found | {"losses": losses or {}, "seconds": 90, "device": "cpu"}

    facts = {
        "parameters": {"name": name, **STATED, **parameters},
        "seed": seed,
        "git": {"commit": "0123456789abcdef", "dirty": False},
    }
    figures = [np.asarray(each[split]).tolist() for split in each]
    content = [name, seed, figures, losses, curves.to_csv(), sorted(parameters.items())]
    key = provenance.text_hash(repr(content))
    return open_run(name, key, facts, fill)
