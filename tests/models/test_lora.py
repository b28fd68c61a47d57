"""LoRA: what is adapted, what is trained, what stays, and that a stored model comes back."""

import pytest
import tiny
import torch
from safetensors.torch import load_model, save_model

from wusu_lib.models import build, weights

TRANSFORMERS = ["prithvi_300m", "dinov3_sat_large", "dinov2_small", "clay"]
RANK, BLOCKS, DIM = 4, 4, 96
# Of every block: qkv [3 * dim, dim] and the output projection [dim, dim], each with A [r, in] and B [out, r].
ADAPTERS = BLOCKS * (RANK * (DIM + 3 * DIM) + RANK * (DIM + DIM))


@pytest.fixture(params=TRANSFORMERS)
def name(request):
    return request.param


def adapted(name, **more):
    return weights.add_lora(build.build(name, "linear", image_size=64, **more), rank=RANK)


def trained(module):
    return {key for key, p in module.named_parameters() if p.requires_grad}


def two_steps(model):
    """Weights before and after two steps of the optimiser that training uses."""
    from wusu_lib.training.task import SegmentationTask

    parameters = tiny.settings(adaptation="lora", encoder_learning_rate=0.01)
    optimizer = SegmentationTask(model, parameters).configure_optimizers()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):  # the first moves B only: where B is 0, A has no gradient
        images = torch.randn(2, 4, 64, 64, generator=generator)
        mask = torch.randint(0, 11, (2, 64, 64), generator=generator)
        optimizer.zero_grad()
        model.training_loss(images, mask).objective.div(mask.numel()).backward()
        optimizer.step()
    return before, model.state_dict()


def test_only_adapters_and_decoder_move(name):
    model = adapted(name)
    assert all(".lora_" in key for key in trained(model.encoder))
    assert sum(p.numel() for p in model.encoder.parameters() if p.requires_grad) == ADAPTERS
    before, after = two_steps(model)
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved == {key for key in before if ".lora_" in key or not key.startswith("encoder.")}
    assert not any(module.training for module in model.encoder.modules())
    assert model.head.training


def test_adapters_learn_at_the_encoders_rate():
    from wusu_lib.training.task import SegmentationTask

    model = adapted("prithvi_300m")
    parameters = tiny.settings(adaptation="lora", learning_rate=0.01, encoder_learning_rate=0.0003)
    groups = SegmentationTask(model, parameters).configure_optimizers().param_groups
    rates = {group["name"]: (group["lr"], sum(p.numel() for p in group["params"])) for group in groups}
    assert rates["encoder"] == (0.0003, ADAPTERS)
    assert rates["decoder"] == (0.01, DIM * 11 + 11)


def test_a_new_adapter_changes_nothing_and_follows_from_the_seed(name):
    images = torch.randn(1, 4, 64, 64)
    plain = build.build(name, "linear", image_size=64).eval()
    model = adapted(name).eval()
    state = torch.get_rng_state()
    again = adapted(name)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        torch.testing.assert_close(model(images), plain(images))
    assert all(torch.equal(model.state_dict()[key], value) for key, value in again.state_dict().items())


def test_a_stored_model_comes_back_and_can_start_another(name, tmp_path):
    """As a run restores it; and as ``weights``, where each product is added to the layer that it adapts."""
    model = adapted(name)
    two_steps(model)
    file = tmp_path / "model.safetensors"
    save_model(model, str(file))
    restored = adapted(name, seed=9)
    load_model(restored, str(file))
    merged = build.build(name, "linear", image_size=64, weights=str(file))
    images = torch.randn(1, 4, 64, 64)
    with torch.no_grad():
        expected = model.eval()(images)
        assert torch.equal(restored.eval()(images), expected)
        merged.head.load_state_dict(model.head.state_dict())
        torch.testing.assert_close(merged.eval()(images), expected, rtol=1e-4, atol=1e-5)
        plain = build.build(name, "linear", image_size=64)
        plain.head.load_state_dict(model.head.state_dict())
        assert not torch.allclose(plain.eval()(images), expected, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_adapted_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="ResNet has none"):
        weights.add_lora(build.build("resnet50", "fpn", image_size=64))
    with pytest.raises(ValueError, match="at least 1"):
        weights.add_lora(build.build("prithvi_300m", "linear"), rank=0)
    with pytest.raises(ValueError, match="already"):
        weights.add_lora(adapted("prithvi_300m"))


def test_build_model_adapts_as_the_parameters_state():
    from wusu_lib.experiment.segmentation import build_for_size

    parameters = tiny.settings(decoder="linear", adaptation="lora")
    model = build_for_size(parameters, 64, seed=3)
    assert trained(model.encoder)
    assert all(".lora_" in key for key in trained(model.encoder))
    assert trained(model.head)


def test_a_run_counts_what_is_trained_and_keeps_weights_that_come_back(tmp_path):
    from wusu_lib.experiment.segmentation import build_for_size, fit

    parameters = tiny.settings(decoder="linear", adaptation="lora", epochs=1)
    data = tiny.data(tiny.write_tree(tmp_path / "tree"), parameters)
    (tmp_path / "run").mkdir()
    model = build_for_size(parameters, tiny.SIDE, seed=3)
    record = fit(tmp_path / "run", model, data, parameters, seed=3)
    rank = 16  # the default
    assert record["model"]["trained"] == ADAPTERS * rank // RANK + DIM * 11 + 11
    again = build_for_size(parameters, tiny.SIDE, seed=8)
    load_model(again, str(tmp_path / "run" / "model.safetensors"))
    assert all(torch.equal(again.state_dict()[key], value) for key, value in model.state_dict().items())
