"""Spectral indices: which can be computed of four bands, how, and their statistics. Imports no torch.

Formulas are those of spyndex (Montero et al. 2023, doi 10.1038/s41597-023-02096-0), on counts / 255.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from wusu_lib.imagery import read

if TYPE_CHECKING:
    from wusu_lib.models.spec import Bands

LETTERS = ("B", "G", "R", "N")  # spyndex's, in the order of ``spec.DATA_BANDS``
Filters = Literal["zero", "mean", "stem"]


@cache
def _known() -> Any:
    import spyndex

    return spyndex.indices


@cache
def _band_titles() -> dict[str, str]:
    import spyndex

    return {name: band.long_name for name, band in spyndex.bands.items()}


def values(counts: Any, names: Sequence[str]) -> list[Any]:
    """Each index of counts [..., 4, H, W] on the scale 0 to 1: arrays or tensors [..., H, W].

    Not finite where the formula is not defined, as 0/0 on black pixels. The bands are those of
    ``spec.DATA_BANDS`` in that order; the names have been checked.
    """
    bands = {letter: counts[..., number, :, :] for number, letter in enumerate(LETTERS)}
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return [_known()[name].compute(**{b: bands[b] for b in _known()[name].bands}) for name in names]


@cache
def refusal(name: str) -> str:
    """Why an index cannot be a channel here, in words; empty where it can.

    A formula that holds a constant of reflectance is another index on counts, which have no unit: it is
    refused unless a change of the unit only scales it.
    """
    if name not in _known():
        return f"{name} is not known to spyndex"
    lacking = [part for part in _known()[name].bands if part not in LETTERS]
    titles = [f"{part} ({_band_titles()[part]})" for part in lacking if part in _band_titles()]
    if titles:
        return f"{name} needs {', '.join(titles)}, which these images do not have"
    if lacking:
        return f"{name} has {', '.join(lacking)} in its formula, set for reflectance; these are 8-bit counts"
    counts = np.random.default_rng(0).uniform(0.2, 0.8, (4, 8, 8))
    (whole,), (half,) = values(counts, [name]), values(counts / 2, [name])
    both = np.isfinite(whole) & np.isfinite(half) & (np.abs(whole) > 1e-9)
    ratios = half[both] / whole[both]
    if not len(ratios) or np.ptp(ratios) > 1e-9 * np.abs(ratios).max():
        return (
            f"the constants in the formula of {name}, {_known()[name].formula}, are for reflectance: on "
            "8-bit counts it is not the index of that name"
        )
    return ""


@cache
def computable() -> tuple[str, ...]:
    """The names of all indices that can be a channel here, sorted."""
    return tuple(sorted(name for name in _known() if not refusal(name)))


def check(names: Sequence[str], bands: "Bands") -> None:
    """Raise ValueError for an index that cannot be computed, naming why and the nearest that can.

    Nearest are those of the same domain (urban, water, vegetation, ...); for an unknown name those that are
    spelt alike. With ``bands="rgb"`` an index of the infrared would bring back what was left out.
    """
    import difflib

    if len(set(names)) < len(names):
        raise ValueError(f"indices: got {list(names)}; name each index once")
    for name in names:
        if reason := refusal(name):
            if name in _known():
                domain = _known()[name].application_domain
                near = [n for n in computable() if _known()[n].application_domain == domain]
                hint = f"of the same domain ({domain}) can be computed: {', '.join(near) or 'none'}"
            else:
                alike = difflib.get_close_matches(name, computable(), n=3, cutoff=0.4)
                hint = f"spelt alike: {', '.join(alike) or 'none'}"
            raise ValueError(f"indices: {reason}; {hint}. All that can be: {', '.join(computable())}")
        if bands == "rgb" and "N" in _known()[name].bands:
            raise ValueError(f'indices: {name} reads the infrared, which bands="rgb" leaves out')


def measure(images: Iterable[str], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each index over all pixels where it is defined, float64 [n] each.

    ``images``: paths of the training images. An index without a defined pixel has mean 0 and deviation 1.
    """
    sums = np.zeros((3, len(names)))
    for path in images:
        for at, found in enumerate(values(read(path) / 255.0, names)):
            kept = found[np.isfinite(found)]
            sums[:, at] += len(kept), kept.sum(), (kept**2).sum()
    pixels = np.maximum(sums[0], 1)
    mean = sums[1] / pixels
    std = np.sqrt(np.maximum(sums[2] / pixels - mean**2, 0))
    return mean, np.where(std > 0, std, 1.0)


def correlations(images: Iterable[str], names: Sequence[str]) -> np.ndarray:
    """Pearson's r between the four bands and the indices, float64 [4 + n, 4 + n].

    Over the pixels of all images on which every index is defined, read one after the other; NaN for a channel
    that does not vary.
    """
    pixels, sums, products = 0, np.zeros(4 + len(names)), np.zeros((4 + len(names),) * 2)
    for path in images:
        counts = read(path) / 255.0
        channels = np.stack([*counts, *values(counts, names)]).reshape(4 + len(names), -1)
        channels = channels[:, np.isfinite(channels).all(axis=0)]
        pixels += channels.shape[1]
        sums += channels.sum(axis=1)
        products += channels @ channels.T
    covariance = products / max(pixels, 1) - np.outer(sums, sums) / max(pixels, 1) ** 2
    spread = np.sqrt(np.maximum(np.diag(covariance), 0))
    spread[spread < 1e-9] = np.nan
    return covariance / np.outer(spread, spread)
