"""The necks that TerraTorch lacks."""

import torch
from torch import nn


def test_tokens_keep_their_place_on_a_grid_that_is_not_square():
    """4 x 16 tokens are a square number: TerraTorch's own neck takes them for 8 x 8."""
    from terratorch.models.necks import ReshapeTokensToImage

    from wusu_lib.models.build import TokensToMaps

    grid = torch.arange(64.0).reshape(4, 16)
    tokens = torch.cat([torch.full((1, 1, 1), -1.0), grid.reshape(1, 64, 1)], dim=1)  # CLS first
    (found,) = TokensToMaps([1], patch=8, prefix_tokens=1)([tokens], image_size=(32, 128))
    assert torch.equal(found[0, 0], grid)
    (guessed,) = ReshapeTokensToImage([1])([tokens], image_size=(32, 128))
    assert guessed.shape[-2:] == (8, 8)


def test_prefix_tokens_are_dropped():
    from wusu_lib.models.build import TokensToMaps

    tokens = torch.arange(9.0).reshape(1, 9, 1)
    (found,) = TokensToMaps([1], patch=16, prefix_tokens=5)([tokens], image_size=(32, 32))
    assert found.flatten().tolist() == [5, 6, 7, 8]


def test_skip_is_four_times_the_context():
    from wusu_lib.models.build import SkipAndContext

    neck = SkipAndContext([16, 24], enlarge="learn")
    maps = neck([torch.randn(2, 16, 5, 5), torch.randn(2, 24, 5, 5)])
    assert [tuple(m.shape[1:]) for m in maps] == [(4, 20, 20)] * 3 + [(24, 5, 5)] * 2
    assert neck.process_channel_list([16, 24]) == [4, 4, 4, 24, 24]


def test_pooled_batch_norm_equals_batch_norm_for_more_than_one_image():
    from wusu_lib.models.build import PooledBatchNorm

    pooled, ordinary = PooledBatchNorm(3), nn.BatchNorm2d(3)
    batch = torch.randn(4, 3, 1, 1)
    assert torch.equal(pooled(batch), ordinary(batch))
    assert torch.equal(pooled.running_var, ordinary.running_var)
    single = torch.randn(1, 3, 1, 1)
    assert torch.equal(pooled(single), ordinary.eval()(single))
