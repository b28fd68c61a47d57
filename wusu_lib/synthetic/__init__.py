"""The mini city: a made-up data set in exactly WUSU's layout, the demo's embedded default.

``write`` makes a tree of any size, ``write_demo`` the small one that the notebooks run on, ``planted`` lists
the label errors that were made on purpose.
"""

from wusu_lib.synthetic.tree import DEMO_ARGUMENTS, demo_name, planted, write, write_demo

__all__ = ["DEMO_ARGUMENTS", "demo_name", "planted", "write", "write_demo"]
