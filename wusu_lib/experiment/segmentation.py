"""Segmentation: the classes of one image. From parameters to files: data, model, training, results."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self, cast, get_args

import numpy as np
import pandas as pd
from pydantic import Field, field_validator, model_validator

from wusu_lib.data import statistics
from wusu_lib.experiment.parameters import (
    DATA,
    MODEL,
    NAMED_WEIGHTS,
    TORCH,
    TRAINING,
    Kind,
    ModelParameters,
    Names,
    Positive,
    parse,
    published,
    weights_hash,
)
from wusu_lib.files import RECORD
from wusu_lib.imagery import Augmentation
from wusu_lib.legend import ELEVEN, LabelSpace
from wusu_lib.models import catalogue, indices, losses
from wusu_lib.models.catalogue import expected_statistics, find
from wusu_lib.models.decoders import DECODERS
from wusu_lib.models.indices import Filters
from wusu_lib.runs.results import write_results
from wusu_lib.runs.store import Run

if TYPE_CHECKING:
    import torch
    from torch import nn

    from wusu_lib.data.loading import WusuDataModule
    from wusu_lib.experiment.experiment import Experiment
    from wusu_lib.models.segmentation import SegmentationModel
    from wusu_lib.training.task import Tally


# Values with which a training is as if there were no such parameter: nothing is said of them in a key.
USUAL = {
    "augmentation": "flips",
    "head_dropout": 0.0,
    "layer_decay": 1.0,
    "weight_average": 0.0,
    "decoder_width": 1.0,
}


class SegmentationParameters(ModelParameters):
    """A segmentation experiment: classes from one image."""

    classes: Literal["all", "merged"] = Field(
        "all", description="the legend's classes, or buildings and waters merged"
    )
    loss: str = Field(
        "cross_entropy", examples=["focal"], description=f"{', '.join(losses.LOSSES)}, or a sum (a+0.5*b)"
    )
    indices: Names = Field(
        [], examples=[["NDVI", "NDWI"]], description="spectral indices (spyndex) as further channels"
    )
    index_filters: Filters = Field(
        "zero", description="how the filters of the indices start: zero, as the mean of the others, or a stem"
    )
    augmentation: Augmentation = Field(
        "flips",
        description="of training patches: mirrored; also turned; also of other colour; also enlarged",
    )
    head_dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, examples=[0.1], description="share of the features that the last layer does not see in training"
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, examples=[0.75], description="learning rate of each block of the encoder over that of the next"
    )
    weight_average: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        examples=[0.98],
        description="share that a step keeps of the running mean of weights, which is judged; 0: no mean",
    )
    decoder_width: Positive = Field(
        1.0, examples=[2.0], description="channels of the decoder, in times of the usual"
    )
    gain: Positive = Field(
        1.0,
        examples=[4.0],
        description="of a sensor that the images are seen by: counts are multiplied by it",
    )
    offset: Annotated[float, Field(allow_inf_nan=False)] = Field(
        0.0, examples=[0.25], description="of that sensor, added to counts / 255 after the gain"
    )

    @field_validator("loss")
    @classmethod
    def _named_once(cls, loss: str) -> str:
        return losses.canonical(loss)

    @model_validator(mode="after")
    def _indices_exist(self) -> Self:
        named = self.weights if self.weights in NAMED_WEIGHTS else "random"
        catalogue.check(self.backbone, self.decoder, self.scale, named, self.bands, indices=self.indices)
        if self.indices and self.index_filters == "zero" and self.adaptation in ("frozen", "lora"):
            raise ValueError(
                f'index_filters: got "zero" with adaptation="{self.adaptation}", under which they stay zero, '
                'so the indices would never be seen; use "stem"'
            )
        return self

    @model_validator(mode="after")
    def _loss_of_pixels(self) -> Self:
        losses.check(self.loss, DECODERS[self.decoder].set_loss)
        DECODERS[self.decoder].arguments(self.scale, self.decoder_width)
        if self.head_dropout and DECODERS[self.decoder].set_loss:
            raise ValueError(
                f"head_dropout: got {self.head_dropout}, but {self.decoder} has no such layer; use 0"
            )
        return self

    def effective(self) -> dict[str, Any]:
        """As of every model; nothing is said of indices without any, of a sensor that changes nothing.

        Statistics of the data's own shift as the images do, so with them no gain and no offset is seen.
        """
        found = super().effective()
        if self.normalisation == "wusu" or (self.gain, self.offset) == (1, 0):
            del found["gain"], found["offset"]
        if not self.indices:
            del found["indices"], found["index_filters"]
        return {name: value for name, value in found.items() if name not in USUAL or value != USUAL[name]}


IN_MEMORY = 2**30  # bytes of images and masks that are kept in memory rather than read every epoch


def train_segmentation(exp: "Experiment", seed: int, folder: Path) -> dict[str, Any]:
    """Train and evaluate the model that an experiment describes; files into ``folder``, figures returned."""
    from wusu_lib.training.loop import threads

    parameters = cast("SegmentationParameters", exp.parameters)
    with threads(parameters.scale):
        size = max(image_shape(exp.table)[1:])
        model = build_network(parameters, outputs_of(parameters), size, seed)
        start = begin(exp, model)
        data = patches_of(exp, start, seed)
        made = fit(folder, model, data, parameters, seed, exp.called, start.shares)
    return made | start.record


class Start(NamedTuple):
    """What a training starts from, beside its model.

    ``mean`` and ``std``: of the bands, on the scale 0 to 1. ``shares``: of the classes in the training
    pixels. ``record``: what the run's record says of its input, of its parts and of its weights.
    """

    mean: np.ndarray
    std: np.ndarray
    shares: np.ndarray
    record: dict[str, Any]


def begin(exp: "Experiment", model: "SegmentationModel") -> Start:
    """Measure what a model is to be told of the training data, and tell it of its spectral indices."""
    parameters, table = cast("SegmentationParameters", exp.parameters), exp.table
    mean, std = statistics.normalisation(
        parameters.normalisation,
        exp.statistics,
        expected_statistics(parameters.backbone, parameters.scale, parameters.weights),
    )
    if parameters.normalisation != "wusu":
        # (gain x + offset - mean) / std: what these statistics make of the images under the other sensor
        mean, std = (mean - parameters.offset) / parameters.gain, std / parameters.gain
    # What the stored weights expect of an image, so that they can be used without the data they learnt from.
    expects = {"mean": mean.tolist(), "std": std.tolist(), "size": list(image_shape(table)[1:])}
    if parameters.indices:
        assert model.indices is not None
        images = table.loc[table["split"] == "train", "image"]
        model.indices.fill((mean, std), indices.measure(images, parameters.indices))
    record = {"input": expects, "parts": describe_model(model, table).to_dict("list")}
    shares = losses.class_shares(exp.statistics.classes.sum(axis=0), parameters.labels)
    return Start(mean, std, shares, record | published(parameters))


def patches_of(exp: "Experiment", start: Start, seed: int) -> "WusuDataModule":
    """The experiment's patches, normalised as the model expects them."""
    from wusu_lib.data.loading import WusuDataModule

    parameters = cast("SegmentationParameters", exp.parameters)
    return WusuDataModule(
        exp.table,
        start.mean.tolist(),
        start.std.tolist(),
        labels=parameters.labels,
        batch_size=parameters.batch_size,
        workers=parameters.workers,
        seed=seed,
        in_memory=not parameters.workers and fits_in_memory(exp.table),  # workers would each get a copy
        augmentation=parameters.augmentation,
    )


def outputs_of(parameters: SegmentationParameters) -> int:
    """Number of classes that the model predicts."""
    return parameters.labels.outputs


def build_for_size(parameters: SegmentationParameters, image_size: int, seed: int) -> "SegmentationModel":
    """The model of ``parameters`` for square images of ``image_size`` px, its encoder adapted as stated."""
    return build_network(parameters, outputs_of(parameters), image_size, seed)


def build_network(
    parameters: ModelParameters, outputs: int, image_size: int, seed: int
) -> "SegmentationModel":
    """A model with so many outputs whose encoder is frozen or adapted as ``parameters`` state."""
    from wusu_lib.models import build, weights
    from wusu_lib.models.segmentation import fresh_parameters

    model = build.build(
        parameters.backbone,
        parameters.decoder,
        scale=parameters.scale,
        weights=parameters.weights,
        outputs=outputs,
        image_size=image_size,
        seed=seed,
        bands=parameters.bands,
        skip_block=parameters.skip_block,
        indices=getattr(parameters, "indices", ()),
        index_filters=getattr(parameters, "index_filters", "zero"),
        head_dropout=getattr(parameters, "head_dropout", 0.0),
        decoder_width=getattr(parameters, "decoder_width", 1.0),
    )
    if parameters.adaptation == "frozen":
        model.freeze_encoder()
    elif parameters.adaptation == "lora":
        weights.add_lora(model, seed=seed)
        for parameter in fresh_parameters(model.encoder):
            parameter.requires_grad_(True)
    return model


def describe_model(model: "SegmentationModel", table: pd.DataFrame) -> pd.DataFrame:
    """Parts of a model with their sizes (``build.describe``) for the patches of ``table``."""
    from wusu_lib.models import build

    return build.describe(model, max(image_shape(table)[1:]))


def image_shape(table: pd.DataFrame) -> tuple[int, int, int]:
    """Bands, height and width (px) of the patches."""
    from wusu_lib.imagery import read

    bands, height, width = read(table["image"].iat[0]).shape
    return bands, height, width


def fits_in_memory(table: pd.DataFrame) -> bool:
    """Whether all images and masks fit the memory set aside for them."""
    bands, height, width = image_shape(table)
    return len(table) * (bands + 1) * height * width <= IN_MEMORY


def fit(
    folder: Path,
    model: "nn.Module",
    data: "WusuDataModule",
    parameters: SegmentationParameters,
    seed: int,
    called: str = "",
    shares: np.ndarray | None = None,
) -> dict[str, Any]:
    """Train a model on ``data`` and evaluate its best weights; resumes what ``folder`` holds.

    ``shares``: of the classes in the training pixels (``losses.class_shares``), for a loss that weighs them.
    Writes what ``loop.train`` writes, confusion.npz and predictions.npz. Gives the rest of the record: what
    ``loop.train`` gives, metrics by protocol and split, classes absent from a split. Errors as there.
    """
    from wusu_lib.training.loop import train
    from wusu_lib.training.task import SegmentationTask

    # The task has no name here, so that nothing holds it when the training frees what it held.
    tallies, figures = train(folder, SegmentationTask(model, parameters, shares), data, seed, called=called)
    return write_tallies(folder, data, tallies) | figures


def write_tallies(folder: Path, data: "WusuDataModule", tallies: "dict[str, Tally]") -> dict[str, Any]:
    """Write the run's files; give what ``write_results`` gives."""
    patches = [patch for tally in tallies.values() for patch in tally.patches]
    matrices = np.stack([matrix for tally in tallies.values() for matrix in tally.matrices])
    rows = data.table.set_index("patch").loc[patches].reset_index()
    val = tallies["val"]
    maps, confidence = (dict(zip(val.patches, v, strict=True)) for v in (val.maps, val.confidence))
    return write_results(folder, rows, matrices, maps, confidence, data.labels)


# A stored run as something that maps images: its model, its normalisation, its classes.


@dataclass
class Predictor:
    """A model with all that it needs to read an image.

    ``model``: images [B, 4, H, W] -> logits [B, K, H, W]. ``mean`` and ``std``: of the bands blue, green,
    red, NIR, on the scale count / 255. ``labels``: which K classes of the legend it predicts. ``window``:
    side of the images that it learnt from, in pixels. ``device``: "auto" takes a GPU if there is one.
    ``code``: the modules of this library that compute the model, as ``provenance.code`` takes them.
    """

    model: "nn.Module"
    mean: Sequence[float]
    std: Sequence[float]
    labels: LabelSpace = ELEVEN
    window: int = 512
    precision: Literal["bf16", "32"] = "32"
    name: str = "model"
    device: str = "auto"
    code: tuple[str, ...] = ()
    _hash: str = field(default="", repr=False)

    @property
    def class_indices(self) -> tuple[int, ...]:
        """Class index (0 to 11) of each of the K outputs."""
        return self.labels.scored

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the weights and of everything else that the predictions depend on."""
        if not self._hash:
            digest = hashlib.sha256()
            for name, tensor in sorted(self.model.state_dict().items()):
                digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().reshape(-1).view(_bytes()).numpy().tobytes())
            rest = [type(self.model).__qualname__, list(self.mean), list(self.std), self.class_indices]
            digest.update(repr([*rest, self.precision]).encode())
            self._hash = digest.hexdigest()[:16]
        return self._hash

    def probabilities(self, images: np.ndarray, valid: np.ndarray) -> "torch.Tensor":
        """Class probabilities float32 [B, K, H, W] of counts uint8 [B, 4, H, W], on the model's device.

        ``valid``: bool [B, H, W]; the model sees the mean of each band where there is no data. Raises
        ValueError where an output is not finite.
        """
        import torch

        from wusu_lib.models.arithmetic import autocast, exact_float32

        device = self.chosen_device()
        self.model.to(device).eval()
        mean, std = (np.asarray(v, dtype=np.float32)[:, None, None] for v in (self.mean, self.std))
        scaled = (images.astype(np.float32) / np.float32(255) - mean) / std
        scaled *= valid[:, None]
        with torch.inference_mode(), autocast(self.precision, device), exact_float32():
            logits = self.model(torch.from_numpy(scaled).to(device))
            found = logits.float().softmax(dim=1)
            if not torch.isfinite(found).all():
                raise ValueError(f"{self.name} gives values that are not finite: no map can be made with it")
            return found

    def chosen_device(self) -> str:
        """The device's type: "cuda" or "cpu"."""
        import torch

        if self.device != "auto":
            return self.device
        return "cuda" if torch.cuda.is_available() else "cpu"

    def on_cpu(self) -> "Predictor":
        """This predictor with its weights in main memory, from where they can be sent to another machine."""
        self.model.cpu()
        return self


def load(run: Run) -> Predictor:
    """The predictor of a stored segmentation run.

    Raises ValueError for a run of another kind, for weights that are not what was written, and where a mean
    or a standard deviation is not finite.
    """
    parameters = _parameters(run)
    from safetensors.torch import load_model

    from wusu_lib.models import catalogue

    expects = run.record["input"]
    statistics = np.array([expects["mean"], expects["std"]], dtype=float)
    if not (np.isfinite(statistics).all() and (statistics[1] > 0).all()):
        raise ValueError(
            f"{run.folder / RECORD}: mean and std must be finite and std above 0; got {statistics.tolist()}"
        )
    window = max(expects["size"])
    # All weights are replaced: nothing is fetched, whatever the training started from.
    model = build_for_size(parameters.model_copy(update={"weights": "random"}), window, run.seed)
    load_model(model, run.file("model.safetensors"))
    return Predictor(
        model.eval(),
        expects["mean"],
        expects["std"],
        parameters.labels,
        window,
        parameters.precision,
        f"{run.called}, run {run.key}",
        code=(*MODEL, *catalogue.chosen_modules(parameters)),
    )


def _parameters(run: Run) -> SegmentationParameters:
    """What a run's model was trained with; a search's run records what its winner was.

    ValueError unless it is a segmentation run with its weights, of maps at the data's own pixel.
    """
    stated = run.record.get("trained", run.parameters)
    if "backbone" not in stated or "decoder" not in stated or "input" not in run.record:
        raise ValueError(
            f"{run.called}, run {run.key}, is not a segmentation run; give an experiment that trains a "
            "segmentation model, for instance exp05"
        )
    last = stated.get("stages", [1])[-1]
    if last != 1:
        raise ValueError(
            f"{run.called}, run {run.key}, learnt last from the scene resampled {last}-fold, so it cannot "
            "map images of the data's own ground pixel; give a run whose last stage is 1"
        )
    fields = SegmentationParameters.model_fields
    known = {name: value for name, value in stated.items() if name in fields}
    return parse(SegmentationParameters, known, stored=True)


def _bytes() -> "torch.dtype":
    import torch

    return torch.uint8


# What the kind is.


def _weights(exp: "Experiment", seed: int) -> str:
    return weights_hash(cast(SegmentationParameters, exp.parameters))


def _parts(exp: "Experiment") -> pd.DataFrame:
    stated = cast(SegmentationParameters, exp.parameters)
    model = build_for_size(stated, max(image_shape(exp.table)[1:]), exp.seeds[0])
    return describe_model(model, exp.table)


KIND = Kind(
    schema=SegmentationParameters,
    told_by=frozenset({"backbone", "decoder", "prediction"}),
    code=(*DATA, *TRAINING, "wusu_lib.measures.classes:confusion"),
    packages=TORCH,
    make=train_segmentation,
    inputs=_weights,
    parts=_parts,
)


# Trainings beside an experiment's own: one of its parameters changed, or another start.


def bands_and_skips(exp: "Experiment") -> "dict[str, Experiment]":
    """What experiment 6 asks beside its main question: no near infrared, and another block for the skip.

    The blocks are those at the quarter points of the backbone, without the one that the run itself uses and
    the last one, which the skip is joined to; none where the decoder has no skip to choose. Without the
    infrared in the run itself, that variant is left out.
    Raises ValueError for an experiment that trains no segmentation model.
    """
    stated = exp.parameters
    if not isinstance(stated, SegmentationParameters):
        raise ValueError(
            f"{exp.name} trains no segmentation model, so it has neither bands nor a skip to choose"
        )
    spec = find(stated.backbone)
    encoder = spec.encoder(stated.scale)
    own = stated.skip_block or encoder.skip + 1
    choosable = spec.transformer and stated.decoder == "deeplab"
    blocks = [tap + 1 for tap in encoder.taps[:-1] if choosable and tap + 1 != own]
    found = {"red, green, blue only": exp.variant(bands="rgb")} if stated.bands == "all" else {}
    return found | {f"skip from block {block}": exp.variant(skip_block=block) for block in blocks}


def with_filters(exp: "Experiment") -> "dict[str, Experiment]":
    """The experiment with each start of its indices' filters, by name, its own first.

    Raises ValueError for an experiment without indices.
    """
    if not getattr(exp.parameters, "indices", ()):
        raise ValueError(f"{exp.name} reads no spectral indices; give some, for instance indices=[NDVI]")
    own = cast(SegmentationParameters, exp.parameters).index_filters
    return {own: exp} | {name: exp.variant(index_filters=name) for name in get_args(Filters) if name != own}


def with_losses(exp: "Experiment", stated: Sequence[str]) -> "dict[str, Experiment]":
    """The experiment with its own loss and with each of some others, by the loss's name.

    Raises ValueError for an experiment that trains no segmentation model, for an unknown loss, and for a
    decoder that has a loss of its own.
    """
    if not isinstance(exp.parameters, SegmentationParameters):
        raise ValueError(f"{exp.name} trains no segmentation model, so it has no loss to choose")
    own = exp.parameters.loss
    others = dict.fromkeys(losses.canonical(name) for name in stated)
    return {own: exp} | {name: exp.variant(loss=name) for name in others if name != own}


def under_sensors(
    exp: "Experiment", sensors: Sequence[tuple[float, float]]
) -> "dict[str, dict[tuple[float, float], Experiment]]":
    """The experiment frozen and as it is adapted, under sensors of some (gain, offset): adaptation -> sensor.

    One that is frozen itself is also adapted with two learning rates. Raises ValueError for an experiment
    whose statistics are the data's own: they would shift along.
    """
    stated = exp.parameters
    if not isinstance(stated, SegmentationParameters) or stated.normalisation == "wusu":
        raise ValueError(
            f"{exp.name} normalises with the data's own statistics, which no gain changes; give another set, "
            'for instance normalisation="backbone"'
        )
    return {
        adaptation: {
            (gain, offset): exp.variant(adaptation=adaptation, gain=gain, offset=offset)
            for gain, offset in sensors
        }
        for adaptation in ("frozen", "differential" if stated.adaptation == "frozen" else stated.adaptation)
    }
