"""Puts encoder, necks, decoder and head together through TerraTorch's factory. Imports TerraTorch."""

import torch

from wusu_lib.models import (
    mask2former,  # noqa: F401 (registers the decoder)
    necks,
)
from wusu_lib.models.catalogue import find
from wusu_lib.models.decoders import DECODERS
from wusu_lib.models.encoders import build_encoder
from wusu_lib.models.segmentation import SegmentationModel
from wusu_lib.models.set_prediction import ClassScores, SetSegmentationModel
from wusu_lib.models.spec import Bands, Scale
from wusu_lib.models.terratorch_parts import MODEL_FACTORY_REGISTRY


def assemble(
    backbone: str,
    decoder: str,
    scale: Scale,
    weights: str,
    outputs: int,
    seed: int,
    bands: Bands,
    skip_block: int,
) -> SegmentationModel:
    """The model of a backbone and a decoder (canonical names). torch's global random state is left as it was.

    Encoder and decoder draw from generators of their own, so that the decoder starts the same whatever fills
    the encoder.
    """
    spec, decoder_spec = find(backbone), DECODERS[decoder]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = build_encoder(backbone, scale, weights, bands)
        torch.manual_seed(seed + 1)
        parts = MODEL_FACTORY_REGISTRY.build("EncoderDecoderFactory").build_model(
            task="segmentation",
            backbone=encoder,
            necks=decoder_spec.necks(spec, scale, skip_block),
            decoder=decoder_spec.registry,
            decoder_kwargs=decoder_spec.arguments(scale),
            num_classes=outputs,
        )
    necks.accept_single_images(parts.decoder)
    model = SetSegmentationModel if decoder_spec.set_loss else SegmentationModel
    return model(
        parts.encoder,
        parts.neck,
        parts.decoder,
        ClassScores() if decoder_spec.set_loss else parts.head,
        band_order=spec.reads(bands)[1],
        size_multiple=decoder_spec.size_multiple(spec, scale),
        repeatable=decoder_spec.repeatable,
    )
