"""The log at a glance, from stored records only: status, effects, reported beside reproduced, every run."""

from wusu_lib.overview.board import status_board
from wusu_lib.overview.effects import effects, effects_figure, effects_sentence, effects_table
from wusu_lib.overview.log import Entry, collect
from wusu_lib.overview.questions import roadmap
from wusu_lib.overview.report import reported_notes, reported_table
from wusu_lib.overview.stored import by_setting, every_run, interrupted

__all__ = [
    "Entry",
    "by_setting",
    "collect",
    "effects",
    "effects_figure",
    "effects_sentence",
    "effects_table",
    "every_run",
    "interrupted",
    "reported_notes",
    "reported_table",
    "roadmap",
    "status_board",
]
