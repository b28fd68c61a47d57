"""The key of a run: a hash of all that its figures depend on."""

import json
from collections.abc import Mapping
from typing import Any

from wusu_lib import provenance
from wusu_lib.parameters import Parameters


def key(parameters: Parameters, data: str, seed: int, made_by: Mapping[str, Any], inputs: str = "") -> str:
    """16 hex digits of all that a run's figures depend on.

    ``data``: fingerprint of the data set's files. ``made_by``: what computes the run (``kinds.made_by``).
    ``inputs``: content hash of what else the run is made of, such as a file of weights. Folders, names, the
    prediction and the number of workers do not count, nor a learning rate that is not used.
    """
    asked = question(parameters, data, seed, inputs)
    return provenance.text_hash(json.dumps([asked, made_by], sort_keys=True))


def question(parameters: Parameters, data: str, seed: int, inputs: str = "") -> str:
    """16 hex digits of what is asked for, whatever code computes it; arguments as of ``key``."""
    return provenance.text_hash(json.dumps([parameters.effective(), data, seed, inputs], sort_keys=True))


def differences(stored: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What differs between two values of ``kinds.made_by``, in words: modules, packages with their versions,
    what else by its name; in the order in which it stands.
    """
    found = []
    for part in [*here, *(part for part in stored if part not in here)]:
        before, now = _flat(stored.get(part)), _flat(here.get(part))
        for name in sorted({*before, *now}):
            if before.get(name) != now.get(name):
                found.append(_said(part, name, before.get(name), now.get(name)))
    return found


def _flat(values: Any) -> dict[str, Any]:
    return values if isinstance(values, dict) else {} if values is None else {"": values}


def _said(part: str, name: str, before: Any, now: Any) -> str:
    if part == "modules":
        return name
    if part == "packages":
        return f"{name} {before or 'not used'} instead of {now or 'none'}"
    return f"{part} {name}".strip()
