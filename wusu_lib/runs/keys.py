"""The key of a run: a hash of all that its figures depend on."""

import json
from collections.abc import Iterable

from wusu_lib import provenance
from wusu_lib.parameters import Parameters


def key(parameters: Parameters, data: str, seed: int, modules: Iterable[str], inputs: str = "") -> str:
    """16 hex digits of all that a run's figures depend on.

    ``data``: fingerprint of the data set's files. ``modules``: dotted names of the library's modules that
    compute the run; what they import is added. ``inputs``: content hash or key of what else the run is made
    of, such as a file of weights or another run. Folders, names, the prediction and the number of workers do
    not count, nor a learning rate that is not used.
    """
    everything = [parameters.effective(), data, seed, inputs, provenance.code_hash(modules)]
    return provenance.text_hash(json.dumps([*everything, provenance.versions()], sort_keys=True))
