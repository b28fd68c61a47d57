"""The mini city: a made-up data set in exactly WUSU's layout, the demo's embedded default.

``write`` makes a tree of any size, ``demo_city`` the small one that the notebooks run on, ``planted`` lists
the label errors that were made on purpose.
"""

from wusu_lib.synthetic.tree import DEMO_ARGUMENTS, demo_city, planted, write

__all__ = ["DEMO_ARGUMENTS", "demo_city", "planted", "write"]
