"""The networks: one image to its classes, a pair of images to their change. Imports torch.

Encoder, neck, decoder and head, fed with images in the data's band order; the siamese network reads both
dates with the same weights.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wusu_lib.models.indices import Filters, values
from wusu_lib.models.losses import TrainingLoss, pixel_loss
from wusu_lib.models.spec import DATA_BANDS


class SegmentationModel(nn.Module):
    """Logits [B, outputs, H, W] of normalised images [B, 4, H, W] with bands B, G, R, NIR.

    ``encoder`` holds everything that can be pre-trained; ``neck``, ``decoder`` and ``head`` are new.
    ``band_order`` picks the encoder's bands from the data's (three where NIR is left out). An image whose
    sides are not a multiple of ``size_multiple`` (px) is padded by reflection, evenly on both sides, and the
    logits are cropped back to its exact place. ``repeatable``: whether a training on CUDA can be repeated to
    the last bit, which takes a deterministic gradient of every operation. ``indices`` makes further channels
    of the images, which follow the encoder's bands; its first layer must be a ``FirstLayer`` then.
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
        indices: "SpectralIndices | None" = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.neck = neck
        self.decoder = decoder
        self.head = head
        self.indices = indices
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
        x = x if self.indices is None else torch.cat([x, self.indices(images)], dim=1)
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
        for parameter in fresh_parameters(self.encoder):
            parameter.requires_grad_(True)

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


# Spectral indices as further channels, and the first layer that reads them beside the bands.


class SpectralIndices(nn.Module):
    """Normalised indices [B, n, H, W] of normalised images [B, 4, H, W] with bands B, G, R, NIR.

    The images are brought back to whole counts first, on which the formulas are defined. An index that is not
    defined (0/0) has its training mean, so 0; all are cut at 10 deviations, since a ratio of two dark counts
    would drown the rest. ``fill`` sets the statistics, which are stored with the weights.
    """

    FARTHEST = 10.0

    bands: Tensor
    channels: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.register_buffer("bands", torch.tensor([[0.0] * 4, [1.0] * 4]))  # mean, std on the scale 0 to 1
        self.register_buffer("channels", torch.tensor([[0.0] * len(names), [1.0] * len(names)]))

    def fill(self, bands: Sequence[np.ndarray], channels: Sequence[np.ndarray]) -> None:
        """Set mean and standard deviation of the four bands [4], and of the indices [n]."""
        for buffer, found in ((self.bands, bands), (self.channels, channels)):
            buffer.copy_(torch.as_tensor(np.stack(found), dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        mean, std = self.bands[:, :, None, None]
        counts = ((images.float() * std + mean) * 255).round() / 255
        found = torch.stack(values(counts, self.names), dim=1)
        mean, std = self.channels[:, :, None, None]
        scaled = ((found - mean) / std).clamp(-self.FARTHEST, self.FARTHEST)
        return torch.where(torch.isfinite(found), scaled, 0)


class FirstLayer(nn.Module):
    """The first convolution of an encoder, and one beside it that reads n further channels; their sum.

    ``filters``: how those of the further channels start. "zero": the encoder gives what it gave without them.
    "mean": as the mean of the layer's own. "stem": at random, and they learn like the decoder, whatever the
    encoder does.
    """

    def __init__(self, layer: nn.Conv2d | nn.Conv3d, more: int, filters: Filters) -> None:
        super().__init__()
        self.layer = layer
        self.filters = filters
        convolution = nn.Conv3d if isinstance(layer, nn.Conv3d) else nn.Conv2d
        self.more = convolution(
            more,
            layer.out_channels,
            kernel_size=layer.kernel_size,  # type: ignore[arg-type]
            stride=layer.stride,  # type: ignore[arg-type]
            padding=layer.padding,  # type: ignore[arg-type]
            dilation=layer.dilation,  # type: ignore[arg-type]
            bias=False,
        )
        with torch.no_grad():
            if filters == "zero":
                self.more.weight.zero_()
            elif filters == "mean":
                self.more.weight.copy_(layer.weight.mean(dim=1, keepdim=True).expand_as(self.more.weight))

    def forward(self, x: Tensor) -> Tensor:
        own = self.layer.in_channels
        found: Tensor = self.layer(x[:, :own]) + self.more(x[:, own:])
        return found


def fresh_parameters(encoder: nn.Module) -> list[nn.Parameter]:
    """Parameters of an encoder that were not pre-trained: they learn like the decoder, whatever it does."""
    layers = [m for m in encoder.modules() if isinstance(m, FirstLayer) and m.filters == "stem"]
    return [parameter for layer in layers for parameter in layer.more.parameters()]


def widen(encoder: nn.Module, first: str, more: int, filters: Filters) -> None:
    """Put a ``FirstLayer`` for ``more`` channels in the place of the encoder's layer ``first`` (dotted).

    The layer may lie inside another library's network, which the encoder wraps.
    """
    first = min((n for n, _ in encoder.named_modules() if f".{n}".endswith(f".{first}")), key=len)
    parent, _, name = first.rpartition(".")
    layer = encoder.get_submodule(first)
    setattr(encoder.get_submodule(parent), name, FirstLayer(layer, more, filters))  # type: ignore[arg-type]


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
