"""What a backbone is: which bands it wants, what its encoder gives, which blocks are tapped. Cheap.

A family of backbones is one file: a table ``BACKBONES`` of entries, and the functions that build and read the
encoders, which import torch and TerraTorch inside. ``catalogue`` names the families. An entry has two scales:
"full" is the published model, "demo" a miniature: the family's own class, a hundred to a thousand times
smaller, with the same interface (patch size, prefix tokens, bands, four taps at the quarter points, the same
kind of positions), pre-trained on a made world (``training.pretraining``). The image's size is never passed
on, so a stored model is tied to none.

Where the weights know R, G, B only, NIR is given the mean of their three means and of their three deviations
(``with_nir``), as its filter is the mean of theirs (``weights``): an infrared band with such statistics
excites the first layer as a grey image would.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from wusu_lib.files import read_json

if TYPE_CHECKING:
    from torch import nn


Scale = Literal["demo", "full"]
SCALES: tuple[str, ...] = get_args(Scale)
Bands = Literal["all", "rgb"]
BAND_CHOICES: tuple[str, ...] = get_args(Bands)
Output = Literal["tokens", "maps", "pyramid"]
DATA_BANDS = ("BLUE", "GREEN", "RED", "NIR")  # order of the bands in memory, everywhere
RGB_NIR = ("RED", "GREEN", "BLUE", "NIR")
RGB_NIR_ORDER = (2, 1, 0, 3)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # R, G, B: mean, standard deviation
MINIATURE = {"depth": 4, "num_heads": 2, "embed_dim": 96}  # of a transformer's miniature


@dataclass(frozen=True)
class Encoder:
    """One size of a backbone.

    ``builder(bands, **arguments)`` builds it, without pre-trained weights. ``patch`` is
    the side in px of what the coarsest map tells apart: a transformer's patch, a CNN's last stride. ``dim``
    is the width of a token (of the last stage), ``depth`` the number of blocks (of stages). ``taps`` are the
    four blocks (from 0) at the quarter points that decoders read, ``skip`` is the block (from 0) that
    DeepLabV3+ takes for its skip unless another is asked for.
    """

    builder: "Callable[..., nn.Module]"
    patch: int
    dim: int
    depth: int
    taps: tuple[int, int, int, int]
    skip: int
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BackboneSpec:
    """A family of encoders that share an interface.

    ``output`` says what the encoder gives for images [B, bands, H, W]:

    - "tokens": of every block, in order, tokens [B, prefix_tokens + h*w, dim], h = H / patch, w = W / patch;
    - "maps": of every block, in order, a map [B, dim, h, w]; it has left out the prefix tokens itself;
    - "pyramid": of each of four stages a map [B, channels, H / s, W / s], s = 4, 8, 16, 32.

    ``bands`` are the names handed to the builder, in the order that the encoder wants; ``order`` picks them
    from ``DATA_BANDS``. ``mean`` and ``std`` are what the published weights expect of an input on the 0-1
    scale, in the order of ``DATA_BANDS``. ``hub`` is the (repository, file) of the published weights,
    ``revision`` the branch, tag or commit that they are taken from. ``miniature`` is the name of the
    miniature's pre-trained weights.

    Of checkpoints: ``filters`` is the key of the first filters [dim, bands, ...] (None where there are none),
    ``stored_bands`` are the published file's where they are others than ``bands`` or R, G, B, ``fixed`` is
    the key of what is computed, not learnt, ``left_out`` are the starts of keys that are not the encoder's.

    ``skip_resized``: whether DeepLabV3+'s skip is resized rather than enlarged by learnt layers. ``packages``
    are those that build or compute it beside those of every model.
    """

    title: str
    output: Output
    bands: tuple[str, ...]
    order: tuple[int, ...]
    prefix_tokens: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    hub: tuple[str, str]
    full: Encoder
    demo: Encoder
    miniature: str
    revision: str = "main"
    filters: str | None = None
    stored_bands: tuple[str, ...] = ()
    fixed: str | None = None
    left_out: tuple[str, ...] = ()
    skip_resized: bool = False
    packages: tuple[str, ...] = ()

    @property
    def transformer(self) -> bool:
        """Whether it is a transformer, whose blocks all have one grid."""
        return self.output != "pyramid"

    def encoder(self, scale: Scale) -> Encoder:
        """The encoder of one scale."""
        return self.full if scale == "full" else self.demo

    def reads(self, bands: Bands) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Names of the bands that reach the encoder, and where each stands in the data; "rgb" drops NIR."""
        pairs = zip(self.bands, self.order, strict=True)
        kept = [(name, i) for name, i in pairs if bands == "all" or DATA_BANDS[i] != "NIR"]
        return tuple(name for name, _ in kept), tuple(i for _, i in kept)

    def skip(self, scale: Scale, skip_block: int) -> int:
        """Index (from 0) of the block behind DeepLabV3+'s skip: the ``skip_block``-th, the usual one for 0.

        Raises ValueError naming the allowed blocks, and for a CNN, whose skip is its stage at stride 4.
        """
        encoder = self.encoder(scale)
        if skip_block == 0:
            return encoder.skip
        if not self.transformer:
            raise ValueError(
                f"skip_block: got {skip_block}; {self.title} is no transformer, its skip is the stage at "
                "stride 4; use skip_block=0"
            )
        if not 1 <= skip_block < encoder.depth:
            raise ValueError(
                f"skip_block: got {skip_block}; {self.title} at scale {scale!r} allows 1 to "
                f"{encoder.depth - 1} (block {encoder.depth} is what the skip is joined to), or 0 for the "
                f"usual one ({encoder.skip + 1})"
            )
        return skip_block - 1


def check_scale(scale: str) -> None:
    """Raise ValueError unless ``scale`` is "demo" or "full"."""
    if scale not in SCALES:
        raise ValueError(f"scale: got {scale!r}; allowed: {', '.join(SCALES)}")


def check_bands(bands: str) -> None:
    """Raise ValueError unless ``bands`` is "all" or "rgb"."""
    if bands not in BAND_CHOICES:
        raise ValueError(f"bands: got {bands!r}; allowed: {', '.join(BAND_CHOICES)}")


def with_nir(rgb: tuple[float, float, float]) -> tuple[float, ...]:
    """Values of R, G, B as those of B, G, R, NIR; NIR's is their mean."""
    return (*reversed(rgb), sum(rgb) / 3)


SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt")
ALTERNATIVES = (
    "weights='random', or the path of a checkpoint file or of a folder that holds <backbone>"
    + "|".join(SUFFIXES)
)


def check_weights(weights: str, backbone: str, scale: Scale, miniature: str) -> None:
    """Raise ValueError or FileNotFoundError if ``weights`` cannot be meant; reads no weights.

    ``miniature`` is the name of the backbone's pre-trained weights at demo scale.
    """
    if weights == "random":
        return
    if weights == "pretrained" and scale == "demo":
        recorded_miniature(miniature)
    if weights != "pretrained":
        checkpoint_path(weights, backbone)


# The miniatures' pre-trained weights: part of the library, so that an installed one has them too.

MINIATURES = Path(__file__).parent / "pretrained"
FROZEN = MINIATURES / "frozen.csv"  # what they are worth: a row a miniature and seed of the pre-training


def miniature_file(name: str) -> Path:
    """Where the pre-trained weights of a miniature lie."""
    return MINIATURES / f"{name}.safetensors"


def miniature_record(name: str) -> Path:
    """Where it is told how they were made, and which content they have."""
    return MINIATURES / f"{name}.json"


def recorded_miniature(name: str) -> dict[str, Any]:
    """The record of a miniature's pre-trained weights.

    Raises FileNotFoundError if there is none, ValueError if a byte of it was changed.

    "hash" is that of the file's content, "mean" and "std" [4] are of the images that it learnt from, in the
    order of ``DATA_BANDS``, scale 0 to 1.
    """
    path = miniature_record(name)
    if not path.exists():
        raise FileNotFoundError(
            f"weights='pretrained': there is no record {path} of a pre-trained miniature; `make pretraining` "
            f"makes it, or use {ALTERNATIVES}"
        )
    if (found := read_json(path)) is None:
        raise ValueError(
            f"weights='pretrained': {path} is not what was written; take it from the repository again, or "
            "run `make pretraining`"
        )
    return found


def checkpoint_path(weights: str, backbone: str) -> Path:
    """The checkpoint file that ``weights`` (a file, or a folder) stands for.

    Raises FileNotFoundError if there is none, ValueError for an unknown kind of file.
    """
    path = Path(weights).expanduser()
    if path.is_dir():
        candidates = [path / f"{backbone}{suffix}" for suffix in SUFFIXES]
        found = [c for c in candidates if c.is_file()]
        if not found:
            raise FileNotFoundError(f"weights: {path} holds none of {', '.join(c.name for c in candidates)}")
        return found[0]
    if not path.is_file():
        raise FileNotFoundError(
            f"weights: no file or folder {weights!r}; allowed: 'pretrained', {ALTERNATIVES}"
        )
    if path.suffix not in SUFFIXES:
        raise ValueError(f"weights: {path.name} is none of {', '.join(SUFFIXES)}")
    return path
