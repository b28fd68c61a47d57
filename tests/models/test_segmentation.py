"""Padding, cropping, band order and freezing, on encoders simple enough to know the answer."""

import pytest
import torch
from torch import nn

from wusu_lib.models import build
from wusu_lib.models.segmentation import SegmentationModel


class PassThrough(nn.Module):
    """Encoder and head that hand on what they get."""

    def forward(self, x):
        return x


class OneMap(nn.Module):
    """A neck that makes a list of the only map there is."""

    def forward(self, x, image_size):
        return [x]


class LastMap(nn.Module):
    """A decoder that hands on the last of its maps."""

    def forward(self, maps):
        return maps[-1]


def identity_model(band_order=(0, 1, 2, 3), size_multiple=7):
    parts = [PassThrough(), OneMap(), LastMap(), PassThrough()]
    return SegmentationModel(*parts, band_order=band_order, size_multiple=size_multiple)


@pytest.mark.parametrize("size", [(14, 14), (13, 20), (8, 50), (128, 128)])
def test_crop_undoes_the_padding_exactly(size):
    images = torch.randn(2, 4, *size)
    assert torch.equal(identity_model()(images), images)


def test_padding_is_even_and_to_the_multiple():
    model = identity_model(size_multiple=14)
    assert model.padding(512, 512) == (3, 3, 3, 3)  # 518
    assert model.padding(518, 511) == (3, 4, 0, 0)


def test_bands_are_reordered_inside():
    images = torch.arange(4.0).reshape(1, 4, 1, 1).expand(1, 4, 7, 7)
    assert identity_model(band_order=(2, 1, 0, 3))(images)[0, :, 0, 0].tolist() == [2, 1, 0, 3]


def test_order_of_the_bands_matters_to_a_real_model():
    model = build.build("prithvi_300m", "unet").eval()
    images = torch.randn(1, 4, 64, 64)
    with torch.no_grad():
        difference = (model(images) - model(images[:, [2, 1, 0, 3]])).abs().max()
    assert difference > 1e-3


@pytest.mark.parametrize("shape", [(4, 64, 64), (1, 3, 64, 64), (1, 4, 2, 64)])
def test_impossible_images_are_refused(shape):
    with pytest.raises(ValueError, match="images"):
        identity_model()(torch.zeros(shape))


class NoisyEncoder(nn.Module):
    """An encoder with everything that drifts in training mode: batch statistics and dropout."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))

    def forward(self, x):
        return self.layers(x)


def test_a_frozen_encoder_stays_as_it_is_through_training():
    head = nn.Conv2d(4, 3, 1)
    model = SegmentationModel(
        NoisyEncoder(), OneMap(), LastMap(), head, band_order=(0, 1, 2, 3), size_multiple=1
    )
    model.freeze_encoder()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.eval()
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    images = torch.randn(4, 4, 8, 8)
    model(images).square().sum().backward()
    optimizer.step()
    after = model.state_dict()
    assert not any(module.training for module in model.encoder.modules())
    assert all(p.grad is None for p in model.encoder.parameters())
    encoder = [key for key in before if key.startswith("encoder.")]
    assert all(torch.equal(before[key], after[key]) for key in encoder)
    assert not torch.equal(before["head.weight"], after["head.weight"])
    assert torch.equal(model.encoder(images), model.encoder(images))


def test_an_unfrozen_encoder_trains():
    model = build.build("prithvi_600m", "fpn").train()
    assert all(module.training for module in model.encoder.modules())
    assert all(p.requires_grad for p in model.encoder.parameters())
