"""The decoders by name: which maps each reads from the encoder and how TerraTorch builds it. Cheap to import.

A decoder is one entry of ``DECODERS`` and one function that lists its necks. Arguments of smp's decoders
carry the prefix ``decoder_`` of smp's own models; without it they are swallowed without a word, so tests look
at the built modules.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wusu_lib.models.backbones import BackboneSpec, Scale

Necks = list[dict[str, Any]]


@dataclass(frozen=True)
class DecoderSpec:
    """How one decoder is attached.

    ``registry`` is its name in TerraTorch's decoder registry. ``necks(backbone, scale)`` lists the necks
    between encoder and decoder. ``full`` and ``demo`` are the decoder's arguments at each scale. The patch
    grid must be a multiple of ``grid_multiple`` in both directions: images are padded to that.
    """

    title: str
    registry: str
    necks: Callable[[BackboneSpec, Scale], Necks]
    grid_multiple: int
    full: Mapping[str, Any]
    demo: Mapping[str, Any]

    def arguments(self, scale: Scale) -> dict[str, Any]:
        """The decoder's arguments at one scale."""
        return dict(self.full if scale == "full" else self.demo)


def _maps(backbone: BackboneSpec, scale: Scale, taps: tuple[int, ...]) -> Necks:
    """Token sequences of the chosen blocks, as maps [B, dim, H/patch, W/patch]."""
    return [
        {"name": "SelectIndices", "indices": list(taps)},
        {
            "name": "TokensToMaps",
            "patch": backbone.encoder(scale).patch,
            "prefix_tokens": backbone.prefix_tokens,
        },
    ]


def _pyramid(backbone: BackboneSpec, scale: Scale) -> Necks:
    """The four taps as maps at 1/4, 1/2, 1 and 2 patches, with dim/4, dim/2, dim and dim channels."""
    taps = backbone.encoder(scale).taps
    return [*_maps(backbone, scale, taps), {"name": "LearnedInterpolateToPyramidal"}]


def _unet_necks(backbone: BackboneSpec, scale: Scale) -> Necks:
    """The study's neck: the taps, shallow to deep, with 256, 128, 64 and 32 channels."""
    channels = [256, 128, 64, 32] if scale == "full" else [32, 48, 64, 64]
    return [*_pyramid(backbone, scale), {"name": "ProjectChannels", "channels": channels}]


def _deeplab_necks(backbone: BackboneSpec, scale: Scale) -> Necks:
    """The first tap, four times enlarged, as the skip; the last block as it is for the atrous pyramid."""
    taps = backbone.encoder(scale).taps
    return [*_maps(backbone, scale, (taps[0], taps[-1])), {"name": "SkipAndContext"}]


DECODERS: dict[str, DecoderSpec] = {
    "unet": DecoderSpec(
        title="U-Net",
        registry="UNetDecoder",
        necks=_unet_necks,
        grid_multiple=2,  # the pyramid halves the grid
        full={"channels": [256, 128, 64, 32]},
        demo={"channels": [64, 48, 48, 32]},
    ),
    "fpn": DecoderSpec(
        title="FPN",
        registry="smp_FPN",
        necks=_pyramid,
        grid_multiple=2,
        full={"decoder_pyramid_channels": 256, "decoder_segmentation_channels": 128, "decoder_dropout": 0.2},
        demo={"decoder_pyramid_channels": 48, "decoder_segmentation_channels": 32, "decoder_dropout": 0.1},
    ),
    "deeplab": DecoderSpec(
        title="DeepLabV3+",
        registry="smp_DeepLabV3Plus",
        necks=_deeplab_necks,
        grid_multiple=1,
        full={
            "decoder_channels": 256,
            "decoder_atrous_rates": (12, 24, 36),
            "decoder_aspp_dropout": 0.5,
            "encoder_output_stride": 16,  # the context map is enlarged four times to meet the skip
        },
        # A demo map is 8 to 10 patches wide, where rates of 12 to 36 would read only padding.
        demo={
            "decoder_channels": 64,
            "decoder_atrous_rates": (2, 4, 6),
            "decoder_aspp_dropout": 0.1,
            "encoder_output_stride": 16,
        },
    ),
}

_ALIASES = {"deeplabv3plus": "deeplab"}


def canonical(decoder: str) -> str:
    """The decoder's own name: "deeplabv3plus" -> "deeplab". Raises ValueError naming the known ones."""
    name = _ALIASES.get(decoder, decoder)
    if name not in DECODERS:
        known = ", ".join([*DECODERS, *_ALIASES])
        raise ValueError(f"decoder: got {decoder!r}; known: {known}")
    return name
