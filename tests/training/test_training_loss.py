"""The loss of a training: what it counts, what it is told by, and when it is refused."""

import math

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from torch import nn

from wusu_lib import provenance
from wusu_lib.experiment.direct import DirectParameters
from wusu_lib.experiment.parameters import parse
from wusu_lib.experiment.per_pixel import PixelParameters
from wusu_lib.experiment.segmentation import fit
from wusu_lib.experiment.two_stage import TwoStageParameters
from wusu_lib.legend import ELEVEN, LabelSpace
from wusu_lib.models.losses import (
    LOSSES,
    TrainingLoss,
    class_shares,
    modules,
    near_another_class,
    pixel_loss,
    training_loss,
)
from wusu_lib.training.task import SegmentationTask, Tally


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return tiny.write_tree(tmp_path_factory.mktemp("tree"))


def test_the_loss_is_a_mean_over_labelled_pixels_not_over_batches():
    logits = torch.randn(3, 11, 4, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.full((3, 4, 4), 255)
    mask[0, 0, :2] = 1
    mask[1] = 2
    whole = nn.functional.cross_entropy(logits, mask, ignore_index=255)
    tally = Tally(ELEVEN)
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
        fit(tmp_path, tiny.build(), data, parameters, 0)


def test_a_start_that_is_not_finite_is_told_at_the_first_step(tmp_path, tree):
    """The weights are at fault, so no other learning rate is proposed."""

    def broken():
        model = tiny.build()
        with torch.no_grad():
            model.head.bias.fill_(float("inf"))
        return model

    with pytest.raises(
        ValueError, match=r"the loss of the first step is nan: the images, .* the weights"
    ) as told:
        tiny.train(tmp_path, tree, make=broken)
    assert "learning_rate" not in str(told.value)
    assert not (tmp_path / "confusion.npz").exists()


def test_a_loss_that_ceases_to_be_finite_is_told(tmp_path, tree):
    with pytest.raises(ValueError, match=r"the training loss became (nan|inf); try a smaller learning_rate"):
        tiny.train(tmp_path, tree, learning_rate=1e30, encoder_learning_rate=1e30)
    assert not (tmp_path / "confusion.npz").exists()


def test_a_gradient_that_is_not_finite_is_named_at_the_first_step(tmp_path, tree):
    """The loss is finite: what computes the gradient is wrong, not the rate at which it would be followed."""

    def broken():
        model = tiny.build()
        model.encoder[0].weight.register_hook(
            lambda gradient: gradient.index_fill(0, torch.tensor(2), torch.nan)
        )
        return model

    with pytest.raises(
        ValueError, match=r"the gradient of encoder.0.weight is not finite at the first step"
    ) as told:
        tiny.train(tmp_path, tree, make=broken, precision="bf16")
    assert "precision='bf16'" in str(told.value)
    assert 'use precision="32"' in str(told.value)
    assert "learning_rate" not in str(told.value)


def test_a_model_that_bfloat16_computes_wrongly_is_not_trained(tmp_path, tree, monkeypatch):
    monkeypatch.setattr(provenance, "computes_bfloat16", lambda: True)

    class Wrong(tiny.TinyModel):
        def forward(self, images):
            maps = self.encoder(images)
            return self.head(2 * maps if maps.dtype == torch.bfloat16 else maps)

    with pytest.raises(ValueError, match='precision: "bf16" cannot be used with this model on this machine'):
        tiny.train(tmp_path / "half", tree, make=lambda: Wrong(11), precision="bf16", epochs=1)
    assert (
        tiny.train(tmp_path / "whole", tree, make=lambda: Wrong(11), precision="32", epochs=1)["epochs"] == 1
    )


def test_bfloat16_is_float32_where_it_would_be_emulated(tmp_path, tree, monkeypatch):
    monkeypatch.setattr(provenance, "computes_bfloat16", lambda: False)
    found = [
        tiny.train(tmp_path / precision, tree, precision=precision, epochs=1) for precision in ("bf16", "32")
    ]
    assert [each["arithmetic"]["precision"] for each in found] == ["32", "32"]
    assert found[0]["losses"] == found[1]["losses"]


def test_what_torch_computed_with_is_recorded(tmp_path, tree):
    """Float32 products in float32, whatever the process was set to before."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        found = tiny.train(tmp_path, tree, epochs=1)["arithmetic"]
    finally:
        torch.set_float32_matmul_precision(before)
    assert found["float32_products"] == "highest"
    assert set(found) == {"precision", "device", "torch_instruction_set", "float32_products"}
    assert found["precision"] == "32"


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
    with pytest.raises(ValueError, match="the loss of the first step is nan"):
        tiny.train(tmp_path, tree, make=lambda: tripled(float("nan")), epochs=1, accumulate=100)


def two_pixels():
    """The true class has probability 0.8 at one pixel and 0.5 at the other; a third pixel does not count."""
    probabilities = torch.tensor([[0.8, 0.2], [0.5, 0.5], [0.9, 0.1]])
    return probabilities.log().T[None, :, None], torch.tensor([[[0, 1, 255]]])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("cross_entropy", -math.log(0.8) - math.log(0.5)),
        ("focal", -(0.2**2) * math.log(0.8) - 0.5**2 * math.log(0.5)),
        ("dice", 2 * (1 - (1.6 / (1.3 + 1) + 1.0 / (0.7 + 1)) / 2)),
        ("inverse_frequency", -(2 / 3) * math.log(0.8) - 2 * math.log(0.5)),  # 1/.75 and 1/.25, mean 1
        ("effective_number", -0.804115 * math.log(0.8) - 1.587655 * math.log(0.5)),  # 1/(1 - e^(-2 share))
        ("lovasz", 2 * (0.5 * 0.5 + 0.5 * 0.2 + 1.0 * 0.5) / 2),  # errors times the steps of 1 - IoU
        ("focal_tversky", (1 - 0.8 / 1.09) ** 0.75 + (1 - 0.5 / 0.91) ** 0.75),
        ("boundary", 0.916291),  # both pixels are at the border
        ("cross_entropy+dice", 0.916291 + 0.716113),
        ("focal+lovasz+boundary", 0.182212 + 0.85 + 0.916291),
    ],
)
def test_each_loss_of_two_pixels(loss, expected):
    found = training_loss(loss, *two_pixels(), np.array([0.75, 0.25]))
    assert found.objective.item() == pytest.approx(expected, rel=1e-5)
    assert found.pixels == 2
    told = found.objective if found.cross_entropy is None else found.cross_entropy
    assert told.item() == pytest.approx(0.916291, rel=1e-5)


def test_a_class_that_the_batch_lacks_has_no_part_in_dice():
    logits = torch.tensor([[0.6, 0.3, 0.1]]).log().T[None, :, None]
    found = training_loss("dice", logits, torch.zeros(1, 1, 1, dtype=torch.int64))
    assert found.objective.item() == pytest.approx((1 - 2 * 0.6 / 1.6) / 3, rel=1e-5)


SHARES = np.array([0.6, 0.3, 0.1])


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_of_each_loss_is_how_it_changes(loss):
    """Along random directions, by central differences."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 6, 6, generator=generator).requires_grad_()
    mask = torch.randint(0, 3, (2, 6, 6), generator=generator)
    mask[0, :2] = 255
    training_loss(loss, logits, mask, SHARES).objective.backward()
    for _ in range(3):
        step = torch.randn(logits.shape, generator=generator) * 1e-3
        with torch.no_grad():
            up, down = (training_loss(loss, logits + sign * step, mask, SHARES).objective for sign in (1, -1))
        assert (up - down).item() == pytest.approx(2 * (logits.grad * step).sum().item(), rel=0.02, abs=2e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_certain_and_right_has_a_small_loss_and_a_finite_gradient(loss):
    mask = torch.arange(3).repeat(1, 4, 2)
    logits = (40.0 * nn.functional.one_hot(mask, 3).movedim(-1, 1).float()).requires_grad_()
    found = training_loss(loss, logits, mask, SHARES)
    found.objective.backward()
    assert 0 <= found.objective.item() < 0.002 * found.pixels
    assert torch.isfinite(logits.grad).all()


def test_a_border_is_where_another_class_is_near_and_unlabelled_ground_makes_none():
    mask = torch.zeros(1, 1, 12, dtype=torch.int64)
    mask[0, 0, 5:9] = 2
    mask[0, 0, 9:] = 255
    near = near_another_class(mask)[0, 0].tolist()
    assert near == [False, False, *[True] * 6, False, False, False, False]
    logits = torch.zeros(1, 3, 1, 12)
    logits[0, 0] = 1  # right from 0 to 4, wrong from 5 to 8
    right, wrong = (-torch.log_softmax(logits[0, :, 0, 0], 0)[k].item() for k in (0, 2))
    expected = 9 * (2 * right + 15 * right + 15 * wrong + wrong) / (6 * 5 + 3)
    assert training_loss("boundary", logits, mask).objective.item() == pytest.approx(expected, rel=1e-5)


def test_shares_of_classes_are_of_the_pixels_that_count_in_their_label_space():
    pixels = np.array([100, 10, 20, 30, 0, 0, 0, 0, 0, 0, 0, 40])
    assert class_shares(pixels, ELEVEN)[[0, 1, 2, 10]].tolist() == [0.1, 0.2, 0.3, 0.4]
    merged = class_shares(pixels, LabelSpace("class", "merged"))
    assert merged[[0, 1, 2, 9]].tolist() == [0.5, 0.05, 0.25, 0.2]
    with pytest.raises(ValueError, match="no training patch has a labelled pixel"):
        class_shares(np.array([5] + [0] * 11), ELEVEN)
    with pytest.raises(ValueError, match="inverse_frequency weighs classes and needs their shares"):
        training_loss("inverse_frequency", *two_pixels())


def test_a_class_that_no_training_pixel_has_weighs_nothing():
    found = training_loss("inverse_frequency", *two_pixels(), np.array([1.0, 0.0])).objective.item()
    assert found == pytest.approx(-math.log(0.8), rel=1e-5)


def test_a_training_weighs_classes_by_its_own_training_pixels(tmp_path, tree):
    """Equal shares make the weighted cross-entropy the plain one; others do not."""
    parameters = tiny.settings(loss="inverse_frequency", epochs=1)
    objectives = []
    for shares in (np.full(11, 1 / 11), np.array([0.99] + [0.001] * 10)):
        folder = tmp_path / str(shares[0])
        folder.mkdir()
        fit(folder, tiny.build(), tiny.data(tree, parameters), parameters, 0, shares=shares)
        (row,) = pd.read_csv(folder / "history.csv").to_dict("records")
        objectives.append(row["train/objective"] / row["train/loss"])
    assert objectives[0] == pytest.approx(1, rel=1e-5)
    assert abs(objectives[1] - 1) > 0.1


@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_without_labels_has_no_loss_and_no_gradient_that_is_not_finite(loss):
    logits = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = training_loss(loss, logits, torch.full((1, 4, 4), 255), SHARES)
    found.objective.backward()
    assert (found.objective.item(), found.pixels) == (0, 0)
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_a_part_of_a_sum_counts_by_its_weight():
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(2, 11, 8, 8, generator=generator)
    mask = torch.randint(0, 11, (2, 8, 8), generator=generator)
    each = {name: training_loss(name, logits, mask).objective for name in ("cross_entropy", "dice")}
    found = training_loss("cross_entropy+0.5*dice", logits, mask)
    torch.testing.assert_close(found.objective, each["cross_entropy"] + each["dice"] / 2)
    assert modules("cross_entropy+0.5*dice") == modules("cross_entropy+dice")


def test_what_is_minimised_is_the_stated_loss_and_what_is_told_is_cross_entropy(tmp_path, tree):
    parameters = tiny.settings(loss="focal", epochs=1)
    fit(tmp_path, tiny.build(), tiny.data(tree, parameters), parameters, 0)
    (row,) = pd.read_csv(tmp_path / "history.csv").to_dict("records")
    assert 0 < row["train/objective"] < row["train/loss"]  # a focal loss is below the cross-entropy


def test_a_loss_that_is_not_there_or_not_for_this_decoder_is_refused():
    with pytest.raises(ValueError, match=r"loss: got 'hinge'; allowed: cross_entropy, .* sums such as"):
        tiny.settings(loss="dice+hinge")
    with pytest.raises(ValueError, match=r"loss: got 'dice\+dice'; name each part of a sum once"):
        tiny.settings(loss="dice+dice")
    for weight in ("0", "-1", "nan", "inf", "much", ""):
        with pytest.raises(ValueError, match=f"loss: got '{weight}' as weight of dice; expected a number"):
            tiny.settings(loss=f"cross_entropy+{weight}*dice")
    assert tiny.settings(loss="dice + cross_entropy").loss == "cross_entropy+dice"
    assert tiny.settings(loss="0.50 * dice + 1*cross_entropy").loss == "cross_entropy+0.5*dice"
    assert tiny.settings(loss="3*focal").loss == "focal"  # alone, a weight would be a learning rate
    with pytest.raises(ValueError, match="loss: got 'dice', a loss of pixels; this decoder predicts a set"):
        tiny.settings(loss="dice", decoder="mask2former")


@pytest.mark.parametrize("schema", [PixelParameters, TwoStageParameters, DirectParameters])
def test_a_kind_that_has_no_use_for_a_loss_refuses_it(schema):
    with pytest.raises(ValueError, match="loss: not a parameter of exp05"):
        parse(schema, {"name": "exp05", "loss": "focal"})
