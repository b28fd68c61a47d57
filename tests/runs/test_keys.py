"""The key of a run: which modules stand behind each kind, and what an edit to the library voids."""

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from test_layout import graph

from wusu_lib import provenance
from wusu_lib.experiment import notebooks, parameters
from wusu_lib.experiment.direct import DirectParameters
from wusu_lib.experiment.experiment import Experiment
from wusu_lib.experiment.per_pixel import PixelParameters
from wusu_lib.experiment.search import SearchParameters
from wusu_lib.experiment.segmentation import SegmentationParameters
from wusu_lib.experiment.staged import StagedParameters
from wusu_lib.experiment.tuning import TuningParameters
from wusu_lib.experiment.two_stage import TwoStageParameters, source_of
from wusu_lib.models import catalogue
from wusu_lib.models.catalogue import BACKBONES
from wusu_lib.models.decoders import DECODERS
from wusu_lib.scenes import maps

DATA = [
    "legend",
    "data.splits",
    "data.masks",
    "imagery:missing,read",
    "data.tree:fingerprint,fingerprint_changes,scan,scan_changes",
]
TRAINING = [
    "data.loading:WusuDataModule",
    "models.losses:pixel_loss",
    "models.segmentation:SegmentationModel",
    "models.arithmetic",
    "models.build:accept_single_images,assemble,build_encoder",
    "models.weights:encoder_name,load_checkpoint,read_checkpoint,unfused",
    "models.terratorch_parts",
    "data.statistics:measure,normalisation",
    "experiment.segmentation:begin,build_network,fit,patches_of,train_segmentation",
    "training.loop",
    "training.task:SegmentationTask,Tally",
]
CHANGE = [
    "change.codebook:count_chains,count_transitions,cross_tabulate,learn",
    "transitions",
    "measures.change:binary_confusion,confusion,reduce",
    "change.analysis:pairs,true_labels",
]
NAMED = {
    PixelParameters: [
        *DATA,
        "experiment.per_pixel:classify,probabilities",
        "data.statistics:class_index",
        "measures.classes:confusion",
    ],
    SegmentationParameters: [*DATA, *TRAINING, "measures.classes:confusion"],
    SearchParameters: [
        *DATA,
        *TRAINING,
        "measures.classes:confusion",
        "experiment.search:Cell,adopted,cell_of,climb,make,winner",
    ],
    TuningParameters: [
        *DATA,
        *TRAINING,
        "measures.classes:confusion",
        "experiment.search:adopted",
        "experiment.tuning:SPACE,_search,_strategy,_trial,drawn,judged,make,ranges,setting_of,tune",
    ],
    StagedParameters: [
        *DATA,
        *TRAINING,
        "measures.classes:confusion",
        "data.resampling",
        "data.loading:SplitDataModule",
        "experiment.segmentation:Predictor",
        "experiment.staged:_join,_judge,_learn,_some,_windows,ground,mapped,train_stages",
    ],
    TwoStageParameters: [
        *DATA,
        *CHANGE,
        "change.analysis:count_chains_of_maps,summarise_chains",
        "experiment.two_stage:compare_maps",
        "change.decoding",
        "measures.change:counts,score",
        "change.codebook:code_book",
        "experiment.segmentation:Predictor,build_network",
    ],
    DirectParameters: [
        *DATA,
        *TRAINING,
        *CHANGE,
        "training.task:DirectTask,PairTally",
        "data.loading:PairDataModule",
        "experiment.direct:train_direct",
        "models.segmentation:SiameseModel",
    ],
}

# What modules in a key import and what stands outside it all the same, with the reason why nothing that
# computes stands there or behind it.
OUTSIDE = {
    "wusu_lib.data.inspection": "what is known of a tree; its files count by their content",
    "wusu_lib.experiment.parameters": "what is asked for, and the names of what computes",
    "wusu_lib.experiment.two_stage": "what change is compared with; its own runs name what computes them",
    "wusu_lib.files": "how a file is written, not what",
    "wusu_lib.measures.comparison": "judges stored runs",
    "wusu_lib.measures.change": "figures of stored matrices; those that choose settings are named",
    "wusu_lib.measures.classes": "figures of stored matrices; what counts them is named",
    "wusu_lib.measures.verdict": "which figure decides; it counts as what is asked for",
    "wusu_lib.models.catalogue": "which backbones there are; the chosen one counts as data",
    "wusu_lib.models.decoders": "which decoders there are; the chosen one counts as data",
    "wusu_lib.models.indices": "formulas of spectral indices; named where a model reads some",
    "wusu_lib.models.spec": "resolves an entry; the result counts as data",
    "wusu_lib.provenance": "hashes and versions",
    "wusu_lib.runs.cluster": "where it is computed, not what",
    "wusu_lib.runs.results": "stores what was counted",
    "wusu_lib.runs.store": "where runs are kept",
    "wusu_lib.synthetic": "writes the data, which count by their content",
    "wusu_lib.transitions": "labels of change, named where change is computed",
    "wusu_lib.training.progress": "the line of progress, and TensorBoard's curves",
}


def kind_of(schema):
    (found,) = [known for known in notebooks.KINDS if known.schema is schema]
    return found


def made_by(exp, seed):
    return parameters.made_by(exp.kind, exp, seed)


def plain(module):
    """A dotted name without the definitions behind its colon."""
    return module.partition(":")[0]


def of_the_models():
    """Modules of every backbone and decoder, each of which counts where it is chosen."""
    builders = {e.builder.__module__ for spec in BACKBONES.values() for e in (spec.full, spec.demo)}
    decoders = {module for spec in DECODERS.values() for module in spec.modules}
    return {*builders, *map(plain, decoders), plain(catalogue.LORA), catalogue.NECKS}


@pytest.mark.parametrize("schema", NAMED, ids=lambda schema: schema.__name__)
def test_the_modules_behind_each_kind(schema):
    found = sorted(kind_of(schema).code)
    print(schema.__name__, *found, sep="\n    ")  # noqa: T201 (the list, to be read with -s)
    assert found == sorted(f"wusu_lib.{module}" for module in NAMED[schema])


def covered(schema):
    """Modules in the key of a kind; those of the runs that it is made of count by their own keys."""
    named = kind_of(schema)
    own = {plain(name) for name in named.code}
    if named.source is not None:
        return own | covered(SegmentationParameters) | covered(PixelParameters)
    return own if schema is PixelParameters else own | of_the_models()


# The modules that a module imports, wherever; not those for types only.
EDGES = {
    f"wusu_lib.{name}": {f"wusu_lib.{target}" for target in targets} for name, targets in graph().items()
}


@pytest.mark.parametrize("schema", NAMED, ids=lambda schema: schema.__name__)
def test_what_a_named_module_imports_is_named_or_has_a_reason(schema):
    inside = covered(schema)
    reached = set().union(*(EDGES[module] for module in inside))
    assert sorted(reached - inside - set(OUTSIDE)) == []


def test_what_computes_maps_of_scenes_is_named_or_has_a_reason():
    inside = {plain(name) for name in (*maps.CODE, *parameters.MODEL)} | of_the_models()
    assert sorted(set().union(*(EDGES[module] for module in inside)) - inside - set(OUTSIDE)) == [
        "wusu_lib.data.loading",  # of the training, as all but the bands
        "wusu_lib.data.statistics",
        "wusu_lib.imagery",  # the names of the bands
        "wusu_lib.models.losses",
        "wusu_lib.training.loop",
        "wusu_lib.training.task",
    ]


def test_every_reason_is_needed():
    inside = [covered(schema) for schema in NAMED]
    reached = {name for modules in inside for module in modules for name in EDGES[module] - modules}
    assert sorted(set(OUTSIDE) - reached) == []


def experiment(stated):
    data = SimpleNamespace(fingerprint="data", change_fingerprint="masks", root="")
    return Experiment(stated, data, None)


def segmentation(**changed):
    stated = {"backbone": "prithvi_600m", "decoder": "fpn", "name": "exp05"}
    stated["prediction"] = "val mIoU rises by at least 0.01 over exp04"
    return experiment(parameters.parse(SegmentationParameters, stated | changed))


def test_only_what_is_used_counts():
    plain_run = made_by(segmentation(), 1)
    assert "wusu_lib.models.mask2former" not in plain_run["modules"]
    assert not {"peft", "transformers", "scikit-learn"} & set(plain_run["packages"])
    assert {"torch", "terratorch", "torchgeo", "rasterio", "numpy"} < set(plain_run["packages"])
    assert "wusu_lib.models.prithvi:miniature" in plain_run["modules"]
    with_lora = made_by(segmentation(adaptation="lora"), 1)
    assert "peft" in with_lora["packages"]
    assert "wusu_lib.models.weights:add_lora" in with_lora["modules"]
    sets = made_by(segmentation(decoder="mask2former"), 1)
    assert {"transformers", "scipy"} < set(sets["packages"])
    assert {"wusu_lib.models.mask2former"} < set(sets["modules"])
    floor = made_by(experiment(PixelParameters(name="exp00")), 1)
    assert set(floor) == {"modules", "packages"}  # no torch, so whatever processor
    assert set(floor["packages"]) == {"numpy", "pandas", "rasterio", "scikit-learn", "scipy"}


def test_published_weights_count_by_repository_file_and_revision():
    full = {"scale": "full", "data_root": "/data", "weights": "pretrained"}
    assert made_by(segmentation(**full), 1)["model"]["weights"] == {
        "repository": "ibm-nasa-geospatial/Prithvi-EO-2.0-600M",
        "file": "Prithvi_EO_V2_600M.pt",
        "revision": "main",
    }


def test_the_processors_arithmetic_counts_for_a_training_and_not_for_the_floor(monkeypatch):
    floor = experiment(PixelParameters(name="exp00"))
    before = segmentation().key(1), floor.key(1)
    monkeypatch.setattr(provenance, "arithmetic", lambda: {"instruction_set": "another"})
    assert segmentation().key(1) != before[0]
    assert floor.key(1) == before[1]


KEYS = """
import json
from types import SimpleNamespace
from wusu_lib import provenance
from wusu_lib.experiment.experiment import Experiment
from wusu_lib.experiment.notebooks import from_notebook
data = SimpleNamespace(fingerprint="data", change_fingerprint="masks", root="")
notebooks = sorted((provenance.repository() / "notebooks").glob("exp*.ipynb"))
print(json.dumps({file.stem: Experiment(from_notebook(file), data, None).key(42) for file in notebooks}))
"""


def keys_of(folder):
    """The key of every experiment, by the library in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KEYS], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of the library and the notebooks, with the keys of all experiments."""
    folder = tmp_path_factory.mktemp("library")
    for name in ("wusu_lib", "notebooks"):
        shutil.copytree(
            provenance.repository() / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    return folder, keys_of(folder)


def voided(copied, *edits):
    """Experiments whose key is another after some edits (file, before, after), which are taken back."""
    folder, before = copied
    originals = {}
    try:
        for name, old, new in edits:
            file = folder / "wusu_lib" / name
            text = file.read_text() if file.exists() else ""
            originals.setdefault(file, text if file.exists() else None)
            assert old in text
            file.write_text(text.replace(old, new, 1) if old else text + new)
        after = keys_of(folder)
    finally:
        for file, text in originals.items():
            file.unlink() if text is None else file.write_text(text)
    return {name for name in before if after[name] != before[name]}


NEW_ENTRY = """

def another(bands, name):
    return published(bands, name)


BACKBONES["dinov3_base"] = replace(
    BACKBONES["dinov3_sat_large"], full=Encoder(another, 16, 768, 12, (2, 5, 8, 11), skip=4)
)
"""
NEW_FAMILY = """from wusu_lib.models.resnet import BACKBONES as OTHERS

BACKBONES = {"vgg": OTHERS["resnet50"]}
"""
METRIC = 'Metric = Literal["acc", "pixel_acc", "mIoU", "F1"'
MORE = "\nMORE = 1\n"  # a line of code
# What an edit is called: edits (file, before, after); nothing before: at the end of the file.
HARMLESS = {
    "a new backbone in its family's file": [
        ("models/dino.py", "from typing import", "from dataclasses import replace\nfrom typing import"),
        ("models/dino.py", "", NEW_ENTRY),
    ],
    "a new family": [
        ("models/vgg.py", "", NEW_FAMILY),
        ("models/catalogue.py", "prithvi, resnet\n", "prithvi, resnet, vgg\n"),
        ("models/catalogue.py", "| resnet.BACKBONES", "| resnet.BACKBONES | vgg.BACKBONES"),
    ],
    "another title of a backbone": [("models/prithvi.py", '"Prithvi-EO-2.0 600M"', '"Prithvi 2"')],
    "another title of a decoder": [("models/decoders.py", '"U-Net"', '"UNet"')],
    "a new loss": [
        ("models/losses.py", '    "focal": focal,', '    "focal": focal,\n    "another": focal,'),
        ("models/losses.py", "FOCUS = 2.0", "FOCUS = 3.0"),
    ],
    "a new metric": [("measures/classes.py", METRIC, f'{METRIC}, "kappa"')],
    "another grey of the figures": [("pages/style.py", '"#5f6368"', '"#606060"')],
    "another grey of the legend": [("legend.py", '"#f3f2f1"', '"#eeeeee"')],
    "another sentence": [("pages/training.py", "validation loss was lowest", "loss was lowest")],
    "another column of a table": [("pages/style.py", '"seed": run.seed', '"random seed": run.seed')],
    "another column of the parts": [("models/build.py", '"output shape"]', '"shape"]')],
    "another description of a parameter": [
        ("experiment/segmentation.py", "the legend's classes, or", "all classes, or"),
        ("experiment/parameters.py", "at most so many", "no more than so many"),
    ],
    "another line of progress": [("training/progress.py", "", MORE)],
    "a comment and a docstring": [
        ("data/loading.py", '"""', '"""Now: '),
        ("models/segmentation.py", "", "\n# why\n"),
    ],
}


@pytest.mark.parametrize("edits", HARMLESS.values(), ids=HARMLESS)
def test_what_computes_nothing_voids_no_run(copied, edits):
    assert voided(copied, *edits) == set()


def trained():
    return {f"exp{n:02d}" for n in range(1, 18)}  # 15 compares the maps of exp05 or exp06


def with_parameter(name, value):
    """Experiments whose own parameter, or that of the run they compare, has a value."""
    found = set()
    for file in sorted((provenance.repository() / "notebooks").glob("exp*.ipynb")):
        exp = experiment(notebooks.from_notebook(file))
        stated = (
            source_of(exp).parameters if isinstance(exp.parameters, TwoStageParameters) else exp.parameters
        )
        if isinstance(stated, TuningParameters):
            stated = notebooks.from_notebook(file.with_stem(stated.base))
        values = getattr(stated, f"{name}s", []) or [getattr(stated, name, "")]  # of a search, or one
        if any(each.startswith(value) for each in values):
            found.add(file.stem)
    return found


FLOOR = {"exp00"}
PAIR = ("num_frames=1,\n        in_chans", "num_frames=2,\n        in_chans")
COMPUTING = {
    "reading of the data": ("data/loading.py", "np.float32(255)", "np.float32(256)", trained),
    "losses": ("models/losses.py", "logits.float(), dim=1", "logits.double(), dim=1", trained),
    "splits": ("data/splits.py", "", MORE, lambda: trained() | FLOOR),
    "the counting": (
        "measures/classes.py",
        "np.uint8(N_INDEX) +",
        "1 *",
        lambda: trained() - {"exp16"} | FLOOR,
    ),
    "the set loss": ("models/mask2former.py", "", MORE, lambda: with_parameter("decoder", "mask2former")),
    "a decoder": (
        "models/decoders.py",
        '"decoder_pyramid_channels": 96',
        '"decoder_pyramid_channels": 97',
        lambda: with_parameter("decoder", "fpn"),
    ),
    "a miniature": ("models/prithvi.py", *PAIR, lambda: with_parameter("backbone", "prithvi")),
    "a neck": (
        "models/build.py",
        "class SkipAndContext(Neck):",
        "class SkipAndContext(Neck):\n    more = 1\n",
        lambda: with_parameter("decoder", "deeplab"),
    ),
    "the floor": ("experiment/per_pixel.py", "AREA_EXPONENT = 0.5", "AREA_EXPONENT = 0.6", lambda: FLOOR),
    "decoding of change": ("change/decoding.py", "", MORE, lambda: {"exp15"}),
    "the resampling": ("data/resampling.py", "", MORE, lambda: {"exp09", "exp14"}),
    "the siamese network": (
        "models/segmentation.py",
        "class SiameseModel(nn.Module):",
        "class SiameseModel(nn.Module):\n    more = 1\n",
        lambda: {"exp16"},
    ),
}


@pytest.mark.parametrize(("file", "before", "after", "expected"), COMPUTING.values(), ids=COMPUTING)
def test_what_computes_voids_the_runs_that_it_computes(copied, file, before, after, expected):
    assert expected()
    assert voided(copied, (file, before, after)) == expected()
