"""The loss of a training: what it counts, what it is told by, and when it is refused."""

import pandas as pd
import pytest
import tiny
import torch
from torch import nn

from wusu_lib.losses import TrainingLoss
from wusu_lib.training import fit
from wusu_lib.training.tally import Tally, pixel_loss
from wusu_lib.training.task import SegmentationTask


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return tiny.write_tree(tmp_path_factory.mktemp("tree"))


def test_the_loss_is_a_mean_over_labelled_pixels_not_over_batches():
    logits = torch.randn(3, 11, 4, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.full((3, 4, 4), 255)
    mask[0, 0, :2] = 1
    mask[1] = 2
    whole = nn.functional.cross_entropy(logits, mask, ignore_index=255)
    tally = Tally("ignore")
    for i in range(3):
        tally.add([str(i)], logits[i : i + 1], mask[i : i + 1])
    assert tally.pixels == 18
    assert tally.loss == pytest.approx(whole.item(), rel=1e-6)


def test_a_batch_without_labels_is_no_division_by_zero():
    logits = torch.randn(1, 11, 4, 4, requires_grad=True)
    loss, pixels = pixel_loss(logits, torch.full((1, 4, 4), 255))
    assert (loss.item(), pixels) == (0.0, 0)
    task = SegmentationTask(tiny.build(), tiny.settings())
    batch = {"image": torch.zeros(1, 4, 8, 8), "mask": torch.full((1, 8, 8), 255)}
    assert task.training_step(batch, 0).item() == 0.0


def test_a_split_without_labels_is_told(tmp_path, tree):
    parameters = tiny.settings(epochs=1)
    data = tiny.data(tree, parameters)
    data.table = data.table[data.table["split"] != "val"]
    with pytest.raises(ValueError, match="split 'val' holds no labelled patch"):
        fit(tmp_path, tiny.build, data, parameters, 0)


def test_a_loss_that_is_not_finite_is_told(tmp_path, tree):
    def broken():
        model = tiny.build()
        with torch.no_grad():
            model.head.bias.fill_(float("inf"))
        return model

    with pytest.raises(ValueError, match="the training loss became nan; try a smaller learning_rate"):
        tiny.train(tmp_path, tree, make=broken)
    assert not (tmp_path / "confusion.npz").exists()


class Tripled(tiny.TinyModel):
    """Minimises a multiple of the cross-entropy that it is told by."""

    factor = 3.0

    def training_loss(self, images, mask):
        loss, pixels = pixel_loss(self(images), mask)
        return TrainingLoss(self.factor * loss, pixels, loss.detach())


def tripled(factor=3.0):
    torch.manual_seed(0)
    model = Tripled(11)
    model.factor = factor
    return model


def test_an_objective_of_its_own_is_recorded_beside_a_comparable_loss(tmp_path, tree):
    tiny.train(tmp_path / "own", tree, epochs=2, make=tripled)
    tiny.train(tmp_path / "usual", tree, epochs=2)
    own, usual = (pd.read_csv(tmp_path / name / "history.csv") for name in ("own", "usual"))
    assert own["train/objective"].tolist() == pytest.approx((3 * own["train/loss"]).tolist(), rel=1e-6)
    assert "train/objective" not in usual
    first, other = (pd.read_csv(tmp_path / name / "steps.csv").iloc[0] for name in ("own", "usual"))
    assert first["train/loss"] == pytest.approx(other["train/loss"], rel=1e-6)
    assert first["gradient_norm"] == pytest.approx(3 * other["gradient_norm"], rel=1e-5)


def test_an_objective_that_is_not_finite_is_told(tmp_path, tree):
    """Its cross-entropy, that of the forward pass before the step, still is."""
    with pytest.raises(ValueError, match="the training loss became nan; try a smaller learning_rate"):
        tiny.train(tmp_path, tree, make=lambda: tripled(float("nan")), epochs=1, accumulate=100)
