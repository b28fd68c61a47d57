"""The siamese network: shared weights, symmetry, shapes, gradients."""

import pytest
import tiny_pairs
import torch

from wusu_lib.models.segmentation import SiameseModel


def images(n=2, side=16, seed=0):
    return torch.randn(n, 2, 4, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("fusion", ["difference", "concatenation"])
@pytest.mark.parametrize("side", [16, 18, 21])
def test_outputs_have_the_size_of_the_images(fusion, side):
    out = tiny_pairs.network("scd", fusion)(images(3, side))
    assert out.change.shape == (3, side, side)
    assert out.classes.shape == (3, 2, 11, side, side)
    assert tiny_pairs.network("bcd", fusion)(images(3, side)).classes is None


def test_the_difference_does_not_care_which_date_came_first():
    model, pairs = tiny_pairs.network("scd", "difference"), images()
    forward, backward = model(pairs), model(pairs.flip(1))
    torch.testing.assert_close(forward.change, backward.change, rtol=0, atol=1e-6)
    torch.testing.assert_close(forward.classes, backward.classes.flip(1), rtol=0, atol=1e-6)
    assert forward.change.std() > 0.001


def test_the_concatenation_does():
    model, pairs = tiny_pairs.network("scd", "concatenation"), images()
    assert (model(pairs).change - model(pairs.flip(1)).change).abs().max() > 0.01


def test_without_any_difference_all_ground_looks_alike():
    """Two equal images give the same log-odds everywhere: nothing but the head's constant is left."""
    once = images()[:, :1]
    change = tiny_pairs.network("bcd", "difference")(torch.cat([once, once], dim=1)).change
    torch.testing.assert_close(change, change.flatten()[0].expand_as(change))


def test_the_classes_of_a_date_are_those_of_the_segmentation_model():
    model, pairs = tiny_pairs.network("scd"), images()
    for date in (0, 1):
        torch.testing.assert_close(
            model(pairs).classes[:, date], model.base(pairs[:, date]), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("method", ["bcd", "scd"])
@pytest.mark.parametrize("fusion", ["difference", "concatenation"])
def test_every_weight_gets_a_gradient(method, fusion):
    model = tiny_pairs.network(method, fusion).train()
    out = model(images())
    (out.change.sum() + (out.classes.square().sum() if out.classes is not None else 0)).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without in (
        [],
        ["base.decoder.layers.0.bias"],
    )  # before batch normalisation a bias is without effect


def test_the_change_head_follows_from_its_seed_alone():
    base = tiny_pairs.base()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    heads = [SiameseModel(base, "scd", "difference", seed).change_head[0].weight for seed in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_frozen_encoder_stays_frozen():
    model = tiny_pairs.network("scd")
    model.freeze_encoder()
    model.train()
    assert not model.encoder.training
    assert model.base.decoder.training
    assert not any(p.requires_grad for p in model.encoder.parameters())


def test_wrong_names_and_shapes_are_told():
    with pytest.raises(ValueError, match="fusion: got 'sum'; allowed: difference, concatenation"):
        tiny_pairs.network("scd", "sum")
    with pytest.raises(ValueError, match="method: got 'both'; allowed: bcd, scd"):
        tiny_pairs.network("both")
    with pytest.raises(ValueError, match=r"pairs: expected \[B, 2, bands, H, W\], got \[2, 4, 16, 16\]"):
        tiny_pairs.network()(images()[:, 0])
