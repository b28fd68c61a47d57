"""The backbones by name. Cheap to import.

Figures: Prithvi-EO-2.0 (arXiv 2412.02732): 300M has 24 blocks of width 1024 and patch 16, 600M has 32 blocks
of width 1280 and patch 14; both a CLS token and bands given by name. Their statistics are reflectance x 10^4
of HLS; on the 0-1 scale of an 8-bit image they are nominal only, since WUSU holds counts, not reflectance.
DINOv3 (arXiv 2508.10104), weights of 493 million satellite images: patch 16, a CLS and four register tokens,
R,G,B. DINOv2 (arXiv 2304.07193), small: patch 14, a CLS token, R,G,B. Clay v1 base and v1.5: patch 8, a CLS
token, any bands by their wavelengths; of the sensors it was trained on NAIP is nearest (1 m, 8 bit). ResNet
(arXiv 1512.03385) with ImageNet's statistics is the baseline that is no foundation model.

Where the weights know R, G, B only, NIR is given the mean of their three means and of their three deviations,
as its filter is the mean of theirs (``loading``): an infrared band with such statistics excites the first
layer as a grey image would.

Position embeddings at other image sizes than those of the pre-training: Prithvi's fixed sine-cosine tables
and DINOv2's learnt table are interpolated to the grid at hand; DINOv3's rotary ones are computed from
coordinates that span -1 to 1 over whatever grid there is; Clay's sine-cosine ones are computed from patch
numbers times the ground sampling distance. So the image size is never passed on, and a stored model is tied
to none.
"""

from wusu_lib.models.backbones import BackboneSpec, Encoder

RGB_NIR = ("RED", "GREEN", "BLUE", "NIR")
RGB_NIR_ORDER = (2, 1, 0, 3)
# Any other name for NIR silently gets a random filter in Prithvi.
PRITHVI_BANDS = ("BLUE", "GREEN", "RED", "NIR_NARROW")
PRITHVI_MEAN = (0.1087, 0.1342, 0.1433, 0.2734)
PRITHVI_STD = (0.2248, 0.2179, 0.2178, 0.1850)
DINOV3_SAT = ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143))  # R, G, B
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # R, G, B
NAIP_MEAN = (98.15 / 255, 115.41 / 255, 110.16 / 255, 139.04 / 255)  # B, G, R, NIR
NAIP_STD = (35.43 / 255, 39.82 / 255, 47.23 / 255, 49.86 / 255)


def _with_nir(rgb: tuple[float, float, float]) -> tuple[float, ...]:
    """Values of R, G, B as those of B, G, R, NIR; NIR's is their mean."""
    return (*reversed(rgb), sum(rgb) / 3)


def _prithvi(title: str, hub: tuple[str, str], full: Encoder, demo: Encoder) -> BackboneSpec:
    return BackboneSpec(
        title=title,
        family="prithvi",
        output="tokens",
        bands=PRITHVI_BANDS,
        order=(0, 1, 2, 3),
        prefix_tokens=1,
        mean=PRITHVI_MEAN,
        std=PRITHVI_STD,
        hub=hub,
        full=full,
        demo=demo,
    )


def _dinov3(title: str, hub: tuple[str, str], full: Encoder, demo: Encoder) -> BackboneSpec:
    return BackboneSpec(
        title=title,
        family="dinov3",
        output="maps",
        bands=RGB_NIR,
        order=RGB_NIR_ORDER,
        prefix_tokens=5,
        mean=_with_nir(DINOV3_SAT[0]),
        std=_with_nir(DINOV3_SAT[1]),
        hub=hub,
        full=full,
        demo=demo,
    )


def _clay(title: str, hub: tuple[str, str], full: Encoder, demo: Encoder) -> BackboneSpec:
    return BackboneSpec(
        title=title,
        family="clay",
        output="tokens",
        bands=("BLUE", "GREEN", "RED", "NIR"),
        order=(0, 1, 2, 3),
        prefix_tokens=1,
        mean=NAIP_MEAN,
        std=NAIP_STD,
        hub=hub,
        full=full,
        demo=demo,
    )


BACKBONES: dict[str, BackboneSpec] = {
    "prithvi_300m": _prithvi(
        "Prithvi-EO-2.0 300M",
        hub=("ibm-nasa-geospatial/Prithvi-EO-2.0-300M", "Prithvi_EO_V2_300M.pt"),
        full=Encoder("prithvi_eo_v2_300", 16, 1024, 24, (5, 11, 17, 23), skip=5, arguments={"num_frames": 1}),
        demo=Encoder("prithvi_300m_miniature", 16, 96, 4, (0, 1, 2, 3), skip=0),
    ),
    "prithvi_600m": _prithvi(
        "Prithvi-EO-2.0 600M",
        hub=("ibm-nasa-geospatial/Prithvi-EO-2.0-600M", "Prithvi_EO_V2_600M.pt"),
        full=Encoder("prithvi_eo_v2_600", 14, 1280, 32, (7, 15, 23, 31), skip=7, arguments={"num_frames": 1}),
        demo=Encoder("prithvi_600m_miniature", 14, 96, 4, (0, 1, 2, 3), skip=0),
    ),
    "dinov3_sat_large": _dinov3(
        "DINOv3 ViT-L, satellite",
        hub=("timm/vit_large_patch16_dinov3.sat493m", "model.safetensors"),
        full=Encoder("dinov3_sat_large", 16, 1024, 24, (5, 11, 17, 23), skip=9),
        demo=Encoder("dinov3_miniature", 16, 96, 4, (0, 1, 2, 3), skip=1),
    ),
    "dinov3_sat_7b": _dinov3(
        "DINOv3 7B, satellite",
        hub=("timm/vit_7b_patch16_dinov3.sat493m", "model.safetensors"),
        full=Encoder("dinov3_sat_7b", 16, 4096, 40, (9, 19, 29, 39), skip=16),
        demo=Encoder("dinov3_miniature", 16, 96, 4, (0, 1, 2, 3), skip=1),
    ),
    "dinov2_small": BackboneSpec(
        title="DINOv2 ViT-S",
        family="dinov2",
        output="maps",
        bands=RGB_NIR,
        order=RGB_NIR_ORDER,
        prefix_tokens=1,
        mean=_with_nir(IMAGENET[0]),
        std=_with_nir(IMAGENET[1]),
        hub=("timm/vit_small_patch14_dinov2.lvd142m", "model.safetensors"),
        full=Encoder("dinov2_small", 14, 384, 12, (2, 5, 8, 11), skip=4),
        demo=Encoder("dinov2_miniature", 14, 96, 4, (0, 1, 2, 3), skip=1),
    ),
    "clay": _clay(
        "Clay v1 base",
        hub=("made-with-clay/Clay-legacy", "v1/clay-v1-base.ckpt"),
        full=Encoder("clay_base", 8, 768, 12, (2, 5, 8, 11), skip=2),
        demo=Encoder("clay_miniature", 8, 96, 4, (0, 1, 2, 3), skip=0),
    ),
    "clay_v15": _clay(
        "Clay v1.5 large",
        hub=("made-with-clay/Clay", "v1.5/clay-v1.5.ckpt"),
        full=Encoder("clay_large", 8, 1024, 24, (5, 11, 17, 23), skip=5),
        demo=Encoder("clay_miniature", 8, 96, 4, (0, 1, 2, 3), skip=0),
    ),
    "resnet50": BackboneSpec(
        title="ResNet-50",
        family="resnet",
        output="pyramid",
        bands=RGB_NIR,
        order=RGB_NIR_ORDER,
        prefix_tokens=0,
        mean=_with_nir(IMAGENET[0]),
        std=_with_nir(IMAGENET[1]),
        hub=("smp-hub/resnet50.imagenet", "model.safetensors"),
        full=Encoder("resnet50_stages", 32, 2048, 4, (0, 1, 2, 3), skip=0),
        demo=Encoder("resnet_miniature", 32, 256, 4, (0, 1, 2, 3), skip=0),
    ),
}


def find(backbone: str) -> BackboneSpec:
    """The entry of a backbone; ValueError naming the known ones if there is none."""
    if backbone not in BACKBONES:
        raise ValueError(f"backbone: got {backbone!r}; known: {', '.join(BACKBONES)}")
    return BACKBONES[backbone]


def expected_statistics(backbone: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean [4] and standard deviation [4] that the published weights expect, 0-1 scale, bands B, G, R, NIR.

    Prithvi: of HLS reflectance (0 to 1), taken over as if counts / 255 were reflectance. DINOv2, DINOv3,
    ResNet: NIR's are the means of those of R, G, B. Clay: NAIP's. Raises ValueError for an unknown name.
    """
    spec = find(backbone)
    return spec.mean, spec.std
