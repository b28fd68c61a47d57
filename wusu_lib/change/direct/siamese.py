"""The siamese network: one encoder, neck and decoder for both dates, and a head for their change."""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from wusu_lib.models.segmentation import SegmentationModel

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
