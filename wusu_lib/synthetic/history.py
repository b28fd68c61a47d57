"""What becomes of each lot from date to date: building sites on old land, then what is built on them."""

import numpy as np

from wusu_lib.synthetic.acquisition import DATES
from wusu_lib.synthetic.layout import Layout

# Plausible next uses; a use that is not listed stays.
NEXT: dict[str, tuple[str, ...]] = {
    "farm": ("excavation", "bare", "greenhouse", "lawn", "street"),
    "wood": ("excavation", "bare", "street"),
    "park": ("excavation", "bare"),  # a lake filled in
    "oldtown": ("excavation", "bare", "plaza"),
    "lowrise": ("excavation", "bare"),
    "industry": ("excavation", "bare"),
    "greenhouse": ("bare", "excavation", "farm"),
    "plaza": ("excavation", "lawn"),
    "lawn": ("plaza", "excavation", "wood"),
    "bare": ("lawn", "plaza", "industry", "street", "excavation", "wood"),
    "excavation": ("towers", "slabs", "towers", "lowrise", "commerce", "slabs", "street", "plaza"),
}
CHANGED_AREA = 0.077  # of a district's area, an interval
SITE_HASTE = 4.0  # how much sooner a building site or cleared ground comes up for change than other land


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
            haste = [SITE_HASTE if uses[-1][lot.number] in ("excavation", "bare") else 1.0 for lot in lots]
            for k in np.argsort(rng.random(len(lots)) / haste):
                choice = rng.random()
                if changed + 0.75 * lots[k].area > quota:
                    continue
                following = NEXT[uses[-1][lots[k].number]]
                now[lots[k].number] = following[int(choice * len(following))]
                changed += lots[k].area
        uses.append(now)
    return uses
