"""The decoders by name: which maps each reads from the encoder and how TerraTorch builds it. Cheap to import.

A decoder is one entry of ``DECODERS`` and one function that lists its necks. Arguments of smp's decoders
carry the prefix ``decoder_`` of smp's own models; without it they are swallowed without a word, so tests look
at the built modules.

A transformer's four tapped blocks have one grid; the decoders of convolutional networks want a pyramid. So
their maps are enlarged or halved to 1/4, 1/2, 1 and 2 patches. A CNN's stages are such a pyramid already.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wusu_lib.models.spec import BackboneSpec, Scale

Necks = list[dict[str, Any]]


@dataclass(frozen=True)
class DecoderSpec:
    """How one decoder is attached.

    ``registry`` is its name in TerraTorch's decoder registry. ``necks(backbone, scale, skip_block)`` lists
    the necks between encoder and decoder. ``full`` and ``demo`` are the decoder's arguments at each scale.
    A transformer's patch grid must be a multiple of ``grid_multiple`` in both directions: images are padded
    to that. ``set_loss``: whether it predicts a set of masks and is trained by matching them to the truth.
    ``widths`` names the arguments that are numbers of channels, and what each must be a multiple of.
    ``repeatable``: whether all of its operations have a deterministic gradient on CUDA. ``modules`` and
    ``packages``: what computes it beside what every model needs.
    """

    title: str
    registry: str
    necks: Callable[[BackboneSpec, Scale, int], Necks]
    grid_multiple: int
    full: Mapping[str, Any]
    demo: Mapping[str, Any]
    widths: Mapping[str, int] = field(default_factory=dict)
    set_loss: bool = False
    repeatable: bool = True
    modules: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    def arguments(self, scale: Scale, width: float = 1.0) -> dict[str, Any]:
        """The decoder's arguments at one scale, its numbers of channels times ``width``.

        Raises ValueError for a decoder that has no such arguments, and for a width that gives no whole
        number of channels, or one that the decoder's normalisation cannot share out among its groups.
        """
        found = dict(self.full if scale == "full" else self.demo)
        if width == 1:
            return found
        if not self.widths:
            raise ValueError(f"decoder_width: got {width:g}, but {self.title} has a width of its own; use 1")
        for name, multiple in self.widths.items():
            found[name] = _widened(found[name], width)
            numbers = found[name] if isinstance(found[name], list) else [found[name]]
            if wrong := [f"{n:g}" for n in numbers if n <= 0 or n % multiple]:
                raise ValueError(
                    f"decoder_width: {width:g} gives {self.title} {', '.join(wrong)} channels; expected "
                    f"multiples of {multiple}, for instance by 0.5 or 2"
                )
        return found

    def size_multiple(self, backbone: BackboneSpec, scale: Scale) -> int:
        """Side (px) that an image's sides must be a multiple of behind this backbone."""
        return backbone.encoder(scale).patch * (self.grid_multiple if backbone.transformer else 1)


def _widened(channels: Any, width: float) -> Any:
    """A number of channels, or several, times ``width``; whole where it comes out whole."""
    if isinstance(channels, list):
        return [_widened(each, width) for each in channels]
    times = channels * width
    return int(times) if times == int(times) else times


def _maps(backbone: BackboneSpec, scale: Scale, taps: tuple[int, ...]) -> Necks:
    """The chosen blocks as maps: [B, dim, H/patch, W/patch] of a transformer, the stages of a CNN."""
    select = {"name": "SelectIndices", "indices": list(taps)}
    if backbone.output != "tokens":
        return [select]
    patch = backbone.encoder(scale).patch
    return [select, {"name": "TokensToMaps", "patch": patch, "prefix_tokens": backbone.prefix_tokens}]


def _pyramid(backbone: BackboneSpec, scale: Scale, _skip_block: int) -> Necks:
    """The four taps as maps at 1/4, 1/2, 1 and 2 patches, with dim/4, dim/2, dim and dim channels.

    A CNN's stages as they are, at strides of 4, 8, 16 and 32 px.
    """
    maps = _maps(backbone, scale, backbone.encoder(scale).taps)
    return [*maps, {"name": "LearnedInterpolateToPyramidal"}] if backbone.transformer else maps


def _projected(backbone: BackboneSpec, scale: Scale, full: list[int], demo: list[int]) -> Necks:
    """The pyramid, shallow to deep, with the given numbers of channels; a CNN's stages keep their own."""
    pyramid = _pyramid(backbone, scale, 0)
    channels = full if scale == "full" else demo
    return [*pyramid, {"name": "ProjectChannels", "channels": channels}] if backbone.transformer else pyramid


def _unet_necks(backbone: BackboneSpec, scale: Scale, _skip_block: int) -> Necks:
    """The study's neck of experiment 1: 256, 128, 64 and 32 channels."""
    return _projected(backbone, scale, full=[256, 128, 64, 32], demo=[64, 96, 128, 128])


def _mask2former_necks(backbone: BackboneSpec, scale: Scale, _skip_block: int) -> Necks:
    """The study's neck of experiment 7: 96 channels for the finest level, 192, 384 and 768 for the others."""
    return _projected(backbone, scale, full=[96, 192, 384, 768], demo=[32, 48, 64, 64])


def _segformer_necks(backbone: BackboneSpec, scale: Scale, skip_block: int) -> Necks:
    """The pyramid behind the map of the image's size that smp's decoder reads its own size from."""
    return [*_pyramid(backbone, scale, skip_block), {"name": "LeadWithSize"}]


def _linear_necks(backbone: BackboneSpec, scale: Scale, _skip_block: int) -> Necks:
    """The last block alone."""
    return _maps(backbone, scale, backbone.encoder(scale).taps[-1:])


def _deeplab_necks(backbone: BackboneSpec, scale: Scale, skip_block: int) -> Necks:
    """The skip block at four times the resolution, and the last block for the atrous pyramid.

    The study resizes DINOv3's block in experiment 6; its other necks are learnt. A CNN's first stage is at
    stride 4 already, and its last, at stride 32, is resized to stride 16.
    """
    skip, last = backbone.skip(scale, skip_block), backbone.encoder(scale).taps[-1]
    enlarge = "context" if not backbone.transformer else "resize" if backbone.skip_resized else "learn"
    return [*_maps(backbone, scale, (skip, last)), {"name": "SkipAndContext", "enlarge": enlarge}]


DECODERS: dict[str, DecoderSpec] = {
    "unet": DecoderSpec(
        title="U-Net",
        registry="UNetDecoder",
        necks=_unet_necks,
        grid_multiple=2,  # the pyramid halves the grid
        widths={"channels": 1},
        full={"channels": [256, 128, 64, 32]},
        demo={"channels": [128, 96, 96, 64]},
    ),
    "fpn": DecoderSpec(
        title="FPN",
        registry="smp_FPN",
        necks=_pyramid,
        grid_multiple=2,
        widths={"decoder_pyramid_channels": 1, "decoder_segmentation_channels": 32},  # of its GroupNorm
        full={"decoder_pyramid_channels": 256, "decoder_segmentation_channels": 128, "decoder_dropout": 0.2},
        demo={"decoder_pyramid_channels": 96, "decoder_segmentation_channels": 64, "decoder_dropout": 0.1},
        packages=("segmentation-models-pytorch",),
    ),
    "deeplab": DecoderSpec(
        title="DeepLabV3+",
        registry="smp_DeepLabV3Plus",
        necks=_deeplab_necks,
        grid_multiple=1,
        widths={"decoder_channels": 1},
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
        packages=("segmentation-models-pytorch",),
    ),
    "upernet": DecoderSpec(
        title="UPerNet",
        registry="UperNetDecoder",
        necks=_pyramid,
        grid_multiple=2,
        widths={"channels": 1},
        full={"channels": 256},
        # The coarsest demo map is 4 or 5 cells wide: pooling it to 6 would repeat cells.
        demo={"channels": 48, "pool_scales": (1, 2, 3)},
        repeatable=False,  # pools to several sizes
    ),
    "segformer": DecoderSpec(
        title="SegFormer",
        registry="smp_Segformer",
        necks=_segformer_necks,
        grid_multiple=2,
        widths={"decoder_segmentation_channels": 1},
        full={"decoder_segmentation_channels": 256},
        demo={"decoder_segmentation_channels": 64},
        packages=("segmentation-models-pytorch",),
    ),
    "linear": DecoderSpec(
        title="linear projection",
        registry="IdentityDecoder",  # the head's 1 x 1 convolution is all that is learnt
        necks=_linear_necks,
        grid_multiple=1,
        full={},
        demo={},
    ),
    "mask2former": DecoderSpec(
        title="Mask2Former",
        registry="sets_Mask2FormerDecoder",
        necks=_mask2former_necks,
        grid_multiple=2,
        full={
            "dim": 256,
            "heads": 8,
            "queries": 100,
            "pixel_layers": 6,
            "layers": 9,
            "feedforward": (1024, 2048),
            "points": 12544,
        },
        demo={
            "dim": 64,
            "heads": 4,
            "queries": 20,
            "pixel_layers": 1,
            "layers": 3,  # one for each level of the pixel decoder
            "feedforward": (128, 128),
            "points": 2048,
        },
        set_loss=True,
        repeatable=False,  # samples its maps at points: grid_sample
        modules=("wusu_lib.models.mask2former",),
        packages=("transformers", "scipy"),
    ),
}

_ALIASES = {"deeplabv3plus": "deeplab"}

# Pairs that could be built but say nothing, with the reason: by what the encoder gives, and decoder.
_UNSUITABLE = {
    ("pyramid", "linear"): (
        "a CNN's last map has one value for 32 x 32 px and is meant to be read with the finer stages, so a "
        "linear projection of it alone does not tell how good its features are; use fpn or unet"
    ),
}


def canonical(decoder: str) -> str:
    """The decoder's own name: "deeplabv3plus" -> "deeplab". Raises ValueError naming the known ones."""
    name = _ALIASES.get(decoder, decoder)
    if name not in DECODERS:
        known = ", ".join([*DECODERS, *_ALIASES])
        raise ValueError(f"decoder: got {decoder!r}; known: {known}")
    return name


def unsuitable(backbone: BackboneSpec, decoder: str) -> str | None:
    """Why a backbone and a decoder (its own name) make no sensible pair; None if they do."""
    return _UNSUITABLE.get((backbone.output, decoder))


def refuse(backbone: BackboneSpec, decoder: str) -> None:
    """Raise ValueError with the reason if a backbone and a decoder (its own name) make no sensible pair."""
    reason = unsuitable(backbone, decoder)
    if reason is not None:
        raise ValueError(f"decoder: {decoder} does not go with {backbone.title}: {reason}")
