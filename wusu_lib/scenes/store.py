"""Finished strips on disk, each whole or absent, so that an interrupted scene can be gone on with."""

import shutil
from pathlib import Path

import numpy as np

from wusu_lib.atomic import replacing, write_json
from wusu_lib.runs.stored import read_record
from wusu_lib.scenes.inference import Job

PLAN = "record.json"


class Store:
    """Strips of one job in a folder, which is emptied if it holds those of another (``plan`` tells)."""

    def __init__(self, folder: Path, job: Job, plan: dict) -> None:
        self.folder, self.job = folder, job
        if read_record(folder) != plan:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_json(folder / PLAN, plan)

    def missing(self, panel: int) -> list[int]:
        """Strips of a panel that are not there yet."""
        return [n for n in range(len(self.job.rows.starts)) if not self._path(panel, n).exists()]

    def write(self, panel: int, strip: int, values: np.ndarray) -> None:
        """Keep a strip: uint8 [dates + 1, rows, columns]."""
        with replacing(self._path(panel, strip)) as draft, draft.open("wb") as file:
            np.save(file, values)

    def read(self, channel: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """A part of the whole: uint8 [height, width] of one channel (dates, then confidence)."""
        part = np.empty((height, width), dtype=np.uint8)
        for panel in range(len(self.job.panels)):
            for strip in range(len(self.job.rows.starts)):
                t, b, l, r = self.job.place(panel, strip)  # noqa: E741
                y, y2, x, x2 = max(t, top), min(b, top + height), max(l, left), min(r, left + width)
                if y < y2 and x < x2:
                    values = np.load(self._path(panel, strip), mmap_mode="r")
                    part[y - top : y2 - top, x - left : x2 - left] = values[
                        channel, y - t : y2 - t, x - l : x2 - l
                    ]
        return part

    def _path(self, panel: int, strip: int) -> Path:
        return self.folder / f"strip_{panel:03d}_{strip:05d}.npy"
