"""The mini city: a made-up data set in exactly WUSU's layout, the demo's embedded default.

``write`` makes a tree of any size, ``write_demo`` the small one that the notebooks run on, ``planted`` lists
the label errors that were made on purpose. ``World`` and ``Sensor`` describe other ground and how another
instrument sees it, for pre-training; ``light_of`` and ``seen`` make it, without labels. ``fingerprint``
tells what it was made of. ``expose`` gives an area of the city as arrays.
"""

from wusu_lib.synthetic.scene import expose
from wusu_lib.synthetic.tree import CITIES, FRESH, demo_name, fingerprint, planted, write, write_demo
from wusu_lib.synthetic.world import Sensor, World, light_of, seen

__all__ = [
    "CITIES",
    "FRESH",
    "Sensor",
    "World",
    "demo_name",
    "expose",
    "fingerprint",
    "light_of",
    "planted",
    "seen",
    "write",
    "write_demo",
]
