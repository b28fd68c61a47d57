"""The pages of the log: what each experiment's notebook shows alike, and the code that a page is about."""

from wusu_lib.pages.page import Page
from wusu_lib.pages.source import excerpt

__all__ = ["Page", "excerpt"]
