"""Other worlds and sensors for pre-training, and the city, which is what it was before there were any."""

import hashlib

import numpy as np
import pytest

from wusu_lib.synthetic import Sensor, World, expose, light_of, seen

EYE = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))
PLAIN = Sensor(EYE, gain=(1,) * 4, offset=(0,) * 4)
SIDE = 320
# Of the area HS at 288 x 448 px with seed 7: hash of what is annotated, sums of each date's four bands.
CODES = "67a2ff08668754eb"
SUMS = [
    [9936247, 9730803, 9257654, 10855857],
    [7773471, 7362112, 7454073, 8922932],
    [6338531, 6654648, 6830968, 7820096],
]


@pytest.fixture(scope="module")
def light() -> np.ndarray:
    return light_of(World(), SIDE, 5)


def test_the_city_is_as_it_was_before_there_were_worlds() -> None:
    """Codes to the bit; of the images, whose last bit depends on the processor, the sums."""
    digest, sums = hashlib.sha256(), []
    for exposure in expose("HS", (288, 448), 7):
        digest.update(exposure.codes.tobytes() + exposure.wrong.tobytes())
        sums.append(exposure.image.sum(axis=(1, 2), dtype=np.int64))
    assert digest.hexdigest()[:16] == CODES
    np.testing.assert_allclose(sums, SUMS, rtol=1e-5)


def test_light_is_a_function_of_world_size_and_seed(light: np.ndarray) -> None:
    assert light.shape == (4, SIDE, SIDE)
    assert light.dtype == np.float16
    assert np.array_equal(light, light_of(World(), SIDE, 5))
    assert not np.array_equal(light, light_of(World(), SIDE, 6))
    assert not np.array_equal(light, light_of(World(angles=(0.2, 0.2)), SIDE, 5))


def test_a_world_of_forest_is_greener_than_one_of_roofs() -> None:
    worlds = (World(needed=(), rest={"wood": 1.0}), World(needed=(), rest={"industry": 1.0}))
    forest, roofs = (light_of(world, SIDE, 5).astype(np.float32) for world in worlds)
    greenness = [(x[3] - x[2]).mean() for x in (forest, roofs)]
    assert greenness[0] > 2 * greenness[1]


def test_a_plain_sensor_records_the_light(light: np.ndarray) -> None:
    np.testing.assert_array_equal(seen(light, PLAIN, 0), np.clip(light.astype(np.float32), 0, 1))


def test_a_sensor_mixes_bands_bends_scales_and_shifts() -> None:
    light = np.full((4, 2, 2), 0.25, dtype=np.float16)
    light[3] = 1
    sensor = Sensor(((0.5, 0.5, 0, 0), (0, 0, 0.5, 0.5)), gain=(2, 0.5), offset=(-0.25, 0.1), gamma=0.5)
    expected = [2 * 0.25**0.5 - 0.25, 0.5 * 0.625**0.5 + 0.1]
    np.testing.assert_allclose(seen(light, sensor, 0)[:, 0, 0], expected, rtol=1e-6)


def test_coarse_ground_is_averaged_and_the_rest_is_left_out() -> None:
    light = np.zeros((4, 5, 7), dtype=np.float16)
    light[:, :2, :2] = [[0.25, 0.75], [0.5, 0.5]]
    found = seen(light, Sensor(EYE, (1,) * 4, (0,) * 4, ground=2), 0)
    assert found.shape == (4, 2, 3)
    assert found[0].tolist() == [[0.5, 0, 0], [0, 0, 0]]


def test_noise_has_its_deviation_and_its_seed() -> None:
    light = np.full((4, 200, 200), 0.5, dtype=np.float16)
    noisy = Sensor(EYE, (1,) * 4, (0,) * 4, noise=0.02)
    found = seen(light, noisy, 1)
    assert found.std() == pytest.approx(0.02, rel=0.02)
    assert np.array_equal(found, seen(light, noisy, 1))
    assert not np.array_equal(found, seen(light, noisy, 2))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="castle; allowed: lowrise"):
        World(rest={"castle": 1.0})
    with pytest.raises(ValueError, match=r"sum to 0\.500"):
        World(rest={"farm": 0.5})
    with pytest.raises(ValueError, match="as many of each"):
        Sensor(EYE, gain=(1, 1), offset=(0,) * 4)
    with pytest.raises(ValueError, match="0 m a pixel"):
        Sensor(EYE, (1,) * 4, (0,) * 4, ground=0)
