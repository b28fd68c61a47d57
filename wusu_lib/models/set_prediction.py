"""Segmentation by a set of masks: from queries to a score for every class at every pixel."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wusu_lib.legend import IGNORE
from wusu_lib.losses import TrainingLoss, pixel_loss
from wusu_lib.models.segmentation import SegmentationModel
from wusu_lib.models.set_loss import Queries, set_loss

FLOOR = 1e-6  # added to every score: a class that no query claims at a pixel is very unlikely, not impossible


class ClassScores(nn.Module):
    """Log class probabilities [B, K, H, W] of the last layer's queries.

    A pixel's score for a class is the sum over the queries of class probability (softmax with "no object",
    which is then left out) times mask probability (sigmoid), as the study and Mask2Former have it. Scores are
    no probabilities: at a pixel that no mask covers they are all near zero. Divided by their sum they are,
    and their logarithm can be used like logits: its softmax is the normalised scores, its cross-entropy their
    negative log-likelihood. That is what is given. In float32, on masks enlarged to the image's size.
    """

    def forward(self, queries: Queries, size: tuple[int, int]) -> Tensor:
        classes = queries.classes[-1].float().softmax(-1)[..., :-1]  # [B, Q, K]
        masks = F.interpolate(queries.masks[-1].float(), size=size, mode="bilinear", align_corners=False)
        with torch.autocast(masks.device.type, enabled=False):
            scores = torch.einsum("bqk,bqhw->bkhw", classes, masks.sigmoid()) + FLOOR
        return scores.log() - scores.sum(dim=1, keepdim=True).log()


class SetSegmentationModel(SegmentationModel):
    """A segmentation model whose decoder gives ``Queries`` and whose head is ``ClassScores``.

    It is trained by matching queries to the truth (``set_loss``), not by the cross-entropy of its output,
    which is what every model is evaluated by.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Log class probabilities [B, outputs, H, W] of images [B, 4, H, W]; raises as every model does."""
        return self._scores(self.features(images), images.shape[-2], images.shape[-1])

    def training_loss(self, images: Tensor, mask: Tensor) -> TrainingLoss:
        """The set loss of the batch, times the number of labelled pixels, beside its cross-entropy.

        images [B, 4, H, W], mask int64 train ids [B, H, W]. Pixels added by padding count as ignored.
        """
        height, width = mask.shape[-2:]
        queries: Queries = self.features(images)
        with torch.no_grad():
            entropy, pixels = pixel_loss(self._scores(queries, height, width), mask)
        padded = F.pad(mask, self.padding(height, width), value=IGNORE)
        points: int = self.decoder.config.train_num_points  # type: ignore[union-attr, assignment]
        loss = set_loss(queries, padded, points)
        return TrainingLoss(loss * pixels, pixels, entropy)

    def features(self, images: Tensor) -> Queries:  # type: ignore[override]
        """The decoder's queries; their masks cover the padded images."""
        return super().features(images)  # type: ignore[return-value]

    def _scores(self, queries: Queries, height: int, width: int) -> Tensor:
        left, right, top, bottom = self.padding(height, width)
        scores = self.head(queries, (height + top + bottom, width + left + right))
        return scores[..., top : top + height, left : left + width]
