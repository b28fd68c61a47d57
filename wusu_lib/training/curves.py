"""TensorBoard event files of a training: what history.csv and steps.csv hold, to be watched live."""

from pathlib import Path


class Events:
    """Writes one epoch at a time; after an interruption TensorBoard drops what comes to be written twice."""

    def __init__(self, folder: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_step or None)

    def add(self, row: dict[str, float], steps: list[dict[str, float]]) -> None:
        """Add an epoch's row and its steps; everything is drawn over the optimiser's steps."""
        for step in steps:
            for name in ("train/loss", "gradient_norm"):
                self._writer.add_scalar(f"step/{name}", step[name], int(step["step"]))
        last = int(steps[-1]["step"])
        for name in row.keys() - {"epoch"}:
            self._writer.add_scalar(name, row[name], last)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
