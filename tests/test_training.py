"""Training: what is learnt at which rate, what is counted, and that the same start gives the same end."""

import gc
import weakref

import lightning
import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import load_file

from wusu_lib.legend import LabelSpace
from wusu_lib.measures import classes
from wusu_lib.training.task import SegmentationTask, confidence


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return tiny.write_tree(tmp_path_factory.mktemp("tree"))


def content(folder):
    """All that must not differ between two runs of the same thing; times may."""
    with np.load(folder / "confusion.npz") as confusion, np.load(folder / "predictions.npz") as maps:
        arrays = {**{f"c/{k}": v for k, v in confusion.items()}, **{f"p/{k}": v for k, v in maps.items()}}
    history = pd.read_csv(folder / "history.csv").drop(columns="seconds")
    return {
        **arrays,
        "history": history.to_numpy(),
        "steps": pd.read_csv(folder / "steps.csv").to_numpy(),
        **{f"w/{k}": v.numpy() for k, v in load_file(folder / "model.safetensors").items()},
    }


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_a_training_learns_and_leaves_its_files(tmp_path, tree):
    figures = tiny.train(
        tmp_path, tree, epochs=15, patience=15, learning_rate=0.05, encoder_learning_rate=0.05
    )
    assert figures["losses"]["val"] < 1.0 < np.log(11)
    assert figures["metrics"]["ignore"]["val"]["pixel_acc"] > 0.8
    history = pd.read_csv(tmp_path / "history.csv")
    assert history["epoch"].tolist() == list(range(1, 16))
    assert history["val/loss"].min() == pytest.approx(figures["losses"]["val"], rel=1e-5)
    assert history["val/loss"].idxmin() + 1 == figures["best_epoch"]
    assert list(tmp_path.glob("events.*"))
    steps = pd.read_csv(tmp_path / "steps.csv")
    assert len(steps) == 15 * 3  # 10 patches: 5 batches of 2, of which 2 a step, and a last one alone
    assert (steps["gradient_norm"] > 0).all()
    assert steps["step"].tolist() == list(range(45))


def test_the_classes_that_a_split_lacks_are_recorded(tmp_path, tree):
    absent = tiny.train(tmp_path, tree, epochs=1)["absent"]
    assert "Lake" in absent["train"]
    assert "Road" not in absent["val"]
    assert len(absent["val"]) == 8


def test_every_patch_has_its_matrix_and_every_validation_patch_its_map(tmp_path, tree):
    figures = tiny.train(tmp_path, tree, epochs=2)
    with np.load(tmp_path / "confusion.npz") as stored:
        confusion = dict(stored)
    assert confusion["matrix"].shape == (18, 12, 12)
    assert (confusion["matrix"].sum(axis=(1, 2)) == tiny.SIDE**2).all()
    assert confusion["split"].tolist() == ["train"] * 10 + ["val"] * 4 + ["test"] * 4
    assert confusion["matrix"][:, :, 0].sum() == 0  # background="ignore" never predicts Background
    with np.load(tmp_path / "predictions.npz") as stored:
        assert stored["patch"].tolist() == confusion["patch"][10:14].tolist()
        for matrix, predicted in zip(confusion["matrix"][10:14], stored["index"], strict=True):
            np.testing.assert_array_equal(matrix.sum(axis=0), np.bincount(predicted.ravel(), minlength=12))
    pooled = classes.scores(confusion["matrix"][10:14].sum(axis=0), LabelSpace("class"))
    assert figures["metrics"]["class"]["val"]["mIoU"] == pytest.approx(pooled["mIoU"])


def test_merged_classes_are_trained_and_stored_under_their_first_member(tmp_path, tree):
    figures = tiny.train(tmp_path, tree, make=lambda: tiny.build(0, 9), epochs=1, classes="merged")
    assert not {"High building", "Lake", "Low building"} & set(figures["absent"]["val"])
    assert {"Building", "Water"} <= set(figures["absent"]["val"])
    with np.load(tmp_path / "confusion.npz") as stored:
        assert stored["matrix"][:, [3, 8]].sum() == stored["matrix"][:, :, [3, 8]].sum() == 0
        assert stored["matrix"].sum() == 18 * tiny.SIDE**2


def test_confidence_is_the_largest_probability():
    logits = torch.log(torch.tensor([[0.2, 0.5], [0.7, 0.5], [0.1, 0.0]])).reshape(1, 3, 1, 2)
    np.testing.assert_array_equal(confidence(logits), [[[178, 128]]])  # 0.7 and 0.5 of 255, rounded


def test_every_stored_map_has_its_confidence(tmp_path, tree):
    tiny.train(tmp_path, tree, epochs=1)
    with np.load(tmp_path / "predictions.npz") as stored:
        assert stored["confidence"].shape == stored["index"].shape
        assert stored["confidence"].dtype == np.uint8
        assert stored["confidence"].min() >= 255 // 11  # the largest of eleven


def test_the_studys_protocol_learns_unlabelled_ground_as_a_class(tmp_path, tree):
    tiny.train(tmp_path, tree, epochs=8, background="class")
    with np.load(tmp_path / "confusion.npz") as stored:
        assert stored["matrix"][:, 0, 0].sum() > 0


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_the_same_start_gives_the_same_end(tmp_path, tree, precision):
    for name in ("one", "two"):
        tiny.train(tmp_path / name, tree, precision=precision)
    assert_same(content(tmp_path / "one"), content(tmp_path / "two"))


def test_another_seed_gives_another_end(tmp_path, tree):
    for seed in (0, 1):
        tiny.train(tmp_path / str(seed), tree, seed=seed)
    one, other = content(tmp_path / "0"), content(tmp_path / "1")
    assert not np.array_equal(one["history"], other["history"])


def test_the_number_of_workers_changes_nothing(tmp_path, tree):
    for workers in (0, 2):
        tiny.train(tmp_path / str(workers), tree, epochs=2, workers=workers)
    assert_same(content(tmp_path / "0"), content(tmp_path / "2"))


def test_the_figures_do_not_depend_on_the_size_of_an_evaluations_batches(tmp_path, tree, monkeypatch):
    losses = []
    for patches, batches in ((4, 3), (32, 1)):
        monkeypatch.setattr("wusu_lib.data.loading.EVALUATION_PIXELS", patches * tiny.SIDE**2)
        assert len(tiny.data(tree, tiny.settings()).loader("train")) == batches
        losses.append(tiny.train(tmp_path / str(patches), tree, epochs=2)["losses"])
    small, large = content(tmp_path / "4"), content(tmp_path / "32")
    for name in ("c/patch", "c/matrix", "p/patch", "p/index"):
        np.testing.assert_array_equal(small[name], large[name], err_msg=name)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)  # a sum of float32 sums


class Cut(BaseException):
    pass


@pytest.mark.parametrize(
    ("epoch", "more"),
    [
        (1, {"schedule": "plateau"}),
        (2, {"schedule": "plateau"}),
        (3, {"schedule": "plateau"}),
        (1, {"schedule": "one_cycle"}),
        (2, {"schedule": "one_cycle"}),
        (2, {"schedule": "one_cycle", "weight_average": 0.9}),
    ],
)
def test_an_interrupted_training_ends_as_an_undisturbed_one(tmp_path, tree, epoch, more, monkeypatch):
    changes = {"epochs": 9, "patience": 2, "learning_rate": 0.3, **more}  # high: schedule and stopping act
    tiny.train(tmp_path / "whole", tree, **changes)
    from wusu_lib.training import loop

    def stop(*_):
        raise Cut

    calls = iter([None] * epoch)
    original = loop.Session._note
    with monkeypatch.context() as patched:
        patched.setattr(
            loop.Session, "_note", lambda *a: original(*a) if next(calls, stop) is None else stop()
        )
        with pytest.raises(Cut):
            tiny.train(tmp_path / "cut", tree, **changes)
    tiny.train(tmp_path / "cut", tree, **changes)
    assert_same(content(tmp_path / "whole"), content(tmp_path / "cut"))


def test_the_running_mean_of_weights_is_judged_and_kept_and_changes_no_step(tmp_path, tree, monkeypatch):
    from wusu_lib.training import loop

    after = []
    original = loop.Session.on_train_batch_end

    def noted(self, trainer, task, *rest):
        before = self._steps
        original(self, trainer, task, *rest)
        if self._steps > before:
            after.append({name: value.clone() for name, value in task.model.state_dict().items()})

    tiny.train(tmp_path / "plain", tree, epochs=1)
    monkeypatch.setattr(loop.Session, "on_train_batch_end", noted)
    figures = tiny.train(tmp_path / "mean", tree, epochs=1, weight_average=0.75)
    assert len(after) == 3
    first, *later = after
    mean = first
    for each in later:
        mean = {name: 0.75 * value + 0.25 * each[name] for name, value in mean.items()}
    kept = load_file(tmp_path / "mean" / "model.safetensors")
    for name, value in kept.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, mean[name])
    plain, judged = (pd.read_csv(tmp_path / name / "history.csv").iloc[0] for name in ("plain", "mean"))
    assert judged["train/loss"] == plain["train/loss"]
    assert judged["val/loss"] != plain["val/loss"]
    assert figures["losses"]["val"] == pytest.approx(judged["val/loss"], rel=1e-6)
    last = load_file(tmp_path / "plain" / "model.safetensors")
    assert all(torch.equal(value, last[name]) for name, value in after[-1].items())


def test_training_stops_when_the_validation_loss_no_longer_falls(tmp_path, tree):
    figures = tiny.train(tmp_path, tree, epochs=60, patience=2, learning_rate=0.3, accumulate=1)
    assert figures["stopped_early"]
    assert figures["epochs"] == figures["best_epoch"] + 2 < 60


def test_the_rate_halves_on_a_plateau(tmp_path, tree):
    tiny.train(tmp_path, tree, epochs=14, patience=14, learning_rate=1e-9, encoder_learning_rate=4e-8)
    rates = pd.read_csv(tmp_path / "history.csv")["lr/encoder"].tolist()
    assert rates[0] == 4e-8
    assert min(rates) >= 1e-8


def test_one_cycle_goes_up_for_three_tenths_of_the_steps_and_down_to_nothing(tmp_path, tree):
    tiny.train(tmp_path, tree, epochs=10, patience=10, schedule="one_cycle", learning_rate=0.01)
    history = pd.read_csv(tmp_path / "history.csv")
    rates = history["lr/decoder"].to_numpy()
    assert rates.argmax() == 2
    assert rates.max() == pytest.approx(0.02, rel=0.05)
    assert pd.Series(rates).mean() == pytest.approx(0.01, rel=0.05)
    assert (np.diff(rates[2:]) < 0).all()
    assert rates[-1] < 1e-6
    assert history["lr/encoder"].to_numpy() == pytest.approx(0.3 * rates, rel=1e-3)


def test_an_epoch_is_followed_by_some_patches_and_the_run_is_judged_by_all(tmp_path, tree):
    parameters = tiny.settings(epochs=1, followed=2)
    data = tiny.data(tree, parameters)
    every = [name for batch in data.loader("val") for name in batch["patch"]]
    some = [name for batch in data.loader("val", 2) for name in batch["patch"]]
    assert some == [every[0], every[-1]] != every
    figures = tiny.train(tmp_path, tree, epochs=1, followed=2)
    followed = pd.read_csv(tmp_path / "history.csv")["val/loss"].iloc[0]
    assert figures["losses"]["val"] != pytest.approx(followed, rel=1e-6)
    whole = tiny.train(tmp_path.parent / "all", tree, epochs=1, followed=0)
    assert whole["losses"]["val"] == figures["losses"]["val"]


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("adaptation", ["frozen", "full", "differential"])
def test_the_encoder_is_adapted_as_stated(tmp_path, tree, adaptation):
    model = tiny.build()
    before = weights(model)
    figures = tiny.train(tmp_path, tree, make=lambda: model, adaptation=adaptation, epochs=2)
    after = weights(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {"head.weight", "head.bias"} <= changed
    inside = {name for name in changed if name.startswith("encoder")}
    assert (not inside) == (adaptation == "frozen")
    head = sum(p.numel() for p in model.head.parameters())
    everything = sum(p.numel() for p in model.parameters())
    assert figures["model"]["parameters"] == everything
    assert figures["model"]["trained"] == (head if adaptation == "frozen" else everything)


@pytest.mark.parametrize(
    ("adaptation", "rates"),
    [
        ("frozen", {"decoder": 0.01}),
        ("full", {"decoder": 0.01, "encoder": 0.01}),
        ("differential", {"decoder": 0.01, "encoder": 0.003}),
    ],
)
def test_every_part_has_its_learning_rate(adaptation, rates):
    task = SegmentationTask(tiny.build(), tiny.settings(adaptation=adaptation))
    groups = task.configure_optimizers().param_groups
    assert {group["name"]: group["lr"] for group in groups} == rates
    assert all(group["weight_decay"] == 1e-3 for group in groups)
    trained = sum(len(group["params"]) for group in groups)
    assert trained == sum(1 for p in task.model.parameters() if p.requires_grad)


def test_an_interrupt_reaches_the_caller_and_can_be_repeated(tmp_path, tree):
    """Lightning by itself would ignore later interrupts and end the process."""
    import signal

    class Stopping(tiny.TinyModel):
        def forward(self, images):
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            tiny.train(tmp_path, tree, make=lambda: Stopping(11))
    assert signal.getsignal(signal.SIGINT) is before


def test_model_optimiser_and_trainers_are_freed_after_a_training(tree, tmp_path, monkeypatch):
    """They refer to each other, so that nothing but a collection frees them: none is left to chance."""
    made = []

    def noted(cls):
        begin = cls.__init__

        def noting(self, *arguments, **named):
            begin(self, *arguments, **named)
            made.append(weakref.ref(self))

        monkeypatch.setattr(cls, "__init__", noting)

    for cls in (tiny.TinyModel, torch.optim.AdamW, lightning.Trainer):
        noted(cls)
    gc.disable()
    try:
        tiny.train(tmp_path / "run", tree, epochs=1)
    finally:
        gc.enable()
    assert len(made) == 6  # a trainer for the training and one for each split
    assert [type(ref()).__name__ for ref in made if ref() is not None] == []
