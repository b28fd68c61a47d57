"""The loss of a decoder that predicts a set: queries matched to the classes of an image, one to one.

The method and its weights are Mask2Former's (Cheng et al. 2022, arXiv 2112.01527): the assignment of queries
to the classes present with the lowest cost, then cross-entropy of the queries' classes ("no object" for those
left over), and binary cross-entropy and Dice loss of the matched masks; once for every layer. Two things are
done differently:

- **Ignored pixels are out.** The matching and the mask losses are sums over labelled pixels only, so neither
  labels nor logits elsewhere have a part in the loss. An image without a labelled pixel is left out whole.
- **Points are pixels.** Mask losses are taken at points, as in Mask2Former, where an image has more pixels
  than that; but at the centres of labelled pixels, drawn uniformly and once each. A point between centres
  would mix labelled and ignored pixels. The matching counts every labelled pixel, in the cell of the masks'
  grid that it lies in. Masks are enlarged to the pixels as they are for a prediction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from wusu_lib.legend import IGNORE

CLASS_WEIGHT, MASK_WEIGHT, DICE_WEIGHT = 2.0, 5.0, 5.0
NO_OBJECT_WEIGHT = 0.1  # of a query that is matched to nothing, in the cross-entropy of classes
HOPELESS = 1e6  # cost of a pair whose cost is not finite: taken only where nothing else is left


class Queries(NamedTuple):
    """What a set decoder gives, one entry a layer, the last layer last.

    ``classes``: logits [B, Q, K + 1] of each query's class, the last one "no object". ``masks``: logits
    [B, Q, h, w] of each query's mask, usually at a quarter of the image's size.
    """

    classes: Sequence[Tensor]
    masks: Sequence[Tensor]


@dataclass(frozen=True)
class Target:
    """The T classes present in an image of H x W px, and where.

    ``classes``: int64 [T], ascending. ``pixels``: int64 [P], numbers (of H*W) of labelled pixels at which the
    mask losses are taken. ``truth``: float [T, P], 1 inside the class. ``inside`` [T, h*w] and ``counted``
    [h*w]: how many pixels of each class, and of all, are labelled in each cell of the masks' grid.
    """

    classes: Tensor
    pixels: Tensor
    truth: Tensor
    inside: Tensor
    counted: Tensor


def target(mask: Tensor, grid: tuple[int, int], points: int | None = None) -> Target | None:
    """The target of one image: ``mask`` int64 train ids [H, W] (255 ignored); None if nothing is labelled.

    ``points``: at most so many pixels, drawn from torch's global generator; None = all.
    """
    pixels = (mask != IGNORE).flatten().nonzero().squeeze(1)  # [N]
    if len(pixels) == 0:
        return None
    labels = mask.flatten()[pixels]
    classes = labels.unique()  # sorted
    inside = labels == classes[:, None]  # [T, N]
    cell, cells = _cells(mask.shape[0], mask.shape[1], grid, mask.device)[pixels], grid[0] * grid[1]
    count = torch.stack([torch.bincount(cell[t], minlength=cells) for t in inside]).float()
    if points is not None and len(pixels) > points:
        drawn = torch.randperm(len(pixels), device=mask.device)[:points]
        pixels, inside = pixels[drawn], inside[:, drawn]
    return Target(classes, pixels, inside.float(), inside=count, counted=count.sum(0))


def _cells(height: int, width: int, grid: tuple[int, int], device: torch.device) -> Tensor:
    """Number [H*W] of the cell of an h x w grid in which each pixel's centre lies."""
    rows, columns = (
        ((torch.arange(n, device=device) + 0.5) * (cells / n)).long()
        for n, cells in zip((height, width), grid, strict=True)
    )
    return (rows[:, None] * grid[1] + columns[None, :]).flatten()


def match(classes: Tensor, masks: Tensor, wanted: Target) -> tuple[Tensor, Tensor]:
    """The assignment of queries to the classes of one image with the lowest total cost (Hungarian algorithm).

    classes: [Q, K + 1]; masks: [Q, h, w]. Gives int64 query numbers and positions in ``wanted.classes``, each
    [min(Q, T)]. A cost is the weighted sum of minus the class probability, the mean binary cross-entropy and
    the Dice loss over the labelled pixels, each pixel taking its cell's logit. In float32.
    """
    with torch.no_grad():
        cost = _costs(classes.float(), masks.float().flatten(1), wanted)
        cost = cost.nan_to_num(nan=HOPELESS, posinf=HOPELESS, neginf=HOPELESS)
        queries, positions = linear_sum_assignment(cost.cpu().numpy())
    device = classes.device
    return torch.as_tensor(queries, device=device), torch.as_tensor(positions, device=device)


def _costs(classes: Tensor, masks: Tensor, wanted: Target) -> Tensor:
    """Costs [Q, T] of classes [Q, K + 1] and masks [Q, h*w]."""
    counted, inside = wanted.counted, wanted.inside  # [h*w], [T, h*w]
    masks = masks.where(counted > 0, 0.0)
    probability = masks.sigmoid()
    wrong = F.softplus(-masks) @ inside.T + F.softplus(masks) @ (counted - inside).T  # [Q, T]
    overlap = 2 * probability @ inside.T
    both = (probability @ counted)[:, None] + inside.sum(1)
    return (
        -CLASS_WEIGHT * classes.softmax(-1)[:, wanted.classes]
        + MASK_WEIGHT * wrong / counted.sum()
        + DICE_WEIGHT * (1 - (overlap + 1) / (both + 1))
    )


def set_loss(queries: Queries, mask: Tensor, points: int | None = None) -> Tensor:
    """The loss [] of a batch, summed over the layers: mask int64 train ids [B, H, W], 255 ignored.

    ``points``: labelled pixels of an image at which mask losses are taken, the same in every layer, drawn
    from torch's global generator; None = all. Every layer is matched anew. Cross-entropy is the mean over the
    queries of the images that have labels, mask losses are means over the matched masks of the batch. Zero,
    with zero gradients, if nothing is labelled. In float32, whatever the queries are in.
    """
    grid = (queries.masks[-1].shape[-2], queries.masks[-1].shape[-1])
    found = [(i, target(image, grid, points)) for i, image in enumerate(mask)]
    wanted = [(i, t) for i, t in found if t is not None]
    if not wanted:
        nothing = [0.0 * t.float().sum() for t in (*queries.classes, *queries.masks)]
        return torch.stack(nothing).sum()
    layers = zip(queries.classes, queries.masks, strict=True)
    size = (mask.shape[-2], mask.shape[-1])
    return torch.stack([_layer_loss(c.float(), m.float(), wanted, size) for c, m in layers]).sum()


def _layer_loss(
    classes: Tensor, masks: Tensor, wanted: list[tuple[int, Target]], size: tuple[int, int]
) -> Tensor:
    """The loss [] of one layer: classes [B, Q, K + 1], masks [B, Q, h, w], (image number, target) pairs."""
    nobody = classes.shape[-1] - 1
    labels = torch.full((len(wanted), classes.shape[1]), nobody, device=classes.device)  # [images, Q]
    mask_loss = []
    for row, (i, truth) in enumerate(wanted):
        chosen, positions = match(classes[i], masks[i], truth)
        labels[row, chosen] = truth.classes[positions]
        logits = _at_pixels(masks[i].index_select(0, chosen), size, truth.pixels)
        mask_loss.append(_mask_loss(logits, truth.truth[positions]))
    seen = classes[[i for i, _ in wanted]]  # [images, Q, K + 1]
    weight = torch.ones(classes.shape[-1], device=classes.device)
    weight[nobody] = NO_OBJECT_WEIGHT
    class_loss = F.cross_entropy(seen.flatten(0, 1), labels.flatten(), weight)
    return CLASS_WEIGHT * class_loss + torch.cat(mask_loss).mean()


def _at_pixels(masks: Tensor, size: tuple[int, int], pixels: Tensor) -> Tensor:
    """Logits [T, P] of masks [T, h, w], enlarged to ``size``, at the pixels of the given numbers."""
    enlarged = F.interpolate(masks[None], size=size, mode="bilinear", align_corners=False)[0]
    return enlarged.flatten(1).index_select(1, pixels)


def _mask_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Weighted cross-entropy and Dice loss [T] of logits [T, P] against the truth [T, P]."""
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(1)
    probability = logits.sigmoid()
    overlap, both = 2 * (probability * truth).sum(1), probability.sum(1) + truth.sum(1)
    return MASK_WEIGHT * entropy + DICE_WEIGHT * (1 - (overlap + 1) / (both + 1))
