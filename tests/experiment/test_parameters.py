"""Parameters: what is accepted, and what each kind of mistake is told."""

import json
import re
from pathlib import Path

import pytest
import yaml

from wusu_lib.experiment import notebooks
from wusu_lib.experiment.direct import DirectParameters
from wusu_lib.experiment.notebooks import schema_for
from wusu_lib.experiment.parameters import parse
from wusu_lib.experiment.per_pixel import PixelParameters
from wusu_lib.experiment.segmentation import USUAL, SegmentationParameters
from wusu_lib.experiment.two_stage import TwoStageParameters

ROOT = Path(__file__).parents[2]
GOOD = {
    "name": "exp05",
    "prediction": "val mIoU rises by at least 0.01 over exp04",
    "backbone": "prithvi_600m",
    "decoder": "deeplab",
}


def fault(**changes) -> str:
    with pytest.raises(ValueError, match="cannot be used") as caught:
        parse(SegmentationParameters, GOOD | changes)
    return str(caught.value)


def test_defaults_are_those_of_the_demo_and_the_overlay_has_the_recipe_of_the_study():
    p = parse(SegmentationParameters, GOOD)
    assert (p.encoder_learning_rate, p.learning_rate, p.weight_decay) == (1e-4, 1e-3, 1e-3)
    assert (p.epochs, p.patience, p.accumulate, p.weights) == (4, 10, 1, "pretrained")
    assert (p.schedule, p.followed) == ("one_cycle", 256)
    demo = yaml.safe_load((ROOT / "params" / "demo.yaml").read_text())
    assert parse(SegmentationParameters, {**GOOD, **demo}) == p.model_copy(update={"seeds": [42, 43, 44]})
    assert (p.background, p.adaptation, p.normalisation) == ("ignore", "differential", "wusu")
    study = yaml.safe_load((ROOT / "params" / "full.yaml").read_text())
    p = parse(SegmentationParameters, {**GOOD, **study, "data_root": "/data"})
    assert (p.encoder_learning_rate, p.learning_rate, p.weight_decay) == (1e-5, 1e-3, 1e-3)
    assert (p.epochs, p.patience, p.accumulate, p.weights) == (500, 10, 8, "pretrained")
    assert (p.schedule, p.followed, p.seeds) == ("plateau", 0, [42])


def test_an_injected_parameter_that_the_cell_does_not_state_counts():
    p = notebooks.from_namespace(namespace(CELL, '# Parameters\nweight_decay = 0.01\nbands = "rgb"\n'))
    assert (p.weight_decay, p.bands, p.epochs) == (0.01, "rgb", 4)


def test_an_integer_is_a_number_and_an_alias_gets_its_name():
    p = parse(SegmentationParameters, GOOD | {"learning_rate": 1, "decoder": "deeplabv3plus"})
    assert p.learning_rate == 1.0
    assert isinstance(p.learning_rate, float)
    assert p.decoder == "deeplab"


@pytest.mark.parametrize("text", ["[1, 2]", "(1, 2)", "[1,2]"])
def test_a_list_may_come_as_text(text):
    assert parse(SegmentationParameters, GOOD | {"seeds": text}).seeds == [1, 2]


@pytest.mark.parametrize("seeds", [[], "[]", [1, 1], [-1], [1.5], 3, "many", [True]])
def test_seeds_must_be_different_whole_numbers(seeds):
    assert "seeds" in fault(seeds=seeds)


def test_an_unknown_name_is_told_its_neighbour_and_all_names():
    text = fault(decodr="unet")
    assert "decodr: not a parameter of exp05; did you mean decoder?" in text
    assert all(name in text for name in SegmentationParameters.model_fields)


def test_an_unknown_choice_is_told_what_is_allowed():
    assert (
        "adaptation: got 'frozn'; allowed: frozen, full, differential, lora; did you mean frozen?"
        in fault(adaptation="frozn")
    )
    assert all(name in fault(decoder="deeplap") for name in ("deeplap", "unet", "fpn", "deeplab"))
    assert all(name in fault(backbone="prithvi") for name in ("prithvi_300m", "prithvi_600m"))


def test_a_wrong_type_is_told_what_was_expected_what_came_and_an_example():
    assert "learning_rate: expected a number, for instance 0.001; got 'fast' (str)" in fault(
        learning_rate="fast"
    )
    assert "epochs: expected a whole number, for instance 500; got 2.5 (float)" in fault(epochs=2.5)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"learning_rate": True},
        {"weight_decay": -1e-3},
        {"epochs": 0},
        {"epochs": True},
        {"patience": 0},
        {"batch_size": -4},
        {"accumulate": 0},
        {"workers": -1},
        {"name": "../elsewhere"},
        {"name": ""},
        {"precision": 32},
        {"prediction": "it will be better"},
    ],
)
def test_values_out_of_range_name_the_parameter(change):
    (name,) = change
    assert f"{name}:" in fault(**change)


def test_all_faults_are_told_at_once():
    text = fault(decodr="unet", learning_rate="fast", epochs=0)
    assert "3 parameter(s)" in text
    assert all(name in text for name in ("decodr", "learning_rate", "epochs"))


def test_full_scale_needs_data():
    assert "data_root: must be given" in fault(scale="full")


def test_a_missing_parameter_is_named_with_an_example():
    with pytest.raises(ValueError, match=r"backbone: missing.*prithvi_600m"):
        parse(SegmentationParameters, {k: v for k, v in GOOD.items() if k != "backbone"})


def test_parameters_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        parse(SegmentationParameters, GOOD).epochs = 3


CELL = "\n".join(f"{name}: str = {value!r}" for name, value in GOOD.items())


def namespace(*cells: str) -> dict:
    """A kernel's namespace after these cells, as IPython keeps it."""
    variables: dict = {"In": ["", *cells]}
    for cell in cells:
        exec(cell, variables)
    return variables


def test_a_notebook_may_hold_other_names():
    p = notebooks.from_namespace(namespace(CELL, "from pathlib import Path\nrows = 3"))
    assert isinstance(p, SegmentationParameters)
    assert p.name == "exp05"


def test_an_injected_unknown_name_is_found():
    with pytest.raises(ValueError, match="decodr: not a parameter of exp05; did you mean decoder"):
        notebooks.from_namespace(namespace(CELL, '# Parameters\ndecodr = "unet"\n'))


def test_an_injected_value_counts():
    p = notebooks.from_namespace(namespace(CELL, '# Parameters\ndecoder = "unet"\nseeds = "[1, 2]"\n'))
    assert (p.decoder, p.seeds) == ("unet", [1, 2])


def test_a_name_misspelt_in_the_notebooks_own_cell_is_found():
    with pytest.raises(ValueError, match="weight_decy: not a parameter"):
        notebooks.from_namespace(namespace(CELL + "\nweight_decy: float = 1e-3"))


def test_a_corrected_cell_replaces_the_one_before():
    p = notebooks.from_namespace(namespace(CELL + "\nweight_decy: float = 1e-3", CELL))
    assert p.weight_decay == 1e-3


def test_a_model_cannot_be_given_to_the_pixel_floor():
    with pytest.raises(ValueError, match="decoder: not a parameter of exp00"):
        notebooks.from_namespace(namespace('name: str = "exp00"', '# Parameters\ndecoder = "unet"'))


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (CELL.replace("backbone", "run").replace("decoder", "variant"), "decoder"),
        (CELL + '\nmethod: str = "scd"', "classes"),
        (CELL, "tolerances"),
    ],
)
def test_a_parameter_that_a_kind_does_not_use_is_refused(cell, name):
    with pytest.raises(ValueError, match=f"{name}: not a parameter of exp"):
        notebooks.from_namespace(namespace(cell, f"# Parameters\n{name} = 1\n"))


@pytest.mark.parametrize("typed", ['name = "exp05_try"', 'name: str = "exp05_try"  # a try'])
def test_a_cell_of_ones_own_may_rename_an_experiment_that_stays_of_its_kind(typed):
    p = notebooks.from_namespace(namespace(CELL, typed))
    assert isinstance(p, SegmentationParameters)
    assert (p.name, p.decoder) == ("exp05_try", "deeplab")


@pytest.mark.parametrize(
    "cell",
    [
        'for name in ("a", "b"):\n    pass',
        'path, name = "x", "zz"',
        "(name := 'zz')",
        "import os as name",
        "def name(): pass",
        'with open("/dev/null") as name:\n    pass',
        'if True:\n    decoder = "unet"',
        "for epochs in range(9):\n    pass",
        "class Run:\n    pass\nname = Run()",
        "del name, decoder",
    ],
)
def test_what_a_cell_of_ones_own_leaves_in_a_variable_sets_no_parameter(cell):
    stated = SegmentationParameters(**GOOD, weight_decay=0.01)
    injected = "# Parameters\nweight_decay = 0.01\n"
    assert notebooks.from_namespace(namespace(CELL, injected, cell)) == stated


def test_a_cell_of_ones_own_may_set_a_parameter():
    p = notebooks.from_namespace(namespace(CELL, 'decoder = "unet"\nprint(decoder)', "epochs: int = 2"))
    assert (p.decoder, p.epochs) == ("unet", 2)


def test_of_cells_that_set_the_same_the_last_one_run_counts():
    injected = '# Parameters\ndecoder = "unet"\n'
    assert notebooks.from_namespace(namespace(CELL, injected, 'decoder = "fpn"')).decoder == "fpn"
    assert notebooks.from_namespace(namespace(CELL, 'decoder = "fpn"', injected)).decoder == "unet"
    assert notebooks.from_namespace(namespace(CELL, 'decoder = "fpn"', CELL)).decoder == "deeplab"


def test_a_name_that_is_nearly_a_parameter_is_named_in_a_cell_of_ones_own_too():
    with pytest.raises(ValueError, match="decodr: not a parameter of exp05; did you mean decoder") as caught:
        notebooks.from_namespace(namespace(CELL, 'decodr = "unet"'))
    assert str(caught.value).endswith(
        "A cell of your own sets decodr. Correct it, or give a variable that is meant for something else "
        "another name; then run the notebook from its parameters cell on."
    )
    corrected = namespace(CELL, 'decodr = "unet"', CELL, 'decoder = "unet"')
    assert notebooks.from_namespace(corrected).decoder == "unet"


def test_a_parameter_of_another_kind_is_named_in_a_cell_of_ones_own():
    with pytest.raises(ValueError, match="decoder: not a parameter of exp00"):
        notebooks.from_namespace(namespace('name: str = "exp00"', 'decoder = "unet"'))


def test_a_parameter_that_a_cell_of_ones_own_computes_is_refused():
    with pytest.raises(ValueError, match=r"epochs = 2 \* 5 in a cell of your own is computed"):
        notebooks.from_namespace(namespace(CELL, "epochs = 2 * 5"))
    with pytest.raises(ValueError, match=r"name = 'a'.upper\(\) in a cell of your own is computed"):
        notebooks.from_namespace(namespace(CELL, "name = 'a'.upper()"))


def test_without_a_parameters_cell_it_is_said_which_cell_to_run():
    with pytest.raises(ValueError, match='run the cell tagged "parameters" first'):
        notebooks.from_namespace(namespace("import os", "for name in ('exp05', 'exp06'):\n    pass"))


def test_a_number_that_papermill_writes_as_a_call_is_read():
    with pytest.raises(ValueError, match="learning_rate: expected a finite number"):
        notebooks.from_namespace(namespace(CELL, "# Parameters\nlearning_rate = float('nan')\n"))


def test_a_plain_dictionary_is_checked_key_by_key():
    assert notebooks.from_namespace({"name": "exp00", "seeds": [3]}) == PixelParameters(
        name="exp00", seeds=[3]
    )
    with pytest.raises(ValueError, match="seed: not a parameter of exp00; did you mean seeds"):
        notebooks.from_namespace({"name": "exp00", "seed": 3})


def write_notebook(path: Path, source: str, tags: tuple[str, ...] = ("parameters",)) -> Path:
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Title"]},
        {"cell_type": "code", "metadata": {"tags": list(tags)}, "source": source.splitlines(keepends=True)},
    ]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def test_a_notebook_is_read_without_running_it(tmp_path):
    path = write_notebook(tmp_path / "exp05.ipynb", CELL + "\nlearning_rate: float = 2e-4  # a comment")
    p = notebooks.from_notebook(path)
    assert (p.name, p.learning_rate) == ("exp05", 2e-4)


def test_a_notebook_without_usable_parameters_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no cell is tagged"):
        notebooks.from_notebook(write_notebook(tmp_path / "exp01.ipynb", CELL, tags=()))
    with pytest.raises(ValueError, match="epochs = 2 \\* 5 is computed"):
        notebooks.from_notebook(write_notebook(tmp_path / "exp02.ipynb", CELL + "\nepochs = 2 * 5"))
    with pytest.raises(FileNotFoundError, match="notebooks there: exp01, exp02"):
        notebooks.from_notebook(tmp_path / "exp09.ipynb")


@pytest.mark.parametrize(
    ("names", "schema"),
    [
        (["name", "seeds"], PixelParameters),
        (["name", "backbone", "prediction"], SegmentationParameters),
        (["name", "prediction", "run", "epochs"], TwoStageParameters),
        (["name", "backbone", "decoder", "method"], DirectParameters),
    ],
)
def test_the_kind_of_an_experiment_is_told_by_its_names(names, schema):
    assert schema_for(names) is schema


def test_what_cannot_change_a_figure_is_not_effective():
    kept = parse(SegmentationParameters, GOOD | {"weights": "/some/file.pt"}).effective()
    assert kept.keys().isdisjoint({"name", "data_root", "seeds", "prediction", "workers", "weights"})
    stated = {"name": "exp15", "prediction": GOOD["prediction"], "run": "exp06"}
    compared = parse(TwoStageParameters, stated).effective()
    assert set(compared) == {"scale", "split", "variant", "tolerances", "unit_shares", "smoothings"}


def test_a_model_serves_whatever_was_predicted_of_it():
    once = GOOD | {"prediction": "val mIoU rises by at least 0.00 over exp04"}
    with pytest.raises(ValueError, match="state the least rise that would count, above 0"):
        parse(SegmentationParameters, once)
    assert parse(SegmentationParameters, once, stored=True).decoder == GOOD["decoder"]


def test_the_figure_that_settings_are_chosen_by_is_effective():
    """With another figure other settings may be the best; of one value each nothing is chosen."""
    by_f1 = {"name": "exp15", "prediction": "val BCD F1 rises by at least 0.01 over exp06", "run": "exp06"}
    by_iou = by_f1 | {"prediction": "val BCD IoU rises by at least 0.01 over exp06"}
    one, other = (parse(TwoStageParameters, stated).effective() for stated in (by_f1, by_iou))
    assert one == other
    tried = {"tolerances": [1, 2]}
    one, other = (parse(TwoStageParameters, stated | tried).effective() for stated in (by_f1, by_iou))
    assert one["chosen by"] == "BCD F1"
    assert other["chosen by"] == "BCD IoU"


@pytest.mark.parametrize("code", [None, 255, 0, -1, 65535])
def test_a_code_for_unlabelled_ground_is_a_whole_number_or_none(code):
    assert parse(SegmentationParameters, GOOD | {"unlabelled": code}).unlabelled == code


@pytest.mark.parametrize("code", ["none", 2.5, True, 2**31])
def test_another_code_for_unlabelled_ground_is_refused(code):
    assert fault(unlabelled=code).splitlines()[1].startswith("unlabelled: expected ")


def test_a_parameter_that_the_cell_does_not_list_can_be_given_from_outside():
    p = notebooks.from_namespace(namespace(CELL, "# Parameters\nunlabelled = 255\n"))
    assert p.unlabelled == 255
    assert notebooks.from_namespace(namespace(CELL)).unlabelled is None


def test_a_code_for_unlabelled_ground_is_an_effect():
    plain, other = (parse(SegmentationParameters, GOOD | {"unlabelled": code}) for code in (None, 255))
    assert plain.effective() != other.effective()


def test_mask2former_has_no_layer_to_drop_features_before():
    told = fault(decoder="mask2former", head_dropout=0.1)
    assert "head_dropout: got 0.1, but mask2former has no such layer; use 0" in told


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"decoder": "linear"}, "decoder_width: got 2, but linear projection has a width of its own; use 1"),
        ({"decoder": "fpn", "decoder_width": 0.75}, "gives FPN 48 channels; expected multiples of 32"),
        (
            {"decoder": "deeplab", "decoder_width": 0.3},
            "DeepLabV3\\+ 19.2 channels; expected multiples of 1,",
        ),
    ],
)
def test_a_width_that_a_decoder_cannot_have_is_refused_with_one_that_it_can(changed, message):
    assert re.search(message, fault(**{"decoder_width": 2.0} | changed))


def test_what_is_as_usual_is_no_part_of_a_key():
    plain = parse(SegmentationParameters, GOOD).effective()
    for name, value in USUAL.items():
        assert name not in plain
        assert parse(SegmentationParameters, GOOD | {name: value}).effective() == plain
    wide = parse(SegmentationParameters, GOOD | {"decoder_width": 2.0, "weight_average": 0.9}).effective()
    assert wide == plain | {"decoder_width": 2.0, "weight_average": 0.9}
