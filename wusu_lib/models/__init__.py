"""Backbones and decoders by name, assembled through TerraTorch. Cheap to import; building a model is not."""

from typing import TYPE_CHECKING

from wusu_lib.models.backbones import (
    BACKBONES,
    SCALES,
    BackboneSpec,
    Scale,
    check_scale,
    expected_statistics,
    find,
)
from wusu_lib.models.decoders import DECODERS, DecoderSpec, canonical
from wusu_lib.models.weights import check_weights

if TYPE_CHECKING:
    import pandas as pd

    from wusu_lib.models.segmentation import SegmentationModel

__all__ = [
    "BACKBONES",
    "DECODERS",
    "SCALES",
    "BackboneSpec",
    "DecoderSpec",
    "build",
    "canonical",
    "check",
    "describe",
    "expected_statistics",
]


def check(backbone: str, decoder: str, scale: Scale, weights: str = "random") -> None:
    """Check the names of a model before any work; imports neither torch nor TerraTorch and reads no file.

    Raises ValueError naming what is allowed, and FileNotFoundError for a path without weights.
    """
    find(backbone)
    canonical(decoder)
    check_scale(scale)
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
) -> "SegmentationModel":
    """A model from images [B, 4, H, W] (bands B, G, R, NIR, normalised) to logits [B, outputs, H, W].

    ``weights``: "pretrained" (the hub's, through TerraTorch's own loading), "random", or the path of a
    checkpoint file or of a folder that holds ``<backbone>`` with the suffix .safetensors, .pt, .pth or .ckpt.
    Everything that starts at random is a function of ``seed``. ``image_size`` (px) is checked here so that a
    size that cannot be padded fails early; the model itself accepts any other size later, since position
    embeddings are interpolated.

    Raises ValueError and FileNotFoundError as ``check`` does, FileNotFoundError if the hub cannot be reached,
    and ValueError naming the keys where a checkpoint does not match the encoder.
    """
    check(backbone, decoder, scale, weights)
    if outputs < 2:
        raise ValueError(f"outputs: got {outputs}; a segmentation needs at least 2 classes")
    from wusu_lib.models.assemble import assemble

    model = assemble(backbone, canonical(decoder), scale, weights, outputs, seed)
    model.check_size(image_size, image_size)
    return model


def describe(model: "SegmentationModel", image_size: int) -> "pd.DataFrame":
    """A table of the model's parts and their sizes, for images of ``image_size`` px a side.

    Columns: part, module, parameters, trainable, output shape.
    """
    from wusu_lib.models.summary import table

    return table(model, image_size)
