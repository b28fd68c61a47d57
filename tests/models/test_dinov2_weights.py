"""A really trained checkpoint: loads strictly, widens by the stated rule, works at other sizes."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from wusu_lib.models.arithmetic import embed_linearly
from wusu_lib.models.build import build_encoder

FILE = Path(__file__).parents[3] / "shared" / "weights" / "dinov2_vits14.safetensors"
FILTERS = "patch_embed.proj.weight"


@pytest.fixture(scope="module")
def stored():
    if not FILE.is_file():
        pytest.skip(f"the trained checkpoint is not there: {FILE}")
    return load_file(FILE)


@pytest.fixture(scope="module")
def colours(stored):
    return build_encoder("dinov2_small", "full", str(FILE), "rgb").eval()


@pytest.fixture(scope="module")
def widened(stored):
    return build_encoder("dinov2_small", "full", str(FILE), "all").eval()


def test_every_tensor_of_the_file_is_in_the_encoder_and_none_besides(stored, colours):
    found = colours.inner.state_dict()
    assert found.keys() == stored.keys()
    assert all(torch.equal(found[key], value.float()) for key, value in stored.items())


def test_infrared_gets_the_mean_of_the_colour_filters(stored, widened):
    found = widened.inner.state_dict()
    assert torch.equal(found[FILTERS][:, :3], stored[FILTERS].float())
    torch.testing.assert_close(found[FILTERS][:, 3], stored[FILTERS].float().mean(dim=1))
    rest = [key for key in stored if key != FILTERS]
    assert all(torch.equal(found[key], stored[key].float()) for key in rest)


def test_on_its_own_grid_it_is_timms_own_model(stored, colours):
    theirs = timm.create_model("vit_small_patch14_dinov2", num_classes=0).eval()
    theirs.load_state_dict(stored)
    embed_linearly(theirs)  # else float32 rounds in another order, 1e-5 on values of about 2
    image = torch.randn(1, 3, 518, 518, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs.forward_features(image)[:, 1:]  # without the CLS token
        torch.testing.assert_close(colours(image)[-1].flatten(2).transpose(1, 2), expected)


def test_at_other_sizes_the_positions_are_interpolated(widened):
    """10 x 10 patches, and a grid that is not square; the table itself is not touched."""
    table = widened.inner.pos_embed.clone()
    with torch.no_grad():
        assert [tuple(x.shape) for x in widened(torch.randn(1, 4, 140, 140))] == [(1, 384, 10, 10)] * 12
        assert widened(torch.randn(1, 4, 70, 168))[-1].shape == (1, 384, 5, 12)
        grey = torch.zeros(1, 4, 140, 140)
        last = widened(grey)[-1]
    assert torch.equal(widened.inner.pos_embed, table)
    assert not torch.allclose(last[..., 0, 0], last[..., 5, 5])  # without content, position alone tells


def test_a_file_of_another_backbone_is_refused_naming_what_differs(stored):
    with pytest.raises(ValueError, match=r"does not match the encoder: \d+ missing: .* unexpected: "):
        build_encoder("dinov3_sat_large", "demo", str(FILE), "all")
    with pytest.raises(ValueError, match=r"wrong shape: .*cls_token \[1, 1, 384\] instead of \[1, 1, 96\]"):
        build_encoder("dinov2_small", "demo", str(FILE), "all")
