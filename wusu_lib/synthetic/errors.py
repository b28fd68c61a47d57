"""Label errors planted on purpose: small objects left unlabelled or given a neighbouring class."""

from dataclasses import dataclass

import numpy as np

UNLABELLED_SHARE = 0.03  # of small objects
MISLABELLED_SHARE = 0.02
LARGEST = 900  # pixels; larger objects are annotated rightly

# Code given by mistake for each true code; River is never mistaken.
CONFUSED: dict[int, tuple[int, ...]] = {
    1: (10,),
    2: (3, 10),
    3: (2,),
    4: (7, 12),
    6: (7,),
    7: (6, 4),
    9: (8,),
    10: (2, 11),
    11: (12, 10),
    12: (11, 4),
}


@dataclass(frozen=True)
class LabelError:
    """One planted error: ``kind`` "unlabelled" or "mislabelled", codes as on disk."""

    kind: str
    true_code: int
    given_code: int


def draw(code: int, pixels: int, date_index: int, rng: np.random.Generator) -> LabelError | None:
    """Decide whether an object of ``pixels`` pixels is annotated wrongly at a date.

    A class mistaken is mistaken at every date at which the object stands; a label left out is left out at
    one date in half of the cases and at all dates in the other. Always draws three numbers, whatever comes
    out.
    """
    chance, choice, when = rng.random(3)
    if pixels > LARGEST or code not in CONFUSED:
        return None
    if chance < UNLABELLED_SHARE:
        return LabelError("unlabelled", code, 0) if when > 0.5 or int(when * 6) == date_index else None
    if chance < UNLABELLED_SHARE + MISLABELLED_SHARE:
        return LabelError("mislabelled", code, CONFUSED[code][int(choice * len(CONFUSED[code]))])
    return None
