"""The study's own models with random weights: sizes, taps, arguments, and one training step each at 512 px.

Each runs in a process of its own, so that its peak memory can be read. Batches of one, bf16 autocast; float32
where the processor, or a limit on it, leaves no bf16 instructions: a step would take a quarter of an hour.
"""

import json
import subprocess
import sys

from wusu_lib import provenance

STEP = """
import json, resource, sys
import torch
from wusu_lib.models import build

backbone, decoder, size, update, bf16 = json.loads(sys.argv[1])
model = build.build(backbone, decoder, scale="full", image_size=size)
model.train()
maps = []
model.neck.register_forward_hook(lambda _m, _i, output: maps.extend(list(m.shape[1:]) for m in output))
with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
    logits = model(torch.randn(1, 4, size, size))
torch.nn.functional.cross_entropy(logits.float(), torch.randint(0, 11, (1, size, size))).backward()
if update:
    torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True).step()
vit, built = model.encoder, model.decoder
report = {
    "encoder": sum(p.numel() for p in vit.parameters()),
    "blocks": len(vit.blocks),
    "dim": vit.embed_dim,
    "patch": vit.patch_embed.proj.kernel_size[-1],
    "bands": [band.value for band in vit.model_bands],
    "padding": model.padding(size, size),
    "maps": maps,
    "taps": model.neck[0].indices,
    "logits": list(logits.shape),
    "idle": [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0],
    "finite": all(bool(torch.isfinite(p).all()) for p in model.parameters()),
    "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
}
if decoder == "deeplab":
    aspp = built._smp_decoder.aspp[0]
    report["rates"] = [branch[0][0].dilation[0] for branch in aspp.convs[1:4]]
    report["dropout"] = aspp.project[3].p
    report["skip"] = built._smp_decoder.block1[0].out_channels
print(json.dumps(report))
"""
PRITHVI_300M = {"blocks": 24, "dim": 1024, "patch": 16}
PRITHVI_600M = {"blocks": 32, "dim": 1280, "patch": 14}
BANDS = ["BLUE", "GREEN", "RED", "NIR_NARROW"]


def one_step(backbone, decoder, size=512, update=False):
    arguments = json.dumps([backbone, decoder, size, update, provenance.computes_bfloat16()])
    result = subprocess.run(
        [sys.executable, "-c", STEP, arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def assert_trained(report):
    assert report["idle"] == []
    assert report["finite"]
    assert report["logits"] == [1, 11, 512, 512]
    assert report["bands"] == BANDS
    assert report["gigabytes"] < 20


def test_experiment_1_prithvi_300m_unet():
    report = one_step("prithvi_300m", "unet", update=True)
    assert_trained(report)
    assert PRITHVI_300M.items() <= report.items()
    assert 303e6 < report["encoder"] < 304e6
    assert report["padding"] == [0, 0, 0, 0]
    assert report["taps"] == [5, 11, 17, 23]
    assert report["maps"] == [[256, 128, 128], [128, 64, 64], [64, 32, 32], [32, 16, 16]]


def test_experiment_5_prithvi_600m_deeplab():
    report = one_step("prithvi_600m", "deeplab", update=True)
    assert_trained(report)
    assert PRITHVI_600M.items() <= report.items()
    assert 630e6 < report["encoder"] < 632e6
    assert report["padding"] == [3, 3, 3, 3]  # 512 to 518
    assert report["taps"] == [7, 31]
    assert report["maps"] == [[320, 148, 148]] * 3 + [[1280, 37, 37]] * 2
    assert (report["rates"], report["dropout"], report["skip"]) == ([12, 24, 36], 0.5, 48)


def test_experiment_4_prithvi_600m_fpn():
    report = one_step("prithvi_600m", "fpn")
    assert_trained(report)
    assert report["padding"] == [10, 10, 10, 10]  # 512 to 532: the pyramid halves the grid of patches
    assert report["taps"] == [7, 15, 23, 31]
    assert report["maps"] == [[320, 152, 152], [640, 76, 76], [1280, 38, 38], [1280, 19, 19]]
