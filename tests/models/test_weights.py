"""Weights: names, local checkpoints of every kind, and what a checkpoint that does not match says."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from wusu_lib.models import build, weights

KEY = "patch_embed.proj.weight"


@pytest.fixture(scope="module")
def trained():
    """A model whose weights differ from those that seed 0 gives."""
    return build.build("prithvi_300m", "unet", seed=3)


@pytest.fixture
def encoder_state(trained):
    return {key: value.clone() for key, value in trained.encoder.state_dict().items()}


def mae(encoder_state):
    """The same encoder as a Prithvi MAE checkpoint: six bands, prefixes, a decoder, other position tables."""
    filters = encoder_state[KEY]
    swir = torch.full((filters.shape[0], 2, *filters.shape[2:]), 9.0)
    state = {**encoder_state, KEY: torch.cat([filters, swir], dim=1), "pos_embed": torch.zeros(1, 785, 96)}
    state = {f"encoder.{key}": value for key, value in state.items()}
    return {
        **state,
        "decoder.mask_token": torch.zeros(1, 1, 512),
        "decoder.decoder_pred.bias": torch.zeros(7),
    }


def assert_loaded(path, encoder_state):
    loaded = build.build("prithvi_300m", "unet", weights=str(path)).encoder.state_dict()
    assert all(torch.equal(loaded[key], encoder_state[key]) for key in loaded)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt"])
def test_mae_checkpoint_gives_the_four_bands_by_name(tmp_path, encoder_state, suffix):
    path = tmp_path / f"prithvi{suffix}"
    torch.save(mae(encoder_state), path)
    assert_loaded(path, encoder_state)


def test_folder_and_safetensors(tmp_path, encoder_state):
    save_file(encoder_state, tmp_path / "prithvi_300m.safetensors")
    assert_loaded(tmp_path, encoder_state)


def test_stored_model_and_nested_state(tmp_path, trained, encoder_state):
    torch.save({"epoch": 3, "state_dict": trained.state_dict()}, tmp_path / "run.ckpt")
    assert_loaded(tmp_path / "run.ckpt", encoder_state)


def test_a_model_of_three_bands_can_start_one_of_four_and_the_other_way_round(tmp_path, encoder_state):
    """By the bands' names: NIR's filter is the mean of the colours' where there is none, or is left out."""
    save_file(encoder_state, tmp_path / "four.safetensors")
    four = build.build("prithvi_300m", "unet", weights=str(tmp_path / "four.safetensors"), bands="rgb")
    colours = encoder_state[KEY][:, :3]
    assert torch.equal(four.encoder.state_dict()[KEY], colours)
    save_file({**encoder_state, KEY: colours.contiguous()}, tmp_path / "three.safetensors")
    three = build.build("prithvi_300m", "unet", weights=str(tmp_path / "three.safetensors"))
    found = three.encoder.state_dict()[KEY]
    assert torch.equal(found[:, :3], colours)
    torch.testing.assert_close(found[:, 3], colours.mean(dim=1))


@pytest.mark.parametrize("name", ["dinov3_sat_large", "clay", "resnet50"])
def test_a_stored_model_of_every_family_can_start_another(tmp_path, name):
    stored = build.build(name, "fpn", image_size=64, seed=3)
    save_file(stored.state_dict(), tmp_path / f"{name}.safetensors")
    found = build.build(name, "fpn", image_size=64, weights=str(tmp_path)).encoder.state_dict()
    assert all(torch.equal(found[key], value) for key, value in stored.encoder.state_dict().items())


def test_clays_own_checkpoint_has_its_encoder_inside_a_larger_model(tmp_path):
    encoder = build.build("clay", "linear", image_size=64, seed=3).encoder.state_dict()
    whole = {f"model.encoder.{key}": value for key, value in encoder.items()}
    torch.save({"state_dict": {**whole, "model.decoder.mask_patch": torch.zeros(3)}}, tmp_path / "clay.ckpt")
    found = build.build("clay", "linear", image_size=64, weights=str(tmp_path)).encoder.state_dict()
    assert all(torch.equal(found[key], encoder[key]) for key in encoder)


def test_a_classifier_is_left_out_of_a_cnns_checkpoint(tmp_path):
    """Keys as in the published files: the network's own, with its last layer."""
    encoder = build.build("resnet50", "fpn", image_size=64, seed=3).encoder
    state = {**encoder.inner.state_dict(), "fc.weight": torch.zeros(2, 2), "fc.bias": torch.zeros(2)}
    save_file(state, tmp_path / "resnet50.safetensors")
    found = build.build("resnet50", "fpn", image_size=64, weights=str(tmp_path)).encoder.state_dict()
    assert all(torch.equal(found[key], value) for key, value in encoder.state_dict().items())


def test_decoder_starts_the_same_whatever_fills_the_encoder(tmp_path, encoder_state):
    torch.save(encoder_state, tmp_path / "a.pt")
    random = build.build("prithvi_300m", "unet").state_dict()
    loaded = build.build("prithvi_300m", "unet", weights=str(tmp_path / "a.pt")).state_dict()
    rest = [key for key in random if not key.startswith("encoder.")]
    assert all(torch.equal(random[key], loaded[key]) for key in rest)


def test_partial_checkpoint_is_refused_with_the_keys(tmp_path, encoder_state):
    del encoder_state["norm.weight"]
    encoder_state["blocks.0.attn.qkv.bias"] = torch.zeros(5)
    encoder_state["temporal_embed_enc.scale"] = torch.zeros(1)
    torch.save(encoder_state, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="does not match the encoder") as error:
        build.build("prithvi_300m", "unet", weights=str(tmp_path / "a.pt"))
    message = str(error.value)
    assert "1 missing: norm.weight" in message
    assert "1 unexpected: temporal_embed_enc.scale" in message
    assert "1 wrong shape: blocks.0.attn.qkv.bias [5] instead of [288]" in message


def test_long_lists_are_shortened(tmp_path, encoder_state):
    torch.save({KEY: encoder_state[KEY]}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"missing: .* and \d+ more") as error:
        build.build("prithvi_300m", "unet", weights=str(tmp_path / "a.pt"))
    assert len(str(error.value)) < 500


def test_another_backbones_checkpoint_is_refused(tmp_path, encoder_state):
    torch.save(mae(encoder_state), tmp_path / "a.pt")
    with pytest.raises(
        ValueError, match=r"wrong shape: patch_embed.proj.weight .*16, 16\] instead of .*14, 14\]"
    ):
        build.build("prithvi_600m", "unet", weights=str(tmp_path / "a.pt"))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_file_that_is_no_checkpoint(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="cannot be read"):
        build.build("prithvi_300m", "unet", weights=str(path))


class Payload:
    """Would write a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_checkpoint_cannot_run_code(tmp_path):
    torch.save({"encoder": Payload(tmp_path / "written")}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="cannot be read"):
        build.build("prithvi_300m", "unet", weights=str(tmp_path / "a.pt"))
    assert not (tmp_path / "written").exists()


def test_checkpoint_without_tensors(tmp_path):
    torch.save([1, 2], tmp_path / "a.pt")
    with pytest.raises(ValueError, match="no tensors"):
        build.build("prithvi_300m", "unet", weights=str(tmp_path / "a.pt"))


def test_unreachable_hub_fails_at_once_and_names_the_alternatives(tmp_path):
    """In a process of its own: the hub's client reads its address once, when it is imported."""
    code = (
        "import time; from wusu_lib.models.weights import require_hub_file\n"
        "start = time.monotonic()\n"
        "try: require_hub_file('ibm-nasa-geospatial/Prithvi-EO-2.0-300M', 'Prithvi_EO_V2_300M.pt')\n"
        "except FileNotFoundError as error: print(time.monotonic() - start, error)"
    )
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "PATH": ""}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    seconds, message = result.stdout.split(" ", 1)
    assert float(seconds) < 20
    assert "weights='random'" in message
    assert "path of a checkpoint" in message


def test_the_origin_of_published_weights_is_the_hubs_commit_and_the_files_hash(tmp_path, monkeypatch):
    """As the hub's client lays its cache out; SHA-256 of b"abc" starts with ba7816bf8f01cfea."""
    file = tmp_path / "snapshots" / "c0ffee" / "v1" / "clay.ckpt"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"abc")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, revision: str(file))
    assert weights.hub_origin("made/clay", "v1/clay.ckpt", "main") == {
        "repository": "made/clay",
        "file": "v1/clay.ckpt",
        "revision": "main",
        "commit": "c0ffee",
        "hash": "ba7816bf8f01cfea",
    }
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, revision: None)
    assert weights.hub_origin("made/clay", "v1/clay.ckpt", "main")["commit"] is None


def whole_numbers(state):
    return {key: value.to(torch.int64) for key, value in state.items()}


def with_value(value):
    return lambda state: {**state, KEY: torch.full_like(state[KEY], value)}


def adapted(state):
    """A layer that says it has an adapter, whose parts are not there."""
    key = "blocks.0.attn.qkv"
    rest = {name: value for name, value in state.items() if not name.startswith(key)}
    return rest | {
        f"{key}.base_layer.weight": state[f"{key}.weight"],
        f"{key}.base_layer.bias": state[f"{key}.bias"],
    }


UNFIT = {
    "whole numbers": (whole_numbers, r"does not match .* not floating point: .*torch\.int64 instead of"),
    "complex": (
        lambda state: {key: value.to(torch.complex64) for key, value in state.items()},
        r"does not match .* not floating point: .*torch\.complex64 instead of torch\.float32",
    ),
    "nan": (with_value(float("nan")), f"{KEY} holds values that are not finite"),
    "infinite": (with_value(float("-inf")), f"{KEY} holds values that are not finite"),
    "integer keys": (
        lambda state: dict(enumerate(state.values())),
        "does not match the encoder: 0 .* no plain tensor under a name",
    ),
    "filters of rank 1": (
        lambda state: {**state, KEY: state[KEY].flatten()},
        f"does not match the encoder: .*wrong shape: {KEY}",
    ),
    "sparse": (
        lambda state: {**state, KEY: state[KEY].to_sparse()},
        f"does not match the encoder: '{KEY}' .*sparse",
    ),
    "without values": (
        lambda state: {**state, KEY: state[KEY].to("meta")},
        f"does not match the encoder: '{KEY}' .*meta",
    ),
    "adapters without parts": (
        adapted,
        r"does not match the encoder: 1 missing: blocks\.0\.attn\.qkv\.weight; 1 unexpected: .*base_layer",
    ),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_tensors_that_are_no_finite_weights_are_refused_with_the_files_name(tmp_path, encoder_state, kind):
    change, message = UNFIT[kind]
    torch.save(change(encoder_state), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=rf"a\.pt.*{message}"):
        build.build("prithvi_300m", "unet", weights=str(tmp_path / "a.pt"))
