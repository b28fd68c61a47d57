"""Mask2Former on maps of any backbone: decoder, set prediction, set loss. Imports TerraTorch.

A set of queries is predicted, each a class and a mask; it is matched one to one to the classes of an
image, and read as a score for every class at every pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
    Mask2FormerPreTrainedModel,
    Mask2FormerTransformerModule,
)

from wusu_lib.legend import IGNORE
from wusu_lib.models.losses import TrainingLoss, pixel_loss
from wusu_lib.models.segmentation import SegmentationModel
from wusu_lib.models.terratorch_parts import DECODER_REGISTRY, Registry

# The loss of a decoder that predicts a set: queries matched to the classes of an image, one to one.
#
# The method and its weights are Mask2Former's (Cheng et al. 2022, arXiv 2112.01527): the assignment of
# queries to the classes present with the lowest cost, then cross-entropy of the queries' classes ("no
# object" for those left over), and binary cross-entropy and Dice loss of the matched masks; once for every
# layer. Two things are done differently:
#
# - **Ignored pixels are out.** The matching and the mask losses are sums over labelled pixels only, so
#   neither labels nor logits elsewhere have a part in the loss. An image without a labelled pixel is left out
#   whole.
# - **Points are pixels.** Mask losses are taken at points, as in Mask2Former, where an image has more pixels
#   than that; but at the centres of labelled pixels, drawn uniformly and once each. A point between centres
#   would mix labelled and ignored pixels. The matching counts every labelled pixel, in the cell of the masks'
#   grid that it lies in. Masks are enlarged to the pixels as they are for a prediction.

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
    """Logits [T, P] of masks [T, h, w], as enlarged to ``size``, at the pixels of the given numbers.

    Sampled where they are asked for: a third of the time of enlarging whole masks for an eighth of the
    pixels.
    """
    height, width = size
    rows, columns = torch.div(pixels, width, rounding_mode="floor"), pixels % width
    places = torch.stack([(columns + 0.5) / width, (rows + 0.5) / height], dim=-1) * 2 - 1
    found = F.grid_sample(masks[None], places[None, None], padding_mode="border", align_corners=False)
    return found[0, :, 0]


def _mask_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Weighted cross-entropy and Dice loss [T] of logits [T, P] against the truth [T, P]."""
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(1)
    probability = logits.sigmoid()
    overlap, both = 2 * (probability * truth).sum(1), probability.sum(1) + truth.sum(1)
    return MASK_WEIGHT * entropy + DICE_WEIGHT * (1 - (overlap + 1) / (both + 1))


# Mask2Former's two decoders around maps of any backbone. Imports TerraTorch and transformers.
#
# The modules are those of transformers: a pixel decoder (multi-scale deformable attention over three
# levels, then one finer level) and a transformer decoder with masked attention, in which each query looks
# only where its mask of the layer before is. Method: Cheng et al. 2022, arXiv 2112.01527.

# Decoders that predict classes themselves must stand in a source of their own: TerraTorch asks the source,
# not the decoder, whether it still wants a head.
SETS = Registry()
SETS.includes_head = True
DECODER_REGISTRY.register_source("sets", SETS)


@SETS.register
class Mask2FormerDecoder(Mask2FormerPreTrainedModel):
    """Four maps [B, C_i, H_i, W_i], each half the size of the one before, to ``Queries`` of every layer.

    The first map is the level at which masks are drawn. ``pixel_layers`` and ``layers`` are the numbers of
    layers of the two decoders, ``feedforward`` the widths of their hidden layers. A prediction is made before
    the first layer too, so there are ``layers`` + 1. ``points`` is the number of pixels of an image at which
    the masks are compared with the truth (``set_loss``).
    """

    includes_head = True  # TerraTorch asks the source only where the class has this too

    def __init__(
        self,
        embed_dim: list[int],
        num_classes: int,
        dim: int,
        heads: int,
        queries: int,
        pixel_layers: int,
        layers: int,
        feedforward: tuple[int, int],
        points: int,
    ) -> None:
        config = Mask2FormerConfig(  # type: ignore[call-arg]  # num_labels is the base class's
            num_labels=num_classes,
            feature_size=dim,
            mask_feature_size=dim,
            hidden_dim=dim,
            num_attention_heads=heads,
            num_queries=queries,
            encoder_layers=pixel_layers,
            decoder_layers=layers + 1,  # counts the prediction before the first layer
            encoder_feedforward_dim=feedforward[0],
            dim_feedforward=feedforward[1],
            train_num_points=points,
        )
        super().__init__(config)
        self.pixel_decoder = Mask2FormerPixelDecoder(config, feature_channels=list(embed_dim))
        self.transformer_module = Mask2FormerTransformerModule(in_features=dim, config=config)
        self.class_predictor = nn.Linear(dim, num_classes + 1)
        self.post_init()
        self._start()

    def _start(self) -> None:
        """Start the weights as the method's authors do.

        Transformers' start, in ``post_init``, draws convolutions and projections with a deviation of 0.02:
        meant for published weights to replace, from scratch it learns far more slowly. It is right for the
        rest, ``level_embed`` among it, which the pixel decoder by itself leaves as whatever lay in memory.
        """
        fixed = ("sampling_offsets", "attention_weights")  # these start at a pattern, not at random
        for name, module in self.pixel_decoder.named_modules():
            if isinstance(module, nn.Linear | nn.Conv2d) and not name.endswith(fixed):
                nn.init.xavier_uniform_(module.weight)
        self.class_predictor.reset_parameters()

    def forward(self, maps: Sequence[Tensor]) -> Queries:
        """The pixel decoder runs in float32: bfloat16 cannot tell apart the positions of a fine grid."""
        with torch.autocast(maps[0].device.type, enabled=False):
            pixels = self.pixel_decoder([x.float() for x in maps])
        layers = self.transformer_module(
            multi_scale_features=pixels.multi_scale_features, mask_features=pixels.mask_features
        )
        hidden = layers.intermediate_hidden_states  # one a layer, [Q, B, dim]
        classes = [self.class_predictor(x.transpose(0, 1)) for x in hidden]
        return Queries(classes, layers.masks_queries_logits)


# Segmentation by a set of masks: from queries to a score for every class at every pixel.

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
