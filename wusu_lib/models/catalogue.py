"""The backbones by name, and whether a model can be built as asked. Cheap to import.

Names, combination and weights are checked before any work, without torch, TerraTorch or weights being read.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from wusu_lib import provenance
from wusu_lib.models import clay, dino, losses, prithvi, resnet
from wusu_lib.models import indices as spectral
from wusu_lib.models.decoders import DECODERS, canonical, refuse
from wusu_lib.models.spec import (
    BackboneSpec,
    Bands,
    Scale,
    check_bands,
    check_scale,
    check_weights,
    recorded_miniature,
)

if TYPE_CHECKING:
    from wusu_lib.experiment.parameters import ModelParameters


# A new family is a file with a table like theirs, and a name in this line.
BACKBONES: dict[str, BackboneSpec] = prithvi.BACKBONES | dino.BACKBONES | clay.BACKBONES | resnet.BACKBONES


def find(backbone: str) -> BackboneSpec:
    """The entry of a backbone; ValueError naming the known ones if there is none."""
    if backbone not in BACKBONES:
        raise ValueError(f"backbone: got {backbone!r}; known: {', '.join(BACKBONES)}")
    return BACKBONES[backbone]


def expected_statistics(
    backbone: str, scale: Scale = "full", weights: str = "pretrained"
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean [4] and standard deviation [4] that the weights expect, 0-1 scale, bands B, G, R, NIR.

    Of the published weights, whatever others are used: Prithvi: of HLS reflectance (0 to 1), taken over as if
    counts / 255 were reflectance. DINOv2, DINOv3, ResNet: NIR's are the means of those of R, G, B. Clay:
    NAIP's. A pre-trained miniature has those of the images that it learnt from. Raises ValueError for an
    unknown name.
    """
    spec = find(backbone)
    if (scale, weights) == ("demo", "pretrained"):
        record = recorded_miniature(spec.miniature)
        return tuple(record["mean"]), tuple(record["std"])
    return spec.mean, spec.std


# The chosen model as a run's key tells it: data where it is data, the modules and packages that compute it.
#
# What the tables of backbones and decoders say of the chosen ones is resolved here, so the rest of the
# tables, and their titles, can change without another run. Cheap to import.

NECKS = "wusu_lib.models.build"
LORA = "wusu_lib.models.weights:add_lora"
INDICES = (
    "wusu_lib.models.indices:measure,values",
    "wusu_lib.models.segmentation:FirstLayer,SpectralIndices,widen",
)


def chosen_as_data(stated: "ModelParameters") -> dict[str, Any]:
    """What is built and how, as JSON can hold it: encoder, bands, necks, decoder, published weights."""
    spec, decoder = find(stated.backbone), DECODERS[stated.decoder]
    encoder, width = spec.encoder(stated.scale), getattr(stated, "decoder_width", 1.0)
    bands, order = spec.reads(stated.bands)
    found: dict[str, Any] = {
        "encoder": {"builder": _name(encoder.builder), "arguments": dict(encoder.arguments)},
        "bands": {"names": bands, "order": order},
        "necks": decoder.necks(spec, stated.scale, stated.skip_block),
        "decoder": {"name": decoder.registry, "arguments": decoder.arguments(stated.scale, width)},
        "size_multiple": decoder.size_multiple(spec, stated.scale),
        "set_loss": decoder.set_loss,
        "repeatable": decoder.repeatable,
    }
    if stated.normalisation == "backbone":
        found["normalisation"] = expected_statistics(stated.backbone, stated.scale, stated.weights)
    if stated.weights != "random":
        found["checkpoint"] = [spec.bands, spec.stored_bands, spec.filters, spec.fixed, spec.left_out]
    if stated.weights == "pretrained" and stated.scale == "demo":
        found["weights"] = {"hash": recorded_miniature(spec.miniature)["hash"]}
    elif stated.weights == "pretrained":
        found["weights"] = {"repository": spec.hub[0], "file": spec.hub[1], "revision": spec.revision}
    return found


def chosen_modules(stated: "ModelParameters") -> tuple[str, ...]:
    """What computes the chosen backbone, necks, decoder and adaptation, as ``provenance.code`` takes it."""
    spec, decoder = find(stated.backbone), DECODERS[stated.decoder]
    named = {str(neck["name"]) for neck in decoder.necks(spec, stated.scale, stated.skip_block)}
    own = sorted(named & provenance.definitions(NECKS))  # the others are TerraTorch's
    found = [_name(spec.encoder(stated.scale).builder), *decoder.modules]
    if own:
        found.append(f"{NECKS}:{','.join(own)}")
    if stated.adaptation == "lora":
        found.append(LORA)
    if getattr(stated, "indices", ()):
        found += INDICES
    loss = getattr(stated, "loss", "cross_entropy")
    return (*found, losses.modules(loss)) if loss != "cross_entropy" else tuple(found)


def chosen_packages(stated: "ModelParameters") -> tuple[str, ...]:
    """The packages that compute the chosen model beside those of every model."""
    adapted = ("peft",) if stated.adaptation == "lora" else ()
    read = ("spyndex",) if getattr(stated, "indices", ()) else ()
    return (*find(stated.backbone).packages, *DECODERS[stated.decoder].packages, *adapted, *read)


def _name(function: Callable[..., object]) -> str:
    return f"{function.__module__}:{function.__name__}"


def check(
    backbone: str,
    decoder: str,
    scale: Scale,
    weights: str = "random",
    bands: Bands = "all",
    skip_block: int = 0,
    adaptation: str = "full",
    indices: Sequence[str] = (),
) -> None:
    """Check names and combination of a model before any work; imports neither torch nor TerraTorch, reads no
    weights.

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
    if indices:
        if spec.filters is None:
            raise ValueError(
                f"indices: {spec.title} makes its first filters from the bands' wavelengths, and an index "
                "has none; choose another backbone, or no indices"
            )
        spectral.check(indices, bands)
    check_weights(weights, backbone, scale, spec.miniature)
