"""The chosen model as a run's key tells it: data where it is data, the modules and packages that compute it.

What the tables of backbones and decoders say of the chosen ones is resolved here, so the rest of the tables,
and their titles, can change without another run. Cheap to import.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wusu_lib import provenance
from wusu_lib.models.catalogue import expected_statistics, find
from wusu_lib.models.decoders import DECODERS

if TYPE_CHECKING:
    from wusu_lib.parameters import ModelParameters

NECKS = "wusu_lib.models.necks"
LORA = "wusu_lib.models.lora"


def as_data(stated: "ModelParameters") -> dict[str, Any]:
    """What is built and how, as JSON can hold it: encoder, bands, necks, decoder, published weights."""
    spec, decoder = find(stated.backbone), DECODERS[stated.decoder]
    encoder = spec.encoder(stated.scale)
    bands, order = spec.reads(stated.bands)
    found: dict[str, Any] = {
        "encoder": {"builder": _name(encoder.builder), "arguments": dict(encoder.arguments)},
        "bands": {"names": bands, "order": order},
        "necks": decoder.necks(spec, stated.scale, stated.skip_block),
        "decoder": {"name": decoder.registry, "arguments": decoder.arguments(stated.scale)},
        "size_multiple": decoder.size_multiple(spec, stated.scale),
        "set_loss": decoder.set_loss,
        "repeatable": decoder.repeatable,
    }
    if stated.normalisation == "backbone":
        found["normalisation"] = expected_statistics(stated.backbone)
    if stated.weights != "random":
        found["checkpoint"] = [spec.bands, spec.stored_bands, spec.filters, spec.fixed, spec.left_out]
    if stated.weights == "pretrained":
        found["weights"] = {"repository": spec.hub[0], "file": spec.hub[1], "revision": spec.revision}
    return found


def modules(stated: "ModelParameters") -> tuple[str, ...]:
    """What computes the chosen backbone, necks, decoder and adaptation, as ``provenance.code`` takes it."""
    spec, decoder = find(stated.backbone), DECODERS[stated.decoder]
    named = {str(neck["name"]) for neck in decoder.necks(spec, stated.scale, stated.skip_block)}
    own = sorted(named & provenance.definitions(NECKS))  # the others are TerraTorch's
    found = [_name(spec.encoder(stated.scale).builder), *decoder.modules]
    if own:
        found.append(f"{NECKS}:{','.join(own)}")
    if stated.adaptation == "lora":
        found.append(LORA)
    return tuple(found)


def packages(stated: "ModelParameters") -> tuple[str, ...]:
    """The packages that compute the chosen model beside those of every model."""
    adapted = ("peft",) if stated.adaptation == "lora" else ()
    return (*find(stated.backbone).packages, *DECODERS[stated.decoder].packages, *adapted)


def _name(function: Callable[..., object]) -> str:
    return f"{function.__module__}:{function.__name__}"
