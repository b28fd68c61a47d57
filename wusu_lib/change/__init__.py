"""Stage 2: two class maps -> changes: from-to maps, the masks' code, measures, cleaning, joint decoding."""

from wusu_lib.change import chains, transitions
from wusu_lib.change.codebook import CodeBook, learn
from wusu_lib.change.decoding import decode
from wusu_lib.change.evidence import count_chains, count_transitions, cross_tabulate
from wusu_lib.change.maps import from_to
from wusu_lib.change.matrices import binary_confusion, confusion, reduce
from wusu_lib.change.measures import counts, score, scores
from wusu_lib.change.prior import Prior, learn_prior
from wusu_lib.change.slivers import drop_slivers
from wusu_lib.change.stored import code_book
from wusu_lib.change.units import drop_small, learn_units

__all__ = [
    "CodeBook",
    "Prior",
    "binary_confusion",
    "chains",
    "code_book",
    "confusion",
    "count_chains",
    "count_transitions",
    "counts",
    "cross_tabulate",
    "decode",
    "drop_slivers",
    "drop_small",
    "from_to",
    "learn",
    "learn_prior",
    "learn_units",
    "reduce",
    "score",
    "scores",
    "transitions",
]
