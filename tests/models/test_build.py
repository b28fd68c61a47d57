"""Every pair of backbone and decoder at demo scale: shapes, gradients, reproducibility, bad names."""

import pytest
import torch

from wusu_lib import models

PAIRS = [(backbone, decoder) for backbone in models.BACKBONES for decoder in models.DECODERS]


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def pair(request):
    return request.param


@pytest.fixture(scope="module")
def model(pair):
    return models.build(*pair, image_size=128)


def test_one_step_reaches_every_parameter(model):
    """No parameter is idle: a tap that a decoder drops would leave its neck without a gradient."""
    model.train()
    logits = model(torch.randn(2, 4, 64, 64))
    torch.nn.functional.cross_entropy(logits, torch.randint(0, 11, (2, 64, 64))).backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert idle == []
    model.zero_grad()


@pytest.mark.parametrize("size", [(128, 128), (100, 77), (32, 128), (61, 29)])
def test_logits_have_the_size_of_the_image(model, size):
    model.eval()
    with torch.no_grad():
        assert model(torch.randn(1, 4, *size)).shape == (1, 11, *size)
