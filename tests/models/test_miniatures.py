"""The miniatures' published weights: what is in the repository is what the record says, and it is used."""

import shutil

import pytest
import torch

from wusu_lib import files
from wusu_lib.experiment import parameters
from wusu_lib.experiment.segmentation import SegmentationParameters
from wusu_lib.models import build, catalogue, spec, weights
from wusu_lib.models.catalogue import BACKBONES

NAMES = sorted({entry.miniature for entry in BACKBONES.values()})
OF = {entry.miniature: backbone for backbone, entry in BACKBONES.items()}


def stated(backbone, **changed):
    told = {"name": "exp01", "prediction": "val mIoU rises by at least 0.01 over exp00", "decoder": "fpn"}
    return parameters.parse(SegmentationParameters, {**told, "backbone": backbone, **changed})


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_small_finite_and_the_one_of_its_record(name):
    path, record = spec.miniature_file(name), spec.recorded_miniature(name)
    found = weights.published_file(BACKBONES[OF[name]], "demo")
    assert found == path
    assert record["bytes"] == path.stat().st_size < 2_000_000
    tensors = weights.read_checkpoint(path)
    assert all(value.isfinite().all() for value in tensors.values())
    assert {value.dtype for value in tensors.values()} <= {torch.float16, torch.float32, torch.int64}


@pytest.mark.parametrize("name", NAMES)
def test_a_pretrained_encoder_sees_otherwise_than_a_random_one(name):
    images = torch.randn(2, 4, 112, 112, generator=torch.Generator().manual_seed(0))
    maps = []
    for chosen in ("pretrained", "random"):
        model = build.build(OF[name], "fpn", weights=chosen, image_size=112).eval()
        with torch.no_grad():
            maps.append(model.encoder(images[:, model.band_order])[-1])
    assert maps[0].isfinite().all()
    assert (maps[0] - maps[1]).std() > 0.3 * maps[1].std()


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_reaches_the_decoder_only(name):
    first, second = (build.build(OF[name], "fpn", weights="pretrained", seed=seed) for seed in (0, 1))
    pairs = zip(first.encoder.state_dict().values(), second.encoder.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(*(next(m.decoder.parameters()) for m in (first, second)))


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the folder of weights, from which the library reads."""
    folder = tmp_path / "pretrained"
    shutil.copytree(spec.MINIATURES, folder)
    monkeypatch.setattr(spec, "MINIATURES", folder)
    return folder


def test_another_file_of_the_same_name_is_refused(copied):
    shutil.copy(copied / "prithvi_300m.safetensors", copied / "prithvi_600m.safetensors")
    with pytest.raises(ValueError, match=r"content hash .* its record says"):
        build.build("prithvi_600m", "fpn", weights="pretrained")


def test_a_missing_file_and_a_missing_record_are_told(copied):
    (copied / "clay.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="make pretraining"):
        build.build("clay", "fpn", weights="pretrained")
    (copied / "clay.json").unlink()
    with pytest.raises(FileNotFoundError, match="weights='random'"):
        stated("clay", weights="pretrained")


def test_hash_and_statistics_are_in_the_runs_key(copied):
    def chosen():
        return catalogue.chosen_as_data(stated("clay", weights="pretrained", normalisation="backbone"))

    record = spec.recorded_miniature("clay")
    assert chosen()["weights"] == {"hash": record["hash"]}
    assert chosen()["normalisation"] == (tuple(record["mean"]), tuple(record["std"]))
    files.write_json(copied / "clay.json", record | {"hash": "another"})
    assert chosen()["weights"] == {"hash": "another"}


def test_a_record_that_was_changed_is_refused(copied):
    told = (copied / "clay.json").read_text()
    (copied / "clay.json").write_text(told.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(ValueError, match=r"clay\.json is not what was written"):
        stated("clay", weights="pretrained")


def test_statistics_of_other_weights_are_those_of_the_published_model():
    published = catalogue.expected_statistics("prithvi_600m")
    assert catalogue.expected_statistics("prithvi_600m", "demo", "random") == published
    assert catalogue.expected_statistics("prithvi_600m", "full", "pretrained") == published
    assert catalogue.expected_statistics("prithvi_600m", "demo", "pretrained") != published


def test_a_run_with_random_weights_does_not_ask_for_the_record(copied):
    shutil.rmtree(copied)
    assert "weights" not in catalogue.chosen_as_data(stated("clay", weights="random"))


def test_large_files_are_stored_in_bytes_to_a_hundredth_of_a_rows_largest():
    generator = torch.Generator().manual_seed(0)
    state = {
        "filters": torch.randn(2000, 100, 6, generator=generator)
        * torch.logspace(-2, 0, 2000)[:, None, None],
        "bias": torch.randn(2000, generator=generator),
        "count": torch.tensor(3),
    }
    stored = weights.as_stored(state)
    assert stored["filters"].dtype == torch.int8
    assert stored["bias"].dtype == torch.float16
    found = weights.as_trained(stored)
    assert set(found) == set(state)
    off = (found["filters"] - state["filters"]).abs().amax(dim=(1, 2))
    assert (off <= 0.01 * state["filters"].abs().amax(dim=(1, 2))).all()
    assert found["count"].item() == 3


def test_a_key_of_that_name_alone_stays():
    other = {"blocks.0.row_scale": torch.ones(3)}
    assert weights.as_trained(other) == other


def test_small_files_are_stored_in_float16():
    state = {"filters": torch.randn(200, 100)}
    stored = weights.as_stored(state)
    assert stored["filters"].dtype == torch.float16
    assert torch.equal(weights.as_trained(stored)["filters"], state["filters"].half())
