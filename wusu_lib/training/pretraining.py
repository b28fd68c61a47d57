"""Pre-trains the miniatures of the backbones on other ground than the city, without labels. Imports torch.

    python -m wusu_lib.training.pretraining make prithvi_600m     # `make pretraining`: every miniature
    python -m wusu_lib.training.pretraining gains prithvi_600m    # frozen, against random weights
    python -m wusu_lib.training.pretraining spread prithvi_600m   # the same, pre-trained with other seeds
    python -m wusu_lib.training.pretraining costs prithvi_600m    # against one pre-trained without a shift

The ground and the instrument are made (``synthetic.World``, ``synthetic.Sensor``), so the shifts between
pre-training and the city are known: place, sensor, metres a pixel and, for the families whose published
weights know red, green and blue only, the missing infrared. What is learnt: from the tokens of every block,
linear heads predict statistics of the pixels that the token sees, and from the second block on also of
tokens that were blanked in the image, in clumps. The heads are thrown away. With one thread the same machine
gives the same bytes.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from wusu_lib import files, provenance
from wusu_lib.legend import ELEVEN, index_from_code
from wusu_lib.measures.change import measure
from wusu_lib.measures.classes import confusion
from wusu_lib.measures.comparison import BlockCounts, by_block, paired
from wusu_lib.models.arithmetic import autocast
from wusu_lib.models.build import build, build_encoder
from wusu_lib.models.catalogue import find
from wusu_lib.models.losses import pixel_loss
from wusu_lib.models.spec import (
    DATA_BANDS,
    FROZEN,
    BackboneSpec,
    Bands,
    miniature_file,
    miniature_record,
    recorded_miniature,
)
from wusu_lib.models.weights import as_stored
from wusu_lib.synthetic import Sensor, World, expose, fingerprint, light_of, seen

# Where and with which instrument. Country: half of the lots are fields and forest, no use is promised to any
# district, streets run at any angle. The first seed is far from those of any city.

PLACES = 12
SIDE = 2048  # metres
FIRST_PLACE = 1000
COUNTRY = World(
    needed=(("farm", "wood", "farm"),),
    rest={
        **{"farm": 0.24, "wood": 0.20, "lowrise": 0.16, "oldtown": 0.08, "slabs": 0.06, "towers": 0.05},
        **{"commerce": 0.05, "industry": 0.10, "plaza": 0.02, "greenhouse": 0.04},
    },
)
# Coarse reflectance, dark and of low contrast, as of a medium-resolution satellite.
SATELLITE = Sensor(
    response=((0.80, 0.20, 0, 0), (0.15, 0.70, 0.15, 0), (0, 0.20, 0.75, 0.05), (0, 0, 0.10, 0.90)),
    gain=(0.50, 0.55, 0.60, 1.10),
    offset=(0.03, 0.02, 0.01, -0.02),
    gamma=0.8,
    noise=0.005,
    ground=4,
)
# Bright, with broad bands, two metres a pixel, as of a camera on an aeroplane.
AERIAL = Sensor(
    response=((0.70, 0.30, 0, 0), (0.25, 0.50, 0.25, 0), (0, 0.30, 0.60, 0.10), (0, 0, 0.20, 0.80)),
    gain=(1.10, 1.20, 1.15, 1.25),
    offset=(0.06, 0.08, 0.05, 0.06),
    gamma=0.7,
    noise=0.01,
    ground=2,
)
# Blue, green and red only, fine, with a photograph's tone curve.
COLOUR = Sensor(
    response=((0.85, 0.15, 0, 0), (0.10, 0.80, 0.10, 0), (0, 0.15, 0.85, 0)),
    gain=(1.15, 1.20, 1.25),
    offset=(0, 0, 0),
    gamma=0.6,
    noise=0.01,
    ground=1,
)


@dataclass(frozen=True)
class Recipe:
    """How one miniature learns.

    ``batch``: crops a step. ``grid``: cells along a crop's side, ``cell``: px along a cell's side: a
    transformer's token, a fixed size for a pyramid. ``hidden``: share of the cells that are blanked.
    """

    backbone: str
    sensor: Sensor
    grid: int
    cell: int
    batch: int = 32
    hidden: float = 0.5
    steps: int = 800
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02

    @property
    def bands(self) -> Bands:
        """What the encoder is built for."""
        return "all" if len(self.sensor.response) == len(DATA_BANDS) else "rgb"


# By the name of the miniature: backbones that share a miniature share its weights.
RECIPES = {
    "prithvi_600m": Recipe("prithvi_600m", SATELLITE, grid=10, cell=14, steps=1600),
    "prithvi_300m": Recipe("prithvi_300m", SATELLITE, grid=8, cell=16, steps=1600),
    "dinov3": Recipe("dinov3_sat_large", COLOUR, grid=8, cell=16, steps=1600),
    "dinov2": Recipe("dinov2_small", COLOUR, grid=10, cell=14, steps=1600),
    "clay": Recipe("clay", AERIAL, grid=16, cell=8, batch=12),
    "resnet": Recipe("resnet50", AERIAL, grid=8, cell=16, hidden=0.0),
}


# Sensors with one shift less, by miniature: what the shift costs is measured with them.
WITHOUT_SHIFT = {
    "prithvi_600m": {
        "at 1 m instead of 4 m": replace(SATELLITE, ground=1),
        "with the bands as they are": replace(
            SATELLITE,
            response=((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)),
            gain=(1, 1, 1, 1),
            offset=(0, 0, 0, 0),
            gamma=1,
        ),
    },
    "dinov3": {
        "with infrared": replace(
            COLOUR,
            response=(*COLOUR.response, (0, 0, 0.1, 0.9)),
            gain=(*COLOUR.gain, 1.2),
            offset=(*COLOUR.offset, 0),
        ),
    },
}


def images_of(sensor: Sensor, world: World = COUNTRY, places: int = PLACES, side: int = SIDE) -> list[Tensor]:
    """Places of the world as the sensor records them, each float16 [bands, H, W], 0 to 1.

    The light of a place takes ten seconds to make and is kept in the cache folder (``files.kept``).
    """
    folder = files.cache_folder() / f"world_{fingerprint(world, side)}"
    found = []
    for seed in range(FIRST_PLACE, FIRST_PLACE + places):
        light = files.kept(folder / f"{seed}.npy", _stored_light, _make_light(world, side, seed))
        found.append(torch.from_numpy(seen(light, sensor, seed)).half())
    return found


def _stored_light(path: Path) -> np.ndarray | None:
    return np.load(path) if path.is_file() else None


def _make_light(world: World, side: int, seed: int) -> Callable[[Path], np.ndarray]:
    def make(path: Path) -> np.ndarray:
        light = light_of(world, side, seed)
        with files.replacing(path) as draft, draft.open("wb") as file:
            np.save(file, light)
        return light

    return make


def moments(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [bands] of all pixels of images [bands, H, W], float32."""
    pixels = torch.cat([image.flatten(1) for image in images], dim=1).double()
    return pixels.mean(dim=1).float(), pixels.std(dim=1, correction=0).float()


# What is predicted.


def statistics(images: Tensor, grid: int) -> Tensor:
    """Statistics of the grid x grid cells of normalised images [B, C, S, S]: [B, grid * grid, 20 C + 20].

    Of a cell: means of the bands in 4 x 4 parts; in 2 x 2 parts the log variances of the bands, the log
    energies of the mean band's gradient in four directions, and the last band less the one before it (with
    infrared, a measure of plants).
    """
    mean, square = (F.adaptive_avg_pool2d(x, 2 * grid) for x in (images, images * images))
    parts = [
        (F.adaptive_avg_pool2d(images, 4 * grid), 4),
        (_log((square - mean * mean).clamp(min=0)), 2),
        (_log(F.adaptive_avg_pool2d(_energies(images.mean(dim=1, keepdim=True)), 2 * grid)), 2),
        (mean[:, -1:] - mean[:, -2:-1], 2),
    ]
    return torch.cat([_by_cell(maps, grid, k) for maps, k in parts], dim=2)


def _log(values: Tensor) -> Tensor:
    return (values + 1e-3).log()


def _energies(brightness: Tensor) -> Tensor:
    """Squared gradients of [B, 1, S, S] across, down and along both diagonals: [B, 4, S, S]."""
    across = F.pad(brightness[..., :, 1:] - brightness[..., :, :-1], (0, 1, 0, 0))
    down = F.pad(brightness[..., 1:, :] - brightness[..., :-1, :], (0, 0, 0, 1))
    return torch.cat([across, down, (across + down) / 2**0.5, (across - down) / 2**0.5], dim=1).square()


def _by_cell(maps: Tensor, grid: int, k: int) -> Tensor:
    """Maps [B, C, grid * k, grid * k] -> [B, grid * grid, C * k * k]."""
    return F.pixel_unshuffle(maps, k).flatten(2).transpose(1, 2)


def cells_of(outputs: Sequence[Tensor], spec: BackboneSpec, grid: int) -> list[Tensor]:
    """What an encoder gives, as vectors of grid x grid cells: of every block or stage [B, grid * grid, D].

    Stages that are finer than the cells are gathered into them, coarser ones are spread over them.
    """
    if spec.output == "tokens":
        return [x[:, spec.prefix_tokens :] for x in outputs]
    return [_on_grid(x, grid).flatten(2).transpose(1, 2) for x in outputs]


def _on_grid(maps: Tensor, grid: int) -> Tensor:
    side = maps.shape[-1]
    return F.pixel_unshuffle(maps, side // grid) if side >= grid else F.pixel_shuffle(maps, grid // side)


def clumps(batch: int, grid: int, share: float, generator: torch.Generator) -> Tensor:
    """Which cells are blanked: bool [batch, grid, grid], about ``share`` of each image's, in clumps."""
    noise = torch.rand(batch, 1, grid, grid, generator=generator)
    smooth = F.avg_pool2d(noise, 3, stride=1, padding=1, count_include_pad=False)[:, 0]
    smooth = smooth + 0.15 * torch.rand(batch, grid, grid, generator=generator)
    return smooth < torch.quantile(smooth.flatten(1), share, dim=1)[:, None, None]


def crops(images: Sequence[Tensor], number: int, side: int, rng: np.random.Generator) -> Tensor:
    """Squares cut at random, turned and mirrored at random: float32 [number, bands, side, side]."""
    found = []
    for _ in range(number):
        image = images[int(rng.integers(len(images)))]
        top, left = (int(rng.integers(n - side + 1)) for n in image.shape[1:])
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        crop = torch.rot90(image[:, top : top + side, left : left + side], turns, (1, 2))
        found.append(crop.flip(2) if mirrored else crop)
    return torch.stack(found).float()


# Learning.


@dataclass(frozen=True)
class Learnt:
    """A pre-trained encoder.

    ``mean`` and ``std`` [bands] are those of the world's images, in the order of the sensor's bands.
    ``loss``: one row every ``EVERY`` steps, the means over them of "visible" and of "hidden" (None where
    nothing was blanked), and the last "step". ``seconds``: of processor time.
    """

    encoder: nn.Module
    mean: Tensor
    std: Tensor
    loss: list[dict[str, float | None]]
    seconds: float


EVERY = 20  # steps a row of the loss curve


class Heads(nn.Module):
    """One linear reading of every block's cells, for what is visible and for what is blanked."""

    def __init__(self, widths: Sequence[int], targets: int) -> None:
        super().__init__()
        self.visible = nn.ModuleList(_head(width, targets) for width in widths)
        self.hidden = nn.ModuleList(_head(width, targets) for width in widths[1:])

    def losses(
        self, cells: Sequence[Tensor], targets: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Smooth L1 over visible cells (all blocks) and over blanked ones (all but the first), if any.

        Cells [B, N, D] of every block, targets [B, N, T], hidden bool [B, N].
        """
        shown = _mean_loss(self.visible, cells, targets, ~hidden)
        return shown, _mean_loss(self.hidden, cells[1:], targets, hidden) if hidden.any() else None


def _head(width: int, targets: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, targets))


def _mean_loss(heads: nn.ModuleList, cells: Sequence[Tensor], targets: Tensor, where: Tensor) -> Tensor:
    wanted = targets[where]
    losses = [F.smooth_l1_loss(h(x[where]).float(), wanted) for h, x in zip(heads, cells, strict=True)]
    return torch.stack(losses).mean()


def pretrain(recipe: Recipe, images: Sequence[Tensor], seed: int = 0) -> Learnt:
    """Train a miniature on images [bands, H, W] (0 to 1) of the recipe's sensor. Sets torch's global seed.

    Raises ValueError if an image is smaller than a crop or has other bands than the sensor.
    """
    side, spec = recipe.grid * recipe.cell, find(recipe.backbone)
    _check(images, len(recipe.sensor.response), side)
    began = time.process_time()
    torch.manual_seed(seed)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    encoder = build_encoder(recipe.backbone, "demo", "random", recipe.bands).train()
    mean, std = moments(images)
    order = list(spec.reads(recipe.bands)[1])

    def batch(number: int) -> Tensor:
        return (crops(images, number, side, rng) - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)

    first = statistics(batch(256), recipe.grid)
    centre, scale = first.mean(dim=(0, 1)), first.std(dim=(0, 1)) + 1e-4
    with torch.no_grad():
        widths = [x.shape[-1] for x in cells_of(encoder(batch(2)[:, order]), spec, recipe.grid)]
    heads = Heads(widths, first.shape[-1])
    weights = [p for p in (*encoder.parameters(), *heads.parameters()) if p.requires_grad]
    optimiser, schedule = _optimiser(weights, recipe)
    curve: list[tuple[float, float]] = []
    for _ in range(recipe.steps):
        x = batch(recipe.batch)
        targets = (statistics(x, recipe.grid) - centre) / scale
        hidden = clumps(recipe.batch, recipe.grid, recipe.hidden, generator)
        blank = hidden.repeat_interleave(recipe.cell, 1).repeat_interleave(recipe.cell, 2)
        with autocast("bf16", "cpu"):
            outputs = encoder(x.masked_fill(blank[:, None], 0)[:, order])  # 0 is the world's mean colour
            losses = heads.losses(cells_of(outputs, spec, recipe.grid), targets, hidden.flatten(1))
        optimiser.zero_grad(set_to_none=True)
        torch.stack([loss for loss in losses if loss is not None]).sum().backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        curve.append((losses[0].item(), losses[1].item() if losses[1] is not None else float("nan")))
    return Learnt(encoder.eval(), mean, std, _rows(curve), time.process_time() - began)


def _check(images: Sequence[Tensor], bands: int, side: int) -> None:
    for image in images:
        if len(image) != bands or min(image.shape[1:]) < side:
            raise ValueError(
                f"images: got {list(image.shape)}; expected {bands} bands and at least {side} px a side"
            )


def _optimiser(weights: list[nn.Parameter], recipe: Recipe) -> tuple[torch.optim.AdamW, OneCycleLR]:
    """AdamW with one cycle of its rate: a tenth of the steps up, the others down."""
    optimiser = torch.optim.AdamW(
        weights, recipe.learning_rate, betas=(0.9, 0.95), weight_decay=recipe.weight_decay
    )
    schedule = OneCycleLR(
        optimiser,
        recipe.learning_rate,
        total_steps=recipe.steps,
        pct_start=0.1,
        div_factor=20,
        final_div_factor=50,
    )
    return optimiser, schedule


def _rows(curve: Sequence[tuple[float, float]]) -> list[dict[str, float | None]]:
    rows: list[dict[str, float | None]] = []
    for start in range(0, len(curve), EVERY):
        part = np.array(curve[start : start + EVERY])
        visible, hidden = (round(float(v), 4) for v in part.mean(axis=0))
        rows.append(
            {"step": start + len(part), "visible": visible, "hidden": None if np.isnan(hidden) else hidden}
        )
    return rows


# Storing.

CODE = "wusu_lib.training.pretraining:images_of,pretrain,store"  # what makes the weights of a miniature


def store(name: str, seed: int, learnt: Learnt) -> None:
    """Write the weights of a miniature and the record of how they were made, where ``build`` finds them."""
    recipe = RECIPES[name]
    path = miniature_file(name)
    path.parent.mkdir(exist_ok=True)
    with files.replacing(path) as draft:
        save_file(as_stored(learnt.encoder.state_dict()), draft)
    record = {
        "file": path.name,
        "hash": provenance.content_hash(path),
        "bytes": path.stat().st_size,
        **statistics_of_bands(learnt),
        "recipe": asdict(recipe),
        "world": {**asdict(COUNTRY), "places": PLACES, "side": SIDE, "first seed": FIRST_PLACE},
        "seed": seed,
        "loss": learnt.loss,
        "seconds": round(learnt.seconds),
        "code": {**provenance.code((CODE,)), "wusu_lib.synthetic": fingerprint()},
        "versions": provenance.versions(("torch", "terratorch", "timm", "numpy", "scipy")),
        "arithmetic": provenance.arithmetic(),
    }
    files.write_json(miniature_record(name), record)


def statistics_of_bands(learnt: Learnt) -> dict[str, list[float]]:
    """Mean and deviation [4] of the world's images in B, G, R, NIR; a missing NIR has the others' means."""
    found = {}
    for name, values in (("mean", learnt.mean), ("std", learnt.std)):
        filled = (
            [*values.tolist(), float(values.mean())] if len(values) < len(DATA_BANDS) else values.tolist()
        )
        found[name] = [round(value, 5) for value in filled]
    return found


def make(names: Sequence[str], seed: int = 0) -> None:
    """Pre-train and store miniatures. Raises ValueError naming the known ones for another name."""
    unknown = [name for name in names if name not in RECIPES]
    if unknown:
        raise ValueError(f"miniature: got {', '.join(unknown)}; known: {', '.join(RECIPES)}")
    for name in names:
        learnt = pretrain(RECIPES[name], images_of(RECIPES[name].sensor), seed)
        store(name, seed, learnt)
        last = learnt.loss[-1]
        sys.stdout.write(
            f"{name}: {learnt.seconds:.0f} s, visible {last['visible']}, hidden {last['hidden']}\n"
        )


# What it is worth: a frozen pre-trained encoder against frozen random ones, on a city of its own.

JUDGED_CITY = 11  # seed of a city that no experiment uses
HEIGHT, LEARNT_WIDTH, JUDGED_WIDTH = 2048, 448, 1024  # m: the left part is learnt from, the right one judged
LEARNT_HEIGHT = 576
PATCH, BLOCK = 128, 256  # m
STEPS, BATCH, RATE, DECAY = 216, 8, 2e-3, 1e-3


@dataclass(frozen=True)
class JudgedCity:
    """Images uint8 [N, 4, 128, 128] and train ids int64 [N, 128, 128], to learn from and to be judged by.

    ``mean`` and ``std`` [4] are of the images that are learnt from, on the scale 0 to 1. ``blocks``: the
    block of 256 m of each judged image.
    """

    learnt: tuple[Tensor, Tensor]
    judged: tuple[Tensor, Tensor]
    mean: Tensor
    std: Tensor
    blocks: np.ndarray


def judged_city(seed: int = JUDGED_CITY) -> JudgedCity:
    """Two areas at three dates: 288 half-overlapping images to learn from, 768 in 64 blocks to be judged."""
    shape = (HEIGHT, LEARNT_WIDTH + JUDGED_WIDTH)
    path = files.cache_folder() / f"judged_{fingerprint(shape, seed)}.npz"
    stored = files.kept(path, _stored_scenes, partial(_make_scenes, shape, seed))
    areas, images = stored["areas"], stored["images"]
    codes = ELEVEN.train_id_from_index(index_from_code(stored["codes"]))
    half, width = PATCH // 2, LEARNT_WIDTH + JUDGED_WIDTH
    overlapping = list(product(range(0, LEARNT_HEIGHT - half, half), range(0, LEARNT_WIDTH - half, half)))
    apart = list(product(range(0, HEIGHT, PATCH), range(LEARNT_WIDTH, width, PATCH)))
    learnt = _cut(images, overlapping), _cut(codes, overlapping).long()
    blocks = [f"{a}/0/{y // BLOCK}_{(x - LEARNT_WIDTH) // BLOCK}" for a in areas for y, x in apart]
    mean, std = moments([image.float() / 255 for image in learnt[0]])
    return JudgedCity(learnt, (_cut(images, apart), _cut(codes, apart).long()), mean, std, np.array(blocks))


def _stored_scenes(path: Path) -> dict[str, np.ndarray] | None:
    return dict(np.load(path)) if path.is_file() else None


def _make_scenes(shape: tuple[int, int], seed: int, path: Path) -> dict[str, np.ndarray]:
    """Both areas at their three dates: "areas" [6], "images" [6, 4, H, W], "codes" [6, H, W]."""
    exposures = [(area, exposure) for area in ("HS", "JA") for exposure in expose(area, shape, seed)]
    scenes = {
        "areas": np.array([area for area, _ in exposures]),
        "images": np.stack([exposure.image for _, exposure in exposures]),
        "codes": np.stack([exposure.codes for _, exposure in exposures]),
    }
    with files.replacing(path) as draft, draft.open("wb") as file:
        np.savez(file, areas=scenes["areas"], images=scenes["images"], codes=scenes["codes"])
    return scenes


def _cut(scenes: np.ndarray, corners: Sequence[tuple[int, int]]) -> Tensor:
    """Patches of scenes [S, ..., H, W] at corners (y, x), scene by scene: [N, ..., 128, 128]."""
    parts = [scene[..., y : y + PATCH, x : x + PATCH] for scene in scenes for y, x in corners]
    return torch.from_numpy(np.stack(parts))


def frozen(backbone: str, weights: str, bands: Bands, city: JudgedCity, seed: int) -> np.ndarray:
    """Train FPN on the frozen encoder; confusion matrices of the judged images, int64 [N, 12, 12].

    Images are normalised with the city's own statistics. AdamW, one cycle, flips, bfloat16 where it is fast.
    """
    model = build(
        backbone, "fpn", weights=weights, outputs=ELEVEN.outputs, image_size=PATCH, seed=seed, bands=bands
    )
    model.freeze_encoder()
    optimiser = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], RATE, weight_decay=DECAY
    )
    schedule = OneCycleLR(optimiser, RATE, total_steps=STEPS)
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    order = np.concatenate([rng.permutation(len(city.learnt[0])) for _ in range(STEPS)])[: STEPS * BATCH]
    model.train()
    for chosen in order.reshape(STEPS, BATCH):
        axes = [axis for axis in (-1, -2) if rng.integers(2)]
        images, masks = (x[chosen].flip(axes) for x in city.learnt)
        with autocast("bf16", "cpu"):
            logits = model(_normalised(images, city))
        total, pixels = pixel_loss(logits, masks)
        optimiser.zero_grad(set_to_none=True)
        (total / max(pixels, 1)).backward()
        optimiser.step()
        schedule.step()
    return _judged(model.eval(), city)


def _normalised(images: Tensor, city: JudgedCity) -> Tensor:
    return (images.float() / 255 - city.mean.view(-1, 1, 1)) / city.std.view(-1, 1, 1)


def _judged(model: nn.Module, city: JudgedCity) -> np.ndarray:
    images, masks = city.judged
    found = []
    for start in range(0, len(images), 16):
        part = slice(start, start + 16)
        with torch.no_grad(), autocast("bf16", "cpu"):
            predicted = model(_normalised(images[part], city)).argmax(dim=1)
        pairs = zip(masks[part].numpy(), predicted.numpy(), strict=True)
        found += [confusion(*(ELEVEN.index_from_train_id(ids) for ids in pair)) for pair in pairs]
    return np.stack(found)


DECODER_SEEDS = (0, 1, 2)


def counted(backbone: str, weights: str, bands: Bands, city: JudgedCity) -> np.ndarray:
    """Counts behind mIoU of one frozen encoder, a decoder a seed: [seeds, blocks, 3, 11]."""
    of = measure("mIoU")
    found = [frozen(backbone, weights, bands, city, seed) for seed in DECODER_SEEDS]
    return np.stack([by_block(of.counts(matrices), city.blocks) for matrices in found])


def difference(encoder: np.ndarray, against: np.ndarray, city: JudgedCity) -> dict[str, str | float]:
    """Mean IoU of two frozen encoders (as ``counted``), and the first less the second.

    The interval covers ground and seeds of the decoder (``comparison.paired``), not the seed of the
    pre-training.
    """
    of = measure("mIoU")
    sides = {"mIoU": encoder, "mIoU against": against}
    names = tuple(np.unique(city.blocks).tolist())
    found = paired(BlockCounts(np.stack(list(sides.values())), names, len(city.blocks)), of)
    scores = {side: of.score(counts.sum(axis=1)) for side, counts in sides.items()}
    return {
        **{side: " ".join(f"{score:.4f}" for score in each) for side, each in scores.items()},
        **{"gain": round(found.value, 4), "low": round(found.low, 4), "high": round(found.high, 4)},
    }


def bands_judged(recipe: Recipe) -> tuple[Bands, ...]:
    """The bands that an encoder learnt from; also all four, where infrared's filter is a mean of others."""
    return (recipe.bands,) if recipe.bands == "all" else (recipe.bands, "all")


ABOUT = ["miniature", "seed", "bands", "against"]  # what one row of the figures is about


def record_gains(names: Sequence[str]) -> None:
    """Measure the published weights against random ones and keep the figures beside them."""
    city = judged_city()
    for name in names:
        backbone, record = RECIPES[name].backbone, recorded_miniature(name)
        for bands in bands_judged(RECIPES[name]):
            pretrained, random = (counted(backbone, w, bands, city) for w in ("pretrained", "random"))
            found = difference(pretrained, random, city)
            _keep((name, record["seed"], bands, "random"), record["hash"], found)


def record_spread(names: Sequence[str], seeds: Sequence[int] = (1, 2)) -> None:
    """Pre-train with other seeds, measure that and keep the figures; the weights are thrown away."""
    city = judged_city()
    for name in names:
        recipe = RECIPES[name]
        random = counted(recipe.backbone, "random", recipe.bands, city)
        for seed in seeds:
            content, counts = _pretrained_anew(recipe, seed, recipe.bands, city)
            _keep((name, seed, recipe.bands, "random"), content, difference(counts, random, city))


def record_costs(names: Sequence[str]) -> None:
    """Measure the published weights against ones that learnt without a shift; those are thrown away."""
    city = judged_city()
    for name in sorted(WITHOUT_SHIFT.keys() & set(names)):
        recipe, record = RECIPES[name], recorded_miniature(name)
        published = counted(recipe.backbone, "pretrained", "all", city)
        for what, sensor in WITHOUT_SHIFT[name].items():
            unshifted = replace(recipe, sensor=sensor)
            _, counts = _pretrained_anew(unshifted, record["seed"], "all", city)
            _keep((name, record["seed"], "all", what), record["hash"], difference(published, counts, city))


def _pretrained_anew(recipe: Recipe, seed: int, bands: Bands, city: JudgedCity) -> tuple[str, np.ndarray]:
    """Content hash of weights made by a recipe, as a file would hold them, and what ``counted`` gives."""
    learnt = pretrain(recipe, images_of(recipe.sensor), seed)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_file(as_stored(learnt.encoder.state_dict()), path)
        return provenance.content_hash(path), counted(recipe.backbone, str(path), bands, city)


def _keep(about: tuple[str, int, str, str], content: str, figures: dict[str, str | float]) -> None:
    """Put a row into the table of figures; an earlier one about the same is replaced."""
    row = {**dict(zip(ABOUT, about, strict=True)), "hash": content, **figures}
    kept = [pd.read_csv(FROZEN)] if FROZEN.is_file() else []
    every = pd.concat([*kept, pd.DataFrame([row])]).drop_duplicates(ABOUT, keep="last")
    with files.replacing(FROZEN) as draft:
        every.sort_values(ABOUT).to_csv(draft, index=False)
    sys.stdout.write(f"{row}\n")


COMMANDS = {"make": make, "gains": record_gains, "spread": record_spread, "costs": record_costs}

if __name__ == "__main__":
    torch.set_num_threads(1)
    command, *asked = sys.argv[1:]
    COMMANDS[command](asked or list(RECIPES))
