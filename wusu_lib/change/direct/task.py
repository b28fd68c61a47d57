"""What is learnt and counted of pairs, in the loop that trains everything else."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from wusu_lib.change.direct.judging import PairTally, pair_loss
from wusu_lib.change.direct.siamese import SiameseModel
from wusu_lib.training.task import Task

if TYPE_CHECKING:
    from wusu_lib.parameters import DirectParameters


class DirectTask(Task[PairTally]):
    """Change of pairs [B, 2, C, H, W], with ``weight`` as in ``judging.pair_loss``."""

    settings: "DirectParameters"

    def __init__(self, model: SiameseModel, parameters: "DirectParameters", weight: float) -> None:
        self.weight = weight
        super().__init__(model, parameters)

    def batch_loss(self, batch: dict[str, Any]) -> tuple[Tensor, int]:
        """``judging.pair_loss`` of the network's outputs."""
        return pair_loss(self.model(batch["image"]), batch["mask"], batch["change"], self.weight)

    def empty_tally(self) -> PairTally:
        """Counts of change."""
        return PairTally(self.settings.method, self.settings.background, self.weight, self.keep_maps)

    def count(self, batch: dict[str, Any]) -> None:
        """Count the changes predicted."""
        self.tally.add(batch, self.model(batch["image"]))
