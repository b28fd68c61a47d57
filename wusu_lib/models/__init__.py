"""Backbones and decoders by name, assembled through TerraTorch. Cheap to import; building a model is not."""

from typing import TYPE_CHECKING

from wusu_lib.models.catalogue import BACKBONES, expected_statistics, find
from wusu_lib.models.decoders import DECODERS, DecoderSpec, canonical, refuse
from wusu_lib.models.lora import add_lora
from wusu_lib.models.spec import (
    BAND_CHOICES,
    SCALES,
    BackboneSpec,
    Bands,
    Scale,
    check_bands,
    check_scale,
)
from wusu_lib.models.weights import check_weights

if TYPE_CHECKING:
    import pandas as pd

    from wusu_lib.models.segmentation import SegmentationModel

__all__ = [
    "BACKBONES",
    "BAND_CHOICES",
    "DECODERS",
    "SCALES",
    "BackboneSpec",
    "DecoderSpec",
    "add_lora",
    "build",
    "canonical",
    "check",
    "describe",
    "expected_statistics",
]


def check(
    backbone: str,
    decoder: str,
    scale: Scale,
    weights: str = "random",
    bands: Bands = "all",
    skip_block: int = 0,
    adaptation: str = "full",
) -> None:
    """Check names and combination of a model before any work; imports neither torch nor TerraTorch, reads no
    file.

    Raises ValueError naming what is allowed, with the reason where a combination is refused (a decoder that
    does not go with the backbone, a skip block that is not there, LoRA without attention), and
    FileNotFoundError for a path without weights.
    """
    spec, reader = find(backbone), canonical(decoder)
    check_scale(scale)
    check_bands(bands)
    if skip_block and reader != "deeplab":
        raise ValueError(
            f"skip_block: got {skip_block}; only the decoder deeplab has a skip, {reader} has none: use 0"
        )
    spec.skip(scale, skip_block)
    refuse(spec, reader)
    if adaptation == "lora" and not spec.transformer:
        raise ValueError(
            f'adaptation: got "lora"; it adapts attention layers and {spec.title} has none; use "frozen", '
            '"full" or "differential"'
        )
    check_weights(weights, backbone, scale)


def build(
    backbone: str,
    decoder: str,
    *,
    scale: Scale = "demo",
    weights: str = "random",
    outputs: int = 11,
    image_size: int = 512,
    seed: int = 0,
    bands: Bands = "all",
    skip_block: int = 0,
) -> "SegmentationModel":
    """A model from images [B, 4, H, W] (bands B, G, R, NIR, normalised) to logits [B, outputs, H, W].

    ``weights``: "pretrained" (the hub's), "random", or the path of a checkpoint file (published, or a model
    stored by this library) or of a folder that holds ``<backbone>`` with the suffix .safetensors, .pt, .pth
    or .ckpt. ``bands``: "all", or "rgb", where NIR is left out and the encoder is built for three bands.
    ``skip_block``: the transformer block, counted from 1, whose output DeepLabV3+ takes for its skip; 0 = the
    backbone's usual one. Everything that starts at random is a function of ``seed``. ``image_size`` (px) is
    checked here so that a size that cannot be padded fails early; the model itself accepts any other size
    later, since position embeddings are interpolated.

    Raises ValueError and FileNotFoundError as ``check`` does, FileNotFoundError if the hub cannot be reached,
    and ValueError naming the keys where a checkpoint does not match the encoder.
    """
    check(backbone, decoder, scale, weights, bands, skip_block)
    if outputs < 2:
        raise ValueError(f"outputs: got {outputs}; a segmentation needs at least 2 classes")
    from wusu_lib.models.assemble import assemble

    model = assemble(backbone, canonical(decoder), scale, weights, outputs, seed, bands, skip_block)
    model.check_size(image_size, image_size)
    return model


def describe(model: "SegmentationModel", image_size: int) -> "pd.DataFrame":
    """A table of the model's parts and their sizes, for images of ``image_size`` px a side.

    Columns: part, module, parameters, trainable, output shape.
    """
    from wusu_lib.models.summary import table

    return table(model, image_size)
