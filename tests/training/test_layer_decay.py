"""Learning rates that fall from block to block of the encoder."""

import pytest
import torch

from wusu_lib.models.build import build
from wusu_lib.training.task import by_depth

RATE = 1e-3


def groups(backbone, decay):
    model = build(backbone, "fpn", seed=0, image_size=128)
    encoder = model.encoder
    return encoder, by_depth(encoder, list(encoder.parameters()), RATE, decay)


@pytest.mark.parametrize("backbone", ["prithvi_600m", "dinov3_sat_large", "clay", "resnet50"])
def test_each_block_learns_half_as_fast_as_the_next_and_every_parameter_once(backbone):
    encoder, found = groups(backbone, 0.5)
    rates = [group["lr"] for group in found]
    assert rates == [RATE * 0.5**k for k in range(len(rates))]
    assert len(rates) == 5  # four blocks or stages, and what comes before them
    assert found[0]["name"] == "encoder"
    assert len({group["name"] for group in found}) == len(found)
    grouped = [id(p) for group in found for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in encoder.parameters())
    names = {id(p): name for name, p in encoder.named_parameters()}
    first = [names[id(p)] for p in found[-1]["params"]]
    assert first
    assert not [name for name in first if "block" in name or "layer" in name]


def test_with_a_decay_of_one_there_is_one_group():
    encoder, found = groups("prithvi_600m", 1.0)
    (group,) = found
    assert group["name"] == "encoder"
    assert group["lr"] == RATE
    assert len(group["params"]) == len(list(encoder.parameters()))


def test_only_what_is_given_is_grouped():
    encoder, _ = groups("prithvi_600m", 1.0)
    given = [p for name, p in encoder.named_parameters() if ".2." in name]
    found = by_depth(encoder, given, RATE, 0.5)
    assert [id(p) for group in found for p in group["params"]] == [id(p) for p in given]
    assert [group["lr"] for group in found] == [RATE / 2]
    assert torch.optim.AdamW(found)
