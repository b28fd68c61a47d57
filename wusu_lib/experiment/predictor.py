"""A stored run as something that maps images: its model, its normalisation, its classes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from wusu_lib.files import RECORD
from wusu_lib.legend import ELEVEN, LabelSpace
from wusu_lib.runs.store import Run

if TYPE_CHECKING:
    import torch
    from torch import nn

    from wusu_lib.experiment.segmentation import SegmentationParameters


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
    def indices(self) -> tuple[int, ...]:
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
            rest = [type(self.model).__qualname__, list(self.mean), list(self.std), self.indices]
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

    from wusu_lib.experiment.parameters import MODEL
    from wusu_lib.experiment.segmentation import build_for_size
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


def _parameters(run: Run) -> "SegmentationParameters":
    """The run's parameters; ValueError unless it is a segmentation run with its weights."""
    from wusu_lib.experiment.parameters import parse
    from wusu_lib.experiment.segmentation import SegmentationParameters

    if "backbone" not in run.parameters or "decoder" not in run.parameters or "input" not in run.record:
        raise ValueError(
            f"{run.called}, run {run.key}, is not a segmentation run; give an experiment that trains a "
            "segmentation model, for instance exp05"
        )
    return parse(SegmentationParameters, run.parameters, stored=True)


def _bytes() -> "torch.dtype":
    import torch

    return torch.uint8
