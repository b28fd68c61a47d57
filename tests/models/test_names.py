"""Names and combinations are checked before any work and without the heavy imports."""

import subprocess
import sys

import pytest

from wusu_lib.models import build, catalogue


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (("prithvi_30m", "unet", "demo"), "prithvi_300m, prithvi_600m"),
        (("prithvi_300m", "deeplap", "demo"), "unet, fpn, deeplab, .*deeplabv3plus"),
        (("prithvi_300m", "unet", "dmo"), "demo, full"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_ones(arguments, allowed):
    with pytest.raises(ValueError, match=allowed):
        catalogue.check(*arguments)


def test_missing_paths_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file or folder 'nowhere'"):
        catalogue.check("prithvi_300m", "unet", "full", "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds none of prithvi_300m\.safetensors, prithvi_300m\.pt"):
        catalogue.check("prithvi_300m", "unet", "full", str(tmp_path))
    (tmp_path / "a.bin").touch()
    with pytest.raises(ValueError, match=r"none of \.safetensors"):
        catalogue.check("prithvi_300m", "unet", "full", str(tmp_path / "a.bin"))


def test_too_few_outputs_are_refused():
    with pytest.raises(ValueError, match="at least 2"):
        build.build("prithvi_300m", "unet", outputs=1)


def test_too_small_an_image_is_refused():
    with pytest.raises(ValueError, match="at least 32 px"):  # two patches of 16 px
        build.build("prithvi_300m", "unet", image_size=3)


def test_check_imports_nothing_heavy():
    code = (
        "import sys; from wusu_lib.models import catalogue; catalogue.check('prithvi_300m', 'unet', 'demo'); "
        "print([m for m in ('torch', 'terratorch', 'lightning', 'pandas') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_expected_statistics_are_the_backbones_own_on_the_unit_scale():
    mean, std = catalogue.expected_statistics("prithvi_600m")
    assert mean == (0.1087, 0.1342, 0.1433, 0.2734)
    assert std == (0.2248, 0.2179, 0.2178, 0.1850)
    with pytest.raises(ValueError, match="prithvi_300m"):
        catalogue.expected_statistics("clya")
