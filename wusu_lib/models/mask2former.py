"""Mask2Former's two decoders around maps of any backbone. Imports TerraTorch and transformers.

The modules are those of transformers: a pixel decoder (multi-scale deformable attention over three levels,
then one finer level) and a transformer decoder with masked attention, in which each query looks only where
its mask of the layer before is. Method: Cheng et al. 2022, arXiv 2112.01527.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
    Mask2FormerPreTrainedModel,
    Mask2FormerTransformerModule,
)

from wusu_lib.models.set_loss import Queries
from wusu_lib.models.terratorch_parts import DECODER_REGISTRY, Registry

# Decoders that predict classes themselves must stand in a source of their own: TerraTorch asks the source,
# not the decoder, whether it still wants a head.
SETS = Registry()
SETS.includes_head = True
DECODER_REGISTRY.register_source("sets", SETS)


@SETS.register
class Mask2FormerDecoder(Mask2FormerPreTrainedModel):
    """Four maps [B, C_i, H_i, W_i], each half the size of the one before, to ``Queries`` of every layer.

    The first map is the level at which masks are drawn. ``pixel_layers`` and ``layers`` are the numbers of
    layers of the two decoders, ``feedforward`` the widths of their hidden layers. A prediction is made before
    the first layer too, so there are ``layers`` + 1. ``points`` is the number of pixels of an image at which
    the masks are compared with the truth (``set_loss``).
    """

    includes_head = True  # TerraTorch asks the source only where the class has this too

    def __init__(
        self,
        embed_dim: list[int],
        num_classes: int,
        dim: int,
        heads: int,
        queries: int,
        pixel_layers: int,
        layers: int,
        feedforward: tuple[int, int],
        points: int,
    ) -> None:
        config = Mask2FormerConfig(  # type: ignore[call-arg]  # num_labels is the base class's
            num_labels=num_classes,
            feature_size=dim,
            mask_feature_size=dim,
            hidden_dim=dim,
            num_attention_heads=heads,
            num_queries=queries,
            encoder_layers=pixel_layers,
            decoder_layers=layers + 1,  # counts the prediction before the first layer
            encoder_feedforward_dim=feedforward[0],
            dim_feedforward=feedforward[1],
            train_num_points=points,
        )
        super().__init__(config)
        self.pixel_decoder = Mask2FormerPixelDecoder(config, feature_channels=list(embed_dim))
        self.transformer_module = Mask2FormerTransformerModule(in_features=dim, config=config)
        self.class_predictor = nn.Linear(dim, num_classes + 1)
        self.post_init()
        self._start()

    def _start(self) -> None:
        """Start the weights as the method's authors do.

        Transformers' start, in ``post_init``, draws convolutions and projections with a deviation of 0.02:
        meant for published weights to replace, from scratch it learns far more slowly. It is right for the
        rest, ``level_embed`` among it, which the pixel decoder by itself leaves as whatever lay in memory.
        """
        fixed = ("sampling_offsets", "attention_weights")  # these start at a pattern, not at random
        for name, module in self.pixel_decoder.named_modules():
            if isinstance(module, nn.Linear | nn.Conv2d) and not name.endswith(fixed):
                nn.init.xavier_uniform_(module.weight)
        self.class_predictor.reset_parameters()

    def forward(self, maps: Sequence[Tensor]) -> Queries:
        """The pixel decoder runs in float32: bfloat16 cannot tell apart the positions of a fine grid."""
        with torch.autocast(maps[0].device.type, enabled=False):
            pixels = self.pixel_decoder([x.float() for x in maps])
        layers = self.transformer_module(
            multi_scale_features=pixels.multi_scale_features, mask_features=pixels.mask_features
        )
        hidden = layers.intermediate_hidden_states  # one a layer, [Q, B, dim]
        classes = [self.class_predictor(x.transpose(0, 1)) for x in hidden]
        return Queries(classes, layers.masks_queries_logits)
