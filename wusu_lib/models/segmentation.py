"""The networks: one image to its classes, a pair of images to their change. Imports torch.

Encoder, neck, decoder and head, fed with images in the data's band order; the siamese network reads both
dates with the same weights.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wusu_lib.models.losses import TrainingLoss, pixel_loss
from wusu_lib.models.spec import DATA_BANDS


class SegmentationModel(nn.Module):
    """Logits [B, outputs, H, W] of normalised images [B, 4, H, W] with bands B, G, R, NIR.

    ``encoder`` holds everything that can be pre-trained; ``neck``, ``decoder`` and ``head`` are new.
    ``band_order`` picks the encoder's bands from the data's (three where NIR is left out). An image whose
    sides are not a multiple of ``size_multiple`` (px) is padded by reflection, evenly on both sides, and the
    logits are cropped back to its exact place. ``repeatable``: whether a training on CUDA can be repeated to
    the last bit, which takes a deterministic gradient of every operation.
    """

    band_order: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        neck: nn.Sequential,
        decoder: nn.Module,
        head: nn.Module,
        *,
        band_order: Sequence[int],
        size_multiple: int,
        repeatable: bool = True,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.neck = neck
        self.decoder = decoder
        self.head = head
        self.size_multiple = size_multiple
        self.repeatable = repeatable
        self.encoder_frozen = False
        self.reorders = list(band_order) != list(range(len(DATA_BANDS)))
        self.register_buffer("band_order", torch.tensor(band_order), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, outputs, H, W] of images [B, 4, H, W].

        Raises ValueError for another number of bands or dimensions, and for an image too small to be padded
        by reflection.
        """
        return self.finish(self.head(self.features(images)), images.shape[-2], images.shape[-1])

    def training_loss(self, images: Tensor, mask: Tensor) -> TrainingLoss:
        """The loss of images [B, 4, H, W] against int64 train ids [B, H, W], 255 = ignored: cross-entropy.

        A model whose decoder has a loss of its own overrides this.
        """
        return TrainingLoss(*pixel_loss(self(images), mask))

    def features(self, images: Tensor) -> Tensor:
        """What the head reads: the decoder's map [B, F, h, w] of images [B, 4, H, W], padding included."""
        self._check(images)
        x = images.index_select(1, self.band_order) if self.reorders else images
        padding = self.padding(x.shape[-2], x.shape[-1])
        x = F.pad(x, padding, mode="reflect") if any(padding) else x
        maps = self.neck(self.encoder(x), image_size=(x.shape[-2], x.shape[-1]))
        return self.decoder(maps if x.is_cuda else [_channels_last(each) for each in maps])

    def finish(self, maps: Tensor, height: int, width: int) -> Tensor:
        """Maps [B, K, h, w] on the grid of ``features`` resized to the images [B, K, height, width]."""
        left, right, top, bottom = self.padding(height, width)
        size = (height + top + bottom, width + left + right)
        maps = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
        return maps[..., top : top + height, left : left + width]

    def padding(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Pixels added (left, right, top, bottom) to an image of the given size."""
        rows, columns = -height % self.size_multiple, -width % self.size_multiple
        return columns // 2, columns - columns // 2, rows // 2, rows - rows // 2

    def _check(self, images: Tensor) -> None:
        bands = len(DATA_BANDS)
        if images.ndim != 4 or images.shape[1] != bands:
            raise ValueError(f"images: expected [B, {bands}, H, W], got {list(images.shape)}")
        self.check_size(images.shape[-2], images.shape[-1])

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError if an image of this size is too small to be padded by reflection."""
        _, right, _, bottom = self.padding(height, width)
        if bottom >= height or right >= width:
            raise ValueError(
                f"images of {height} x {width} px are too small to be padded by reflection to a multiple of "
                f"{self.size_multiple} px; give at least {self.size_multiple} px a side"
            )

    def freeze_encoder(self) -> None:
        """Freeze the encoder: no gradients, and eval mode that later calls of ``train()`` leave alone.

        Clearing ``requires_grad`` alone would let drop-path stay random and batch statistics move.
        """
        self.encoder_frozen = True
        self.encoder.requires_grad_(False)
        self.encoder.eval()

    def train(self, mode: bool = True) -> "SegmentationModel":
        """Set training mode, except for a frozen encoder."""
        super().train(mode)
        if self.encoder_frozen:
            self.encoder.eval()
        return self


def _channels_last(maps: Tensor) -> Tensor:
    """Maps with their channels side by side in memory: a training on a CPU is a tenth to a sixth faster."""
    if maps.shape[1] == 1:  # of one channel there is nothing to lay side by side
        return maps
    return maps.contiguous(memory_format=torch.channels_last)


# The siamese network: one encoder, neck and decoder for both dates, and a head for their change.

Method = Literal["bcd", "scd"]
Fusion = Literal["difference", "concatenation"]


class Outputs(NamedTuple):
    """What the network says of B pairs."""

    change: Tensor  # logits of "changed" [B, H, W]
    classes: Tensor | None  # class scores of both dates [B, 2, K, H, W]; None for binary change


class SiameseModel(nn.Module):
    """Change logits, and with "scd" class logits of both dates, of pairs of images [B, 2, 4, H, W].

    ``base`` gives the encoder, the neck, the decoder and, for "scd", the head of the classes, which both
    dates share. The change head reads the decoder's maps of the two dates, fused as ``fusion`` says: a 3 x 3
    convolution to half as many channels, batch normalisation, ReLU, a 1 x 1 convolution to one logit. Its
    weights are drawn from a generator of their own, seeded with ``seed``.
    """

    def __init__(self, base: SegmentationModel, method: Method, fusion: Fusion, seed: int) -> None:
        super().__init__()
        for what, given, known in (("method", method, Method), ("fusion", fusion, Fusion)):
            if given not in get_args(known):
                raise ValueError(f"{what}: got {given!r}; allowed: {', '.join(get_args(known))}")
        self.base = base
        self.method = method
        self.fusion = fusion
        if method == "bcd":
            base.head = nn.Identity()  # no classes are asked for
        width: int = base.decoder.out_channels  # type: ignore[assignment]  # every decoder has it
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.change_head = _change_head(width if fusion == "difference" else 2 * width, width // 2)

    @property
    def encoder(self) -> nn.Module:
        """What can be pre-trained, and has a learning rate of its own."""
        return self.base.encoder

    @property
    def repeatable(self) -> bool:
        """As ``SegmentationModel.repeatable``."""
        return self.base.repeatable

    def freeze_encoder(self) -> None:
        """As ``SegmentationModel.freeze_encoder``."""
        self.base.freeze_encoder()

    def forward(self, pairs: Tensor) -> Outputs:
        """Logits of pairs [B, 2, 4, H, W] (bands B, G, R, NIR, normalised; first date first).

        Raises ValueError for another shape and as ``SegmentationModel.forward`` does.
        """
        if pairs.ndim != 5 or pairs.shape[1] != 2:
            raise ValueError(f"pairs: expected [B, 2, bands, H, W], got {list(pairs.shape)}")
        height, width = pairs.shape[-2:]
        maps = self.base.features(pairs.flatten(0, 1))  # [2 B, F, h, w], the dates of a pair side by side
        first, second = maps.unflatten(0, (-1, 2)).unbind(1)  # [B, F, h, w] each
        change = self.base.finish(self.change_head(self._fused(first, second)), height, width)
        classes = None
        if self.method == "scd":
            classes = self.base.finish(self.base.head(maps), height, width).unflatten(0, (-1, 2))
        return Outputs(change.squeeze(1), classes)

    def _fused(self, first: Tensor, second: Tensor) -> Tensor:
        if self.fusion == "difference":
            return (first - second).abs()
        return torch.cat([first, second], dim=1)


def _change_head(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 1, kernel_size=1),
    )
