"""Trained networks for others: one line to load, ONNX and MONAI bundles that compute the same."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch

from seg_lib import cli, export
from seg_lib.checkpoints import load_checkpoint, load_weights, save_checkpoint
from seg_lib.data.nifti import read_image
from seg_lib.data.phantom import make_phantom
from seg_lib.data.volumes import Preparation
from seg_lib.errors import InputError
from seg_lib.export import logits_of_bundle, to_monai_bundle, to_onnx
from seg_lib.inference import SlidingWindow, predict_volume
from seg_lib.model_card import card, write_card
from seg_lib.models import build_model
from seg_lib.multitask_inference import predict_multitask
from seg_lib.slice_inference import predict_slicewise
from seg_lib.tasks import TASKS
from seg_lib.trained import load_trained, predict_files, push_to_hub

WINDOW = [-1000.0, 400.0]
SLICES = {"task": "slices2d", "window": WINDOW, "size": 64}
PREPARATION = {"spacing_mm": None, "window": WINDOW, "box": "all", "margin_mm": 5.0}
VOLUMES = {"task": "volumes3d", "preparation": PREPARATION, "patch": [32, 32, 16]}
SMALL = {"features": [8, 16, 32], "blocks": [1, 1, 1]}
SMALL |= {"strides": [[2, 2, 2], [2, 2, 1]], "kernels": [[3, 3, 3]] * 3}
RUNS = {
    "resnet18_unet": SLICES | {"sizes": {"upscale": 2}},
    "swin_unet": SLICES | {"sizes": {"width": 24, "heads": [1, 2, 4, 8], "image_size": 64}},
    "unetr": SLICES | {"sizes": {"hidden": 24, "heads": 3, "image_size": 64}},
    "unet3d": VOLUMES | {"sizes": SMALL},
    "multitask_unet3d": VOLUMES
    | {"task": "pancreas", "sizes": SMALL | {"strides": [[1, 1, 1], *SMALL["strides"]]}},
}


def run_of(network, folder, **changes):
    """A run's folder with a network of random numbers; batch norms have seen something."""
    about = {"network": network, **RUNS[network], **changes}
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    model = build_model(network, **about["sizes"])
    shape = about.get("patch") or [about["size"]] * 2
    for _ in range(3):
        model.train()(torch.rand(2, 1, *shape))
    save_checkpoint(folder / "best.safetensors", model.state_dict(), about)
    history = {"stopped": "epochs", "config": {"epochs": 1}, "history": [{"epoch": 1, "loss": 1}]}
    (folder / "history.json").write_text(json.dumps(history))
    return folder


def example(network):
    shape = RUNS[network].get("patch") or [64, 64]
    return torch.rand(3, 1, *shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module", params=RUNS)
def run(request, tmp_path_factory):
    return request.param, run_of(request.param, tmp_path_factory.mktemp(request.param))


def predicted_by_hand(network, folder, volume):
    """Without ``seg_lib.trained`` and the tasks: build, load, and run what the lessons run."""
    about, patch = RUNS[network], (32, 32, 16)
    model = build_model(network, **about["sizes"])
    load_weights(model, folder / "best.safetensors")
    model.eval()
    how = Preparation(window=tuple(WINDOW), box="all", margin_mm=5.0)
    if about["task"] == "slices2d":
        return predict_slicewise(model, volume, tuple(WINDOW), 64)
    if about["task"] == "pancreas":
        return predict_multitask(model, volume, how, patch)[0]
    return predict_volume(model, volume, how, SlidingWindow(patch))


def test_one_line_loads_and_predicts(run, tmp_path):
    network, folder = run
    trained = load_trained(folder)
    assert not trained.model.training and trained.about["network"] == network
    [case] = make_phantom("lung3d", 1, (64, 48, 16), 0, tmp_path / "ct")
    trained.predict(case.image, tmp_path / "mask.nii.gz")
    [(_, fault)] = predict_files(folder, [case.image], tmp_path)
    assert fault is None
    alone, listed = (tmp_path / name for name in ("mask.nii.gz", case.image.name))
    assert alone.read_bytes() == listed.read_bytes()
    stored = np.asarray(nib.as_closest_canonical(nib.load(alone)).dataobj)
    assert np.array_equal(stored, predicted_by_hand(network, folder, read_image(case.image)))
    assert 0 < np.count_nonzero(stored) < stored.size


def test_onnx_gives_the_same_logits_for_any_batch(run, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="not installed: seg-lib[export]")
    network, folder = run
    path = to_onnx(folder, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["about"])
    assert about["network"] == network
    image = example(network)
    [found] = session.run(None, {"image": image.numpy()})
    with torch.no_grad():
        wanted = load_trained(folder).model(image)
    assert torch.allclose(torch.from_numpy(found), wanted, atol=1e-3)


def test_a_monai_bundle_gives_the_same_logits(run, tmp_path):
    network, folder = run
    out = to_monai_bundle(folder, tmp_path / "bundle")
    with torch.no_grad():
        wanted = load_trained(folder).model(example(network))
    assert torch.allclose(logits_of_bundle(out, example(network)), wanted, atol=1e-5)
    about = json.loads((out / "configs" / "metadata.json").read_text())
    data = about["network_data_format"]
    assert data["outputs"]["pred"]["num_channels"] == wanted.shape[1]
    assert data["inputs"]["image"]["spatial_shape"] == list(example(network).shape[2:])
    assert (out / "docs" / "README.md").read_text() == (folder / "README.md").read_text()
    with pytest.raises(InputError, match="there is something in it already"):
        to_monai_bundle(folder, out)


def test_the_inferer_of_a_bundle_is_monais(tmp_path):
    from monai.bundle import ConfigParser
    from monai.inferers import SlidingWindowInferer

    out = to_monai_bundle(run_of("unet3d", tmp_path), tmp_path / "bundle")
    parser = ConfigParser()
    parser.read_config(out / "configs" / "inference.json")
    inferer = parser.get_parsed_content("inferer")
    assert isinstance(inferer, SlidingWindowInferer) and inferer.roi_size == [32, 32, 16]
    image = torch.rand(1, 1, 40, 32, 16)
    assert torch.allclose(inferer(image, lambda windows: 2 * windows), 2 * image, atol=1e-4)


def test_an_export_that_differs_is_not_kept(tmp_path, monkeypatch):
    folder = run_of("unet3d", tmp_path / "run")
    monkeypatch.setattr("seg_lib.export.logits_of_bundle", lambda *_: torch.zeros(2, 1, 32, 32, 16))
    with pytest.raises(InputError, match="logits differ by"):
        to_monai_bundle(folder, tmp_path / "bundle")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


@pytest.mark.parametrize(("scale", "good"), [(1.0, False), (10.0, True), (0.01, False)])
def test_how_far_logits_may_lie_apart_goes_with_their_size(tmp_path, scale, good):
    """0.002 is a fault beside logits of at most 1, and the last digit of float32 beside 10."""
    wanted = torch.tensor([[-scale, scale]])
    for found, same in (
        (wanted + 0.002, good),
        (wanted.clone(), True),
        (wanted * torch.nan, False),
    ):
        if same:
            assert export._check_same(tmp_path, wanted, found) is None
        else:
            with pytest.raises(InputError, match="logits differ by"):
                export._check_same(tmp_path, wanted, found)


def test_a_network_that_reads_is_not_exported(tmp_path, monkeypatch):
    monkeypatch.setitem(TASKS, "text3d", TASKS["volumes3d"])  # built without a language model
    folder = run_of("unet3d", tmp_path, task="text3d")
    for write in (to_onnx, to_monai_bundle):
        with pytest.raises(InputError, match="needs a note with each image"):
            write(folder, tmp_path / "out")


def test_the_command_exports(tmp_path, capsys):
    folder = run_of("unet3d", tmp_path)
    out = tmp_path / "bundle"
    assert cli.main(["export", str(folder), str(out), "--form", "monai"]) == 0
    assert (out / "models" / "model.pt").is_file()
    assert cli.main(["export", str(tmp_path / "no"), str(out), "--form", "onnx"]) == 1
    assert "there is no such checkpoint" in capsys.readouterr().err


# Cards.


def test_the_card_says_what_was_measured():
    """The results, the rival, the counts and the limits, from made-up numbers."""
    one = {"mean": 0.71234, "low": 0.6, "high": 0.8, "n": 30, "n_patients": 12}
    scores = {"network": {"dice": one, "counts": {}}, "threshold": {"dice": one | {"mean": 0.2}}}
    scores["subtypes"] = {"macro_f1": {"value": 0.5, "low": 0.4, "high": 0.6, "majority": 0.196}}
    about = {"task": "slices2d", "network": "unetr", "numbers": 1234567, "size": 96}
    history = {"config": {"epochs": 9, "learning_rate": 1e-4}, "history": [{}] * 7}
    text = card(about | {"result": {"epoch": 5, "dice": 0.75}}, history, scores, {"test": 30})
    assert text.startswith("---\nlicense: apache-2.0\n")
    for words in (
        "# unetr, task slices2d",
        "1,234,567 numbers",
        "| network | 30 | 12 | 0.712 (0.600 to 0.800) |",
        "| threshold | 30 | 12 | 0.200 (0.600 to 0.800) |",
        "macro-F1 0.500 (0.400 to 0.600)",
        "Cases: 30 test.",
        "| epochs trained | 7 |",
        "| learning_rate | 0.0001 |",
        "| dice | 0.75 |",
        "Not a medical device",
    ):
        assert words in text
    assert "None were scored" in card(about, history, {}, {})


def test_the_card_counts_the_numbers_of_the_file(tmp_path):
    tensors, _ = load_checkpoint(run_of("unet3d", tmp_path) / "best.safetensors")
    count = sum(tensor.numel() for tensor in tensors.values())
    assert f"{count:,} numbers in" in write_card(tmp_path).read_text()


# The hub, made up.


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that is a folder: what is pushed can be pulled."""
    store = tmp_path / "hub"

    class Api:
        def create_repo(self, repo, private, exist_ok):
            (store / repo).mkdir(parents=True, exist_ok=exist_ok)
            return f"https://hub.example/{repo}"

        def upload_folder(self, repo_id, folder_path, allow_patterns):
            from huggingface_hub.utils import filter_repo_objects

            names = (p.relative_to(folder_path).as_posix() for p in folder_path.rglob("*"))
            for name in filter_repo_objects(names, allow_patterns=allow_patterns):
                (store / repo_id / name).write_bytes((folder_path / name).read_bytes())

    def snapshot_download(repo, revision, allow_patterns):
        if not (store / repo).is_dir() or revision not in (None, "v1"):
            raise OSError(f"404: {repo} {revision}")
        return str(store / repo)

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return store


def test_what_is_pushed_can_be_pulled(hub, tmp_path):
    folder = run_of("unet3d", tmp_path / "run")
    with pytest.raises(InputError, match=r"lacks README.md"):
        push_to_hub(folder, "me/nodules")
    (folder / "README.md").write_text("card")
    (folder / "last.safetensors").write_bytes(b"state")
    assert push_to_hub(folder, "me/nodules") == "https://hub.example/me/nodules"
    there = sorted(path.name for path in (hub / "me/nodules").iterdir())
    assert there == ["README.md", "best.safetensors"], "no training state, no logs"
    pulled = load_trained("hf:me/nodules@v1").model.state_dict()
    tensors, _ = load_checkpoint(folder / "best.safetensors")
    assert all(np.array_equal(pulled[name], tensor) for name, tensor in tensors.items())
    out = to_monai_bundle("hf:me/nodules", tmp_path / "bundle")
    assert (out / "docs" / "README.md").read_text() == "card"


def test_a_hub_without_it_is_one_sentence(hub):
    with pytest.raises(InputError, match=r"^hf:me/none: 404: me/none None; check name, network"):
        load_trained("hf:me/none")
