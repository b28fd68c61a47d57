"""What becomes of each lot from date to date: building sites on old land, then what is built on them."""

import numpy as np

from wusu_lib.synthetic.acquisition import DATES
from wusu_lib.synthetic.layout import Layout

# Plausible next uses; a use that is not listed stays.
NEXT: dict[str, tuple[str, ...]] = {
    "farm": ("excavation", "bare", "excavation"),
    "wood": ("excavation", "bare"),
    "oldtown": ("excavation", "bare"),
    "lowrise": ("excavation",),
    "greenhouse": ("bare", "excavation"),
    "lawn": ("plaza", "excavation"),
    "bare": ("lawn", "plaza", "industry", "street"),
    "excavation": ("towers", "slabs", "industry", "plaza", "street", "towers"),
}
CHANGED_AREA = 0.070  # of a district's area, an interval


def unfold(layout: Layout, rng: np.random.Generator) -> list[dict[int, str]]:
    """Use of every lot at every date of ``DATES``: one dict (lot number -> use) a date.

    In each interval and district, lots change until ``CHANGED_AREA`` of the district's ground has.
    """
    uses = [{lot.number: lot.use for lot in layout.lots}]
    quota = CHANGED_AREA * layout.shape[0] * layout.shape[1] / layout.districts
    for _ in DATES[1:]:
        now = dict(uses[-1])
        for district in range(layout.districts):
            lots = [lot for lot in layout.lots if lot.district == district and uses[-1][lot.number] in NEXT]
            changed = 0.0
            for k in rng.permutation(len(lots)):
                choice = rng.random()
                if changed + 0.5 * lots[k].area > quota:
                    continue
                following = NEXT[uses[-1][lots[k].number]]
                now[lots[k].number] = following[int(choice * len(following))]
                changed += lots[k].area
        uses.append(now)
    return uses
