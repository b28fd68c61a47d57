"""Builds the encoder of a backbone and fills it. Imports TerraTorch."""

from torch import nn

from wusu_lib.models import terratorch_parts  # noqa: F401 (before any encoder: torch rounds alike for all)
from wusu_lib.models.catalogue import find
from wusu_lib.models.embeddings import embed_linearly
from wusu_lib.models.loading import load_checkpoint
from wusu_lib.models.spec import Bands, Scale
from wusu_lib.models.weights import check_weights, checkpoint_path, hub_file


def build_encoder(backbone: str, scale: Scale, weights: str, bands: Bands = "all") -> nn.Module:
    """The encoder of a backbone with its weights; random ones are drawn from torch's global generator.

    Its forward takes images [B, bands, H, W] (those of ``BackboneSpec.reads``, in that order) and gives what
    ``BackboneSpec.output`` says. Raises ValueError and FileNotFoundError as ``check_weights`` does, and
    ValueError where a checkpoint does not match.
    """
    check_weights(weights, backbone, scale)
    spec = find(backbone)
    # Asked first: it fails at once.
    file = hub_file(*spec.hub, spec.revision) if weights == "pretrained" else None
    encoder = spec.encoder(scale)
    built = encoder.builder(spec.reads(bands)[0], **encoder.arguments)
    embed_linearly(built)
    if weights not in ("pretrained", "random"):
        file = checkpoint_path(weights, backbone)
    if file is not None:
        load_checkpoint(built, spec, bands, file)
    return built
