"""Low-rank adaptation (LoRA, arXiv 2106.09685) of a transformer encoder through peft. Imports peft when used.

Every attention layer's query-key-value and output projection W gets a product B A of rank r beside it; only A
and B are trained. The product is added with scaling 1 (peft's alpha / r with alpha = r), so that W + B A is
all there is to a merged layer. B starts at 0: the adapted model starts as the one that it adapts.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wusu_lib.models.segmentation import SegmentationModel

# As peft reads it, over the whole name of a module: qkv and proj of Prithvi, DINOv2 and DINOv3, to_qkv and
# to_out of Clay. Patch embeddings have a proj too, but no attention before it.
ATTENTION = r".*\.attn\.(qkv|proj)|.*\.layers\.\d+\.0\.(to_qkv|to_out)"


def add_lora(model: "SegmentationModel", rank: int = 16, seed: int = 0) -> "SegmentationModel":
    """Give the model's encoder adapters of ``rank`` and freeze the rest of it; the same model is returned.

    The encoder stays in eval mode through training, as a frozen one; neck, decoder and head are trained
    besides. Adapters are drawn from a generator of ``seed``; torch's global state is left as it was. Raises
    ValueError for a rank below 1, for an encoder without attention layers (a ResNet), and for one that has
    adapters already.
    """
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    from wusu_lib.models.tapped import encoder_name

    if rank < 1:
        raise ValueError(f"rank: got {rank}; expected at least 1, for instance 16")
    names = [name for name, _ in model.encoder.named_modules()]
    if any(".lora_" in name for name in names):
        raise ValueError("the encoder has LoRA adapters already; build the model anew")
    if not any(re.fullmatch(ATTENTION, name) for name in names):
        raise ValueError(
            f"LoRA adapts attention layers and {encoder_name(model.encoder)} has none; use "
            'adaptation="full", "differential" or "frozen"'
        )
    model.freeze_encoder()
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=ATTENTION, lora_dropout=0.0, bias="none")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model.encoder)
    model.train(model.training)
    return model
