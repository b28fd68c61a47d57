"""The siamese network around real (miniature) models, as an experiment builds it."""

import pytest
import tiny_pairs
import torch

from wusu_lib.experiment import direct


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return tiny_pairs.tables(tmp_path_factory.mktemp("models") / "tree", size=64)[0]


@pytest.mark.parametrize("decoder", ["fpn", "deeplab", "unet"])
def test_a_network_is_built_of_a_segmentation_models_parts(table, decoder):
    parameters = tiny_pairs.settings(decoder=decoder, fusion="concatenation")
    model = direct.build_siamese(parameters, table, 0).eval()
    with torch.no_grad():
        out = model(torch.randn(2, 2, 4, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert out.change.shape == (2, 64, 64)
    assert out.classes.shape == (2, 2, 11, 64, 64)
    parts = direct.describe_direct(parameters, table, 0).set_index("part")
    assert parts.loc["total", "parameters"] == sum(p.numel() for p in model.parameters())
    assert parts.drop("total")["parameters"].sum() == parts.loc["total", "parameters"]
    assert parts.loc["total", "output shape"] == "1 x 64 x 64"


def test_a_frozen_binary_network_trains_all_but_the_encoder(table):
    parameters = tiny_pairs.settings(method="bcd", adaptation="frozen")
    parts = direct.describe_direct(parameters, table, 0).set_index("part")
    assert parts.loc["encoder", "trainable"] == 0
    assert parts.loc["change", "trainable"] == parts.loc["change", "parameters"] > 0
    assert "head" not in parts.index


def test_a_decoder_without_a_map_is_refused_before_any_work():
    with pytest.raises(ValueError, match=r'decoder: got "mask2former".*use another decoder'):
        tiny_pairs.settings(decoder="mask2former")
