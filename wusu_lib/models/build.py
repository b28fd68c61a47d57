"""Builds a model through TerraTorch's factory: encoder, necks, decoder, head. Imports TerraTorch.

Also a table of a model's parts with their sizes. Names and combinations are checked by ``catalogue``.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor, nn

from wusu_lib.models import terratorch_parts  # noqa: F401 (before any encoder: torch rounds alike for all)
from wusu_lib.models.arithmetic import embed_linearly
from wusu_lib.models.catalogue import check, find
from wusu_lib.models.decoders import DECODERS, canonical
from wusu_lib.models.indices import Filters
from wusu_lib.models.mask2former import ClassScores, SetSegmentationModel
from wusu_lib.models.segmentation import SegmentationModel, SiameseModel, SpectralIndices, widen
from wusu_lib.models.spec import DATA_BANDS, Bands, Scale, check_weights, checkpoint_path
from wusu_lib.models.terratorch_parts import (
    MODEL_FACTORY_REGISTRY,
    TERRATORCH_NECK_REGISTRY,
    LearnedInterpolateToPyramidal,
    Neck,
)
from wusu_lib.models.weights import encoder_name, load_checkpoint, published_file

# Necks that TerraTorch lacks, in its neck registry. Imports TerraTorch: loaded only where a model is built.
#
# A neck takes and gives a list of maps [B, C, H, W]; ``process_channel_list`` gives the channels of its
# output.


@TERRATORCH_NECK_REGISTRY.register
class TokensToMaps(Neck):
    """Token sequences [B, prefix + h*w, C] to maps [B, C, h, w], without the prefix tokens.

    TerraTorch's ReshapeTokensToImage guesses a square grid whenever the number of tokens is a square (a 4 x
    16 grid becomes 8 x 8, scrambled) and knows one prefix token only. Here the grid follows from the image's
    size. On a GPU the maps lie in memory as written: as a view of the tokens they have the channels last, and
    cuDNN refuses the atrous depthwise convolutions of DeepLabV3+ on such maps in bfloat16.
    """

    def __init__(self, channel_list: list[int], patch: int, prefix_tokens: int) -> None:
        super().__init__(channel_list)
        self.patch = patch
        self.prefix_tokens = prefix_tokens

    def forward(self, features: list[Tensor], image_size: tuple[int, int]) -> list[Tensor]:
        grid = (image_size[0] // self.patch, image_size[1] // self.patch)
        maps = [x[:, self.prefix_tokens :].transpose(1, 2).unflatten(2, grid) for x in features]
        return [each.contiguous() if each.is_cuda else each for each in maps]

    def process_channel_list(self, channel_list: list[int]) -> list[int]:
        return channel_list


@TERRATORCH_NECK_REGISTRY.register
class ProjectChannels(Neck):
    """A 1 x 1 convolution for each map, to the given channels."""

    def __init__(self, channel_list: list[int], channels: list[int]) -> None:
        super().__init__(channel_list)
        self.channels = channels
        self.projections = nn.ModuleList(
            nn.Conv2d(have, want, kernel_size=1) for have, want in zip(channel_list, channels, strict=True)
        )

    def forward(self, features: list[Tensor], **_: object) -> list[Tensor]:
        return [project(x) for project, x in zip(self.projections, features, strict=True)]

    def process_channel_list(self, channel_list: list[int]) -> list[int]:
        return list(self.channels)


def _bilinear(factor: int) -> nn.Upsample:
    return nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=False)


@TERRATORCH_NECK_REGISTRY.register
class SkipAndContext(Neck):
    """Two maps to the five that smp's DeepLabV3Plus expects: [skip, skip, skip, context, context].

    The decoder reads the third map as its skip, at four times the resolution of the last, which its atrous
    pyramid reads. It projects the skip to 48 channels itself. ``enlarge`` says how the two come to differ
    fourfold:

    - "learn": the skip by the first branch of TerraTorch's LearnedInterpolateToPyramidal (two transposed
      convolutions), which unlike interpolation can tell apart what lies inside one patch. Its other branches
      would never be read.
    - "resize": the skip by bilinear interpolation.
    - "context": the maps come with eight times between them (strides 4 and 32): the context is doubled.
    """

    def __init__(self, channel_list: list[int], enlarge: Literal["learn", "resize", "context"]) -> None:
        super().__init__(channel_list)
        skip, self.context_channels = channel_list
        learnt = enlarge == "learn"
        self.skip_channels = skip // 4 if learnt else skip
        self.skip_path: nn.Module = nn.Identity()
        self.context_path: nn.Module = nn.Identity()
        if enlarge == "context":
            self.context_path = _bilinear(2)
        else:
            self.skip_path = LearnedInterpolateToPyramidal([skip] * 4).fpn1 if learnt else _bilinear(4)

    def forward(self, features: list[Tensor], **_: object) -> list[Tensor]:
        skip, context = self.skip_path(features[0]), self.context_path(features[1])
        return [skip, skip, skip, context, context]

    def process_channel_list(self, channel_list: list[int]) -> list[int]:
        return [self.skip_channels] * 3 + [self.context_channels] * 2


@TERRATORCH_NECK_REGISTRY.register
class LeadWithSize(Neck):
    """Puts a map of zeros [B, 1, 4h, 4w] before the maps, the first of which is [B, C, h, w].

    smp's Segformer decoder makes all maps a quarter of the first one's size and reads nothing else of it.
    The zeros take no memory.
    """

    def forward(self, features: list[Tensor], **_: object) -> list[Tensor]:
        batch, _channels, height, width = features[0].shape
        size = features[0].new_zeros(1).expand(batch, 1, 4 * height, 4 * width)
        return [size, *features]

    def process_channel_list(self, channel_list: list[int]) -> list[int]:
        return [1, *channel_list]


class PooledBatchNorm(nn.BatchNorm2d):
    """Batch normalisation that accepts one value a channel: it then uses the running statistics.

    The image-level branch of an atrous pyramid normalises maps of 1 x 1 px; ordinary batch normalisation
    refuses to train on a batch of one image there, which is what the last, incomplete batch of an epoch can
    be.
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.numel() > input.shape[1]:
            return super().forward(input)
        return nn.functional.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )


def accept_single_images(decoder: nn.Module) -> None:
    """Put ``PooledBatchNorm`` in place of batch normalisation behind every average pooling of a decoder."""
    for module in decoder.modules():
        pooled = isinstance(module, nn.Sequential) and any(
            isinstance(m, nn.AdaptiveAvgPool2d) for m in module
        )
        for parent in list(module.modules()) if pooled else []:
            for name, child in parent.named_children():
                if type(child) is nn.BatchNorm2d:
                    replacement = PooledBatchNorm(child.num_features, eps=child.eps, momentum=child.momentum)
                    setattr(parent, name, replacement)


# Builds the encoder of a backbone and fills it. Imports TerraTorch.


def build_encoder(backbone: str, scale: Scale, weights: str, bands: Bands = "all") -> nn.Module:
    """The encoder of a backbone with its weights; random ones are drawn from torch's global generator.

    Its forward takes images [B, bands, H, W] (those of ``BackboneSpec.reads``, in that order) and gives what
    ``BackboneSpec.output`` says. Raises ValueError and FileNotFoundError as ``check_weights`` does, and
    ValueError where a checkpoint does not match, or a miniature's file its record.
    """
    spec = find(backbone)
    check_weights(weights, backbone, scale, spec.miniature)
    # Asked first: it fails at once.
    file = published_file(spec, scale) if weights == "pretrained" else None
    encoder = spec.encoder(scale)
    built = encoder.builder(spec.reads(bands)[0], **encoder.arguments)
    embed_linearly(built)
    if weights not in ("pretrained", "random"):
        file = checkpoint_path(weights, backbone)
    if file is not None:
        load_checkpoint(built, spec, bands, file)
    return built


# Puts encoder, necks, decoder and head together through TerraTorch's factory. Imports TerraTorch.


def assemble(
    backbone: str,
    decoder: str,
    scale: Scale,
    weights: str,
    outputs: int,
    seed: int,
    bands: Bands,
    skip_block: int,
    indices: Sequence[str] = (),
    index_filters: Filters = "zero",
    head_dropout: float = 0.0,
    decoder_width: float = 1.0,
) -> SegmentationModel:
    """The model of a backbone and a decoder (canonical names). torch's global random state is left as it was.

    Encoder and decoder draw from generators of their own, so that the decoder starts the same whatever fills
    the encoder.
    """
    spec, decoder_spec = find(backbone), DECODERS[decoder]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = build_encoder(backbone, scale, weights, bands)
        torch.manual_seed(seed + 1)
        parts = MODEL_FACTORY_REGISTRY.build("EncoderDecoderFactory").build_model(
            task="segmentation",
            backbone=encoder,
            necks=decoder_spec.necks(spec, scale, skip_block),
            decoder=decoder_spec.registry,
            decoder_kwargs=decoder_spec.arguments(scale, decoder_width),
            num_classes=outputs,
            **({"head_dropout": head_dropout} if head_dropout else {}),
        )
        if indices:  # last, so that everything else starts as without them
            first = str(spec.filters).removesuffix(".weight")
            widen(parts.encoder, first, len(indices), index_filters)
            embed_linearly(parts.encoder)
    accept_single_images(parts.decoder)
    model = SetSegmentationModel if decoder_spec.set_loss else SegmentationModel
    return model(
        parts.encoder,
        parts.neck,
        parts.decoder,
        ClassScores() if decoder_spec.set_loss else parts.head,
        band_order=spec.reads(bands)[1],
        size_multiple=decoder_spec.size_multiple(spec, scale),
        repeatable=decoder_spec.repeatable,
        indices=SpectralIndices(indices) if indices else None,
    )


# Backbones and decoders by name, assembled through TerraTorch. Cheap to import; building a model is not.


def build(
    backbone: str,
    decoder: str,
    *,
    scale: Scale = "demo",
    weights: str = "random",
    outputs: int = 11,
    image_size: int = 512,
    seed: int = 0,
    bands: Bands = "all",
    skip_block: int = 0,
    indices: Sequence[str] = (),
    index_filters: Filters = "zero",
    head_dropout: float = 0.0,
    decoder_width: float = 1.0,
) -> "SegmentationModel":
    """A model from images [B, 4, H, W] (bands B, G, R, NIR, normalised) to logits [B, outputs, H, W].

    ``weights``: "pretrained" (the hub's; at demo scale the miniature's own), "random", or the path of a
    checkpoint file (published, or a model stored by this library) or of a folder that holds ``<backbone>``
    with the suffix .safetensors, .pt, .pth or .ckpt. ``bands``: "all", or "rgb", where NIR is left out and
    the encoder is built for three bands. ``skip_block``: the transformer block, counted from 1, whose output
    DeepLabV3+ takes for its skip; 0 = the backbone's usual one. ``indices``: spectral indices that the first
    layer reads beside the bands, by filters that start as ``index_filters`` says (``FirstLayer``); their
    statistics are still to be filled in. ``head_dropout``: before the last layer; not for Mask2Former.
    ``decoder_width``: what the decoder's numbers of channels are multiplied by. Everything that starts at
    random is a function of ``seed``. ``image_size`` (px) is checked here so that a size that cannot be padded
    fails early; the model itself accepts any other size later, since position embeddings are interpolated.

    Raises ValueError and FileNotFoundError as ``check`` does, FileNotFoundError if the hub cannot be reached,
    and ValueError naming the keys where a checkpoint does not match the encoder.
    """
    check(backbone, decoder, scale, weights, bands, skip_block, indices=indices)
    if outputs < 2:
        raise ValueError(f"outputs: got {outputs}; a segmentation needs at least 2 classes")

    model = assemble(
        backbone,
        canonical(decoder),
        scale,
        weights,
        outputs,
        seed,
        bands,
        skip_block,
        indices,
        index_filters,
        head_dropout,
        decoder_width,
    )
    model.check_size(image_size, image_size)
    return model


def describe(model: "SegmentationModel", image_size: int) -> "pd.DataFrame":
    """A table of the model's parts and their sizes, for images of ``image_size`` px a side.

    Columns: part, module, parameters, trainable, output shape.
    """

    return parts_table(model, image_size)


# A table of a model's parts with their sizes, for the notebooks.

COLUMNS = ["part", "module", "parameters", "trainable", "output shape"]


def parts_table(model: SegmentationModel, image_size: int) -> pd.DataFrame:
    """One row a part: module, parameters, those that are trained, shape of the output (without batch).

    The shapes are those of one square image of ``image_size`` px, run through the model in eval mode without
    gradients.
    """
    shapes = _output_shapes(model, image_size)
    left, right, top, bottom = model.padding(image_size, image_size)
    channels = len(model.band_order) + (0 if model.indices is None else len(model.indices.names))
    padded = f"{channels} x {image_size + top + bottom} x {image_size + left + right}"
    rows = [("input", f"bands in the encoder's order, padded from {image_size} px", 0, 0, padded)]
    parts = {"encoder": model.encoder, **{f"neck {i}": m for i, m in enumerate(model.neck)}}
    for name, module in {**parts, "decoder": model.decoder, "head": model.head}.items():
        rows.append((name, encoder_name(module), *_parameters(module), shapes[name]))
    rows.append(("total", type(model).__name__, *_parameters(model), shapes["total"]))
    return pd.DataFrame(rows, columns=COLUMNS)


def _parameters(module: nn.Module) -> tuple[int, int]:
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, trainable in sizes if trainable)


def _output_shapes(model: SegmentationModel, image_size: int) -> dict[str, str]:
    """Shapes of what each part gives, recorded by hooks on one forward pass."""
    shapes: dict[str, str] = {}
    named = {"encoder": model.encoder, "decoder": model.decoder, "head": model.head, "total": model}
    named |= {f"neck {i}": m for i, m in enumerate(model.neck)}
    hooks = [module.register_forward_hook(_recorder(shapes, name)) for name, module in named.items()]
    modes = {module: module.training for module in model.modules()}
    parameter = next(model.parameters())
    try:
        model.eval()
        with torch.no_grad():
            model(torch.zeros(1, len(DATA_BANDS), image_size, image_size, device=parameter.device))
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    return shapes


def _recorder(shapes: dict[str, str], name: str) -> Callable[[nn.Module, Any, Any], None]:
    def record(_module: nn.Module, _inputs: Any, output: Any) -> None:
        shapes[name] = _shape(output)

    return record


def _shape(output: Any) -> str:
    """The sizes of a map, as in 64 x 32 x 32; of a list one a map, equal neighbours counted."""
    if isinstance(output, torch.Tensor):
        return " x ".join(str(n) for n in output.shape[1:])
    shapes = [_shape(item) for item in output]
    runs: list[tuple[str, int]] = []
    for shape in shapes:
        if runs and runs[-1][0] == shape:
            runs[-1] = (shape, runs[-1][1] + 1)
        else:
            runs.append((shape, 1))
    return ", ".join(shape if count == 1 else f"{count} of {shape}" for shape, count in runs)


# A table of the siamese network's parts with their sizes, for the notebooks.


def siamese_parts(model: SiameseModel, image_size: int) -> pd.DataFrame:
    """Columns and rows as of ``describe``; the shapes are those of one date of a square pair.

    "head" gives the classes of a date and is there for semantic change only; "change", the change head, reads
    the decoder's maps of both dates.
    """
    shared = describe(model.base, image_size)
    kept = shared[(shared["part"] != "total") & ((shared["part"] != "head") | (model.method == "scd"))]
    grid = shared.loc[shared["part"] == "decoder", "output shape"].item().split(" x ", 1)[1]
    rows = [
        ("change", f"head on the {model.fusion} of two dates", *_sizes(model.change_head), f"1 x {grid}"),
        ("total", type(model).__name__, *_sizes(model), f"1 x {image_size} x {image_size}"),
    ]
    return pd.concat([kept, pd.DataFrame(rows, columns=list(shared))], ignore_index=True)


def _sizes(module: nn.Module) -> tuple[int, int]:
    """Parameters, and those of them that are trained."""
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained)
