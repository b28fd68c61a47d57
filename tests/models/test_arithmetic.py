"""The models' arithmetic: patch embeddings, every product against float64, bfloat16 against float32."""

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import products
import pytest
import torch
from products import Layout, Product
from torch import nn

from wusu_lib import provenance
from wusu_lib.models import arithmetic, build, catalogue, spec
from wusu_lib.models.arithmetic import PatchConv2d, PatchConv3d, embed_linearly, linear_patches

ROOT = Path(__file__).parents[2]
LIMITED = "AVX512_CORE_BF16"
AMX = provenance.arithmetic()["instruction_set"] == "AVX512_CORE_AMX"


def run(program, *arguments, **environment):
    """What a fresh Python prints, as JSON: torch reads these variables once, when it starts."""
    done = subprocess.run(
        [sys.executable, *program, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("shape", "kernel"),
    [((2, 4, 32, 48), (16, 16)), ((2, 4, 37, 50), (8, 16)), ((2, 3, 3, 33, 45), (1, 16, 14))],
)
def test_patches_by_a_linear_layer_equal_the_convolution(shape, kernel):
    """Sides that are no multiple of the patch too: what is left over is not read."""
    torch.manual_seed(0)
    images, bias = torch.randn(shape, dtype=torch.float64), torch.randn(7, dtype=torch.float64)
    weight = torch.randn(7, shape[1], *kernel, dtype=torch.float64)
    convolution = nn.functional.conv2d if len(kernel) == 2 else nn.functional.conv3d
    for given in (bias, None):
        expected = convolution(images, weight, given, stride=kernel)
        torch.testing.assert_close(linear_patches(images, weight, given), expected, rtol=0, atol=1e-12)


def test_a_patch_is_read_row_by_row_and_band_after_band():
    """2 bands of 2 x 2 px, one patch: 1*1 + 2*10 + 3*100 + 4*1000, and the second band a half of its own."""
    image = torch.tensor([[[[1.0, 2], [3, 4]], [[1, 0], [0, 0]]]])
    weight = torch.tensor([[[[1.0, 10], [100, 1000]], [[0.5, 9], [9, 9]]]])
    assert linear_patches(image, weight, torch.tensor([0.25])).tolist() == [[[[4321.75]]]]


def test_only_patch_embeddings_are_replaced_and_keep_names_and_weights():
    torch.manual_seed(0)
    layers = {
        "embedding": nn.Conv2d(4, 8, 16, stride=16),
        "volume": nn.Conv3d(4, 8, (1, 14, 14), stride=(1, 14, 14)),
        "pointwise": nn.Conv2d(4, 8, 1),
        "overlapping": nn.Conv2d(4, 8, 7, stride=2),
        "padded": nn.Conv2d(4, 8, 2, stride=2, padding=1),
        "grouped": nn.Conv2d(4, 8, 2, stride=2, groups=2),
        "dilated": nn.Conv2d(4, 8, 2, stride=2, dilation=2),
    }
    network = nn.ModuleDict(layers)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert embed_linearly(network) is network
    assert {name for name, layer in network.items() if isinstance(layer, PatchConv2d | PatchConv3d)} == {
        "embedding",
        "volume",
    }
    assert list(before) == list(network.state_dict())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    images = torch.randn(1, 4, 32, 32)
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(twin["embedding"](images), network["embedding"](images))


@pytest.mark.parametrize("scale", spec.SCALES)
@pytest.mark.parametrize("backbone", catalogue.BACKBONES)
def test_no_encoder_has_a_patch_embedding_that_is_a_convolution(backbone, scale):
    with torch.device("meta"):
        model = build.build(backbone, "fpn", scale=scale)
    found = [p for p in products_of(model) if p.name == "convolution" and is_patchwise(p)]
    assert found == []


def products_of(model):
    with torch.device("meta"), products.Recorder() as recorder, torch.no_grad():
        model(torch.empty(1, 4, 448, 448))
    return recorder.found


def is_patchwise(product):
    _, weight, _, stride, *_ = product.arguments
    return isinstance(weight, Layout) and tuple(weight.shape[2:]) == tuple(stride) and max(stride) > 2


def test_every_product_of_the_miniatures_is_right():
    """Output and gradients of each convolution and matrix product, in both precisions, against float64."""
    every = products.of_catalogue("demo")
    assert len(every) > 100
    assert products.wrong(every) == []


def test_every_product_of_the_miniatures_is_right_with_fewer_instructions():
    found = run(["tests/models/products.py"], "demo", ONEDNN_MAX_CPU_ISA=LIMITED)
    assert found["products"] > 100
    assert found["wrong"] == []


PATCHES_OF_16 = Product(
    "convolution",
    (
        Layout((4, 4, 128, 128), (65536, 16384, 128, 1)),
        Layout((96, 4, 16, 16), (1024, 256, 16, 1)),
        Layout((96,), (1,)),
        (16, 16),
        (0, 0),
        (1, 1),
        False,
        (0, 0),
        1,
    ),
)


@pytest.mark.skipif(not AMX or "ONEDNN_MAX_CPU_ISA" in os.environ, reason="needs a processor with AMX")
def test_the_sweep_finds_the_convolution_that_is_wrong():
    """When this fails, the fault is mended upstream: say so in book/protocol.md."""
    assert products.errors(PATCHES_OF_16, torch.bfloat16)["output"] > 0.5
    assert len(products.wrong([PATCHES_OF_16])) >= 1
    assert products.errors(PATCHES_OF_16, torch.float32)["output"] < 1e-5


@pytest.mark.parametrize("backbone", catalogue.BACKBONES)
def test_taps_and_logits_of_every_miniature_are_the_same_in_bfloat16(backbone):
    model = build.build(backbone, "deeplab", image_size=128)
    images = torch.randn(2, 4, 128, 128, generator=torch.Generator().manual_seed(0))
    found = arithmetic.rounding_differences(model, images)
    assert len(found) == catalogue.BACKBONES[backbone].demo.depth + 1
    assert max(found.values()) < 0.02


SEVEN_BILLION = "dinov3_sat_7b"  # 28 GB in float32, so its first blocks stand for the rest


@pytest.mark.parametrize("backbone", sorted(set(catalogue.BACKBONES) - {SEVEN_BILLION}))
def test_taps_and_logits_of_the_full_size_are_the_same_in_bfloat16(backbone):
    model = build.build(backbone, "deeplab", scale="full", image_size=224)
    images = torch.randn(1, 4, 224, 224, generator=torch.Generator().manual_seed(0))
    found = arithmetic.rounding_differences(model, images)
    assert len(found) == catalogue.BACKBONES[backbone].full.depth + 1
    assert max(found.values()) < 0.02


def test_four_blocks_of_the_seven_billion_are_the_same_in_bfloat16():
    spec = catalogue.BACKBONES[SEVEN_BILLION]
    encoder = spec.full.builder(spec.bands, depth=4, **spec.full.arguments)
    images = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    found = arithmetic.rounding_differences(embed_linearly(Whole(encoder)), images)
    assert len(found) == 4 + 1
    assert max(found.values()) < 0.02


class Whole(nn.Module):
    """An encoder as a model: its last map is the output."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, images):
        return self.encoder(images)[-1]


class Halves(nn.Module):
    """A model that is off by a given share of its value wherever it is computed in bfloat16."""

    def __init__(self, off):
        super().__init__()
        self.encoder, self.head, self.off = nn.Conv2d(4, 8, 1), nn.Conv2d(8, 3, 1), off

    def forward(self, images):
        maps = self.encoder(images)
        half = maps.dtype == torch.bfloat16
        return self.head(maps * (1 + self.off) if half else maps)


def test_a_model_that_bfloat16_computes_wrongly_is_refused_with_the_remedy():
    images = torch.randn(1, 4, 16, 16)
    arithmetic.refuse_wrong_rounding(Halves(0.0), images)
    arithmetic.refuse_wrong_rounding(Halves(0.05), images)
    for off, told in (
        (0.5, r"output differs from float32 by 0\.\d\d of its size"),
        (float("nan"), "not finite"),
    ):
        with pytest.raises(ValueError, match=rf'precision: "bf16" cannot be used .*{told}.*precision="32"'):
            arithmetic.refuse_wrong_rounding(Halves(off), images)


def test_the_look_leaves_the_model_in_its_mode():
    model = Halves(0.0)
    model.encoder.eval()
    arithmetic.rounding_differences(model, torch.randn(1, 4, 16, 16))
    assert (model.training, model.encoder.training, model.head.training) == (True, False, True)


IMPORTS = """
import importlib, json, pkgutil
import torch
torch.set_float32_matmul_precision("high")
import wusu_lib
changed = []
def look(name):
    if torch.get_float32_matmul_precision() != "high":
        changed.append(name)
        torch.set_float32_matmul_precision("high")
for module in pkgutil.walk_packages(wusu_lib.__path__, "wusu_lib."):
    importlib.import_module(module.name)
    look(module.name)
from wusu_lib.models import build
from wusu_lib.models import catalogue
from wusu_lib.models import decoders
for backbone in catalogue.BACKBONES:
    for decoder in decoders.DECODERS:
        if (backbone, decoder) != ("resnet50", "linear"):
            build.build(backbone, decoder)
            look(f"{backbone} {decoder}")
print(json.dumps(changed))
"""


def test_no_import_and_no_build_changes_the_precision_of_float32():
    assert run(["-c", IMPORTS]) == []


def test_float32_is_exact_in_its_block_and_as_before_behind_it():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("medium")
        with arithmetic.exact_float32():
            assert torch.get_float32_matmul_precision() == "highest"
            assert torch.backends.cudnn.allow_tf32 is False
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.backends.cudnn.allow_tf32 == before[1]
    finally:
        torch.set_float32_matmul_precision(before[0])


CPUINFO = """processor\t: 0
model name\t: Made Processor
flags\t\t: fpu sse4_1 avx2 avx512bw {more}
"""


@pytest.mark.parametrize(
    ("more", "named"),
    [("avx512_vnni avx512_bf16 amx_bf16", "AVX512_CORE_AMX"), ("avx512_bf16", LIMITED), ("", "AVX512_CORE")],
)
def test_the_record_names_the_instruction_set_and_its_limits(monkeypatch, tmp_path, more, named):
    made = tmp_path / "cpuinfo"
    made.write_text(CPUINFO.format(more=more))
    monkeypatch.setattr(provenance, "CPUINFO", made)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "avx2")
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    found = provenance.machine()
    assert found["processor"] == "Made Processor"
    limits = {name: found["arithmetic"][name] for name in ("instruction_set", "onednn_limit", "aten_limit")}
    assert limits == {"instruction_set": named, "onednn_limit": "AVX2", "aten_limit": ""}
    assert not provenance.computes_bfloat16()
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    assert provenance.computes_bfloat16() == ("avx512_bf16" in more)
