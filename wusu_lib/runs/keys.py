"""The key of a run: a hash of all that its figures depend on."""

import json
from collections.abc import Iterable

from wusu_lib import provenance
from wusu_lib.parameters import Parameters, SegmentationParameters

# Parameters that say where things are or why a run is made: they cannot change its figures.
WITHOUT_EFFECT = {"name", "data_root", "workers", "seeds", "prediction", "weights"}


def key(parameters: Parameters, data: str, seed: int, modules: Iterable[str], weights: str = "") -> str:
    """16 hex digits of all that a run's figures depend on.

    ``data``: fingerprint of the data set's files. ``modules``: dotted names of the library's modules that
    compute the run; what they import is added. ``weights``: content hash, where the parameter is a path; by
    name otherwise. Folders, names, the prediction and the number of workers do not count, nor a learning rate
    that is not used.
    """
    what = {name: value for name, value in parameters.model_dump().items() if name not in WITHOUT_EFFECT}
    if isinstance(parameters, SegmentationParameters):
        what["weights"] = weights or parameters.weights
        if parameters.adaptation != "differential":
            del what["encoder_learning_rate"]
    everything = [what, data, seed, provenance.code_hash(modules), provenance.versions()]
    return provenance.text_hash(json.dumps(everything, sort_keys=True))
