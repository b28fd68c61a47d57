"""Clay beside TerraTorch's own: the same numbers on its grid, any grid besides, and both versions tapped."""

import pytest
import torch

from wusu_lib.models import clay

BANDS = ("BLUE", "GREEN", "RED", "NIR")
SIZE = {"dim": 96, "depth": 3, "heads": 2}
PIXELS = 32


@pytest.fixture
def ours():
    torch.manual_seed(0)
    return clay.encoder(BANDS, **SIZE).eval()


@pytest.fixture
def images():
    return torch.randn(2, 4, PIXELS, PIXELS)


def datacube(ours, images):
    nothing = torch.zeros(len(images), 4)
    return {
        "pixels": images,
        "time": nothing,
        "latlon": nothing,
        "waves": torch.tensor(clay.wavelengths(BANDS)),
        "gsd": torch.tensor(1.0),
    }


def test_equals_version_1_of_terratorch_block_for_block(ours, images):
    from terratorch.models.backbones.clay_v1.modules import EmbeddingEncoder

    theirs = EmbeddingEncoder(img_size=PIXELS, patch_size=8, dim_head=48, mlp_ratio=4.0, **SIZE).eval()
    theirs.load_state_dict(ours.inner.state_dict(), strict=True)
    with torch.no_grad():
        for found, expected in zip(ours(images), theirs(datacube(ours, images)), strict=True):
            torch.testing.assert_close(found, expected)


def test_the_last_block_equals_version_1_5_of_terratorch(ours, images):
    precision = torch.get_float32_matmul_precision()
    try:
        from terratorch.models.backbones.clay_v15.model import Encoder
    finally:
        torch.set_float32_matmul_precision(precision)  # which that module changes for the whole process
    theirs = Encoder(mask_ratio=0.0, patch_size=8, shuffle=False, dim_head=48, mlp_ratio=4.0, **SIZE).eval()
    theirs.load_state_dict(ours.inner.state_dict(), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(ours(images)[-1], theirs(datacube(ours, images))[0])


def test_a_grid_that_is_not_square_keeps_rows_and_columns_apart(ours):
    """A patch's position does not depend on how far the image goes on to its right and below it."""
    small, wide = (clay.positions(4, n, SIZE["dim"]).reshape(4, n, -1) for n in (4, 7))
    torch.testing.assert_close(wide[:, :4], small)
    assert not torch.allclose(wide[1, 2], wide[2, 1])
    with torch.no_grad():
        assert ours(torch.randn(1, 4, 32, 56))[0].shape == (1, 1 + 4 * 7, 96)
