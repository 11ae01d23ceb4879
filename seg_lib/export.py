"""A trained network for other programs: ONNX, or a MONAI bundle. Taught in notebook 11.

Both hold the network alone, image in, logits out; how the image is windowed and resampled stands
beside it in words that programs read. Both are checked before they get their name.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from seg_lib import __version__
from seg_lib.errors import InputError
from seg_lib.files import folder_written_whole, write_text, written_whole
from seg_lib.inference import SlidingWindow, evaluating
from seg_lib.model_card import CARD, write_card
from seg_lib.trained import Trained, load_trained

TOLERANCE = 1e-3  # of the largest logit (at least 1): other kernels add up in another order
ONE_IMAGE = ("slices2d", "volumes3d", "pancreas")  # tasks whose network needs nothing else


def to_onnx(run: str | Path, out: str | Path) -> Path:
    """Write a network as ONNX: ``image`` (B, 1, *size) -> ``logits`` (B, K, *size), B free.

    What the checkpoint says of it stands in the file's metadata under "about", as JSON.

    Raises:
        InputError: onnx is not installed, a network that also needs a note, or ONNX Runtime
            computes something else than PyTorch.
    """
    trained, image = _with_example(run)
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise InputError(f'{out}: {error}; pip install -e ".[export]".') from error
    logits, out = _logits(trained, image), Path(out)
    # Attention in plain steps: of the fused one the exporter knows other strides than it has.
    with written_whole(out) as part, sdpa_kernel(SDPBackend.MATH):
        program = torch.onnx.export(
            trained.model,
            (image,),
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},),
            dynamo=True,
            verbose=False,
        )
        model = program.model_proto
        onnx.helper.set_model_props(model, {"about": json.dumps(plain(trained.about))})
        onnx.save(model, part)
        session = onnxruntime.InferenceSession(part, providers=["CPUExecutionProvider"])
        [found] = session.run(None, {"image": image.numpy()})
        _check_same(out, logits, torch.from_numpy(found))
    return out


def to_monai_bundle(run: str | Path, out: str | Path) -> Path:
    """Write a folder that ``monai.bundle`` reads: configs, weights as state dict, the card.

    ``configs/inference.json`` builds the network (``network_def``) and the sliding window or slice
    inferer (``inferer``).

    Raises:
        InputError: a network that also needs a note, a folder that holds something already, or the
            bundle computes something else than the run.
    """
    trained, image = _with_example(run)
    logits, source = _logits(trained, image), trained.folder / CARD
    contents = {"inference": config(trained), "metadata": metadata(trained, logits.shape[1])}
    with folder_written_whole(out) as part:
        for name, content in contents.items():
            write_text(part / "configs" / f"{name}.json", json.dumps(content, indent=1) + "\n")
        (part / "models").mkdir()
        torch.save(trained.model.state_dict(), part / "models" / "model.pt")
        card = source if source.is_file() else write_card(trained.folder)
        write_text(part / "docs" / CARD, card.read_text(encoding="utf-8"))
        _check_same(Path(out), logits, logits_of_bundle(part, image))
    return Path(out)


def logits_of_bundle(folder: Path, image: Tensor) -> Tensor:
    """What the network of a bundle says of an image, built as MONAI builds it."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(folder / "configs" / "inference.json")
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True))
    with evaluating(network):
        return network(image)


def config(trained: Trained) -> dict[str, Any]:
    """``inference.json`` of a bundle."""
    about = plain(trained.about)
    target = {"_target_": "seg_lib.models.build_model", "name": about["network"]}
    inferer = {"_target_": "SliceInferer", "spatial_dim": 2, "roi_size": [about.get("size")] * 2}
    if "patch" in about:
        inferer = {"_target_": "SlidingWindowInferer", "roi_size": about["patch"]}
        how = SlidingWindow(patch=tuple(about["patch"]))
        inferer |= {"sw_batch_size": how.windows_at_once, "overlap": how.overlap, "mode": how.blend}
    return {"network_def": target | about.get("sizes", {}), "inferer": inferer}


def metadata(trained: Trained, classes: int) -> dict[str, Any]:
    """``metadata.json`` of a bundle, in MONAI's schema."""
    about = plain(trained.about)
    shape = about.get("patch") or [about["size"]] * 2
    image = {"type": "image", "format": "hounsfield", "modality": "CT", "num_channels": 1}
    image |= {"spatial_shape": shape, "dtype": "float32", "value_range": [0, 1]}
    image |= {"is_patch_data": "patch" in about, "channel_def": {"0": "image"}}
    pred = {"type": "image", "format": "logits", "num_channels": classes, "spatial_shape": shape}
    pred |= {"dtype": "float32", "value_range": [], "is_patch_data": "patch" in about}
    return {
        "version": __version__,
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "required_packages_version": {"seg-lib": __version__},
        "name": about["network"],
        "task": about.get("task", "segmentation"),
        "description": "Trained with seg_lib; docs/README.md is its card. Not for patients.",
        "authors": "see CITATION.cff of seg-lib",
        "copyright": "Apache-2.0",
        "preparation": about.get("preparation", {"window": about.get("window")}),
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}},
    }


def plain(about: dict[str, Any]) -> dict[str, Any]:
    """What the checkpoint says, without what only this program needs."""
    return {name: value for name, value in about.items() if name not in ("notes", "format")}


def _with_example(run: str | Path) -> tuple[Trained, Tensor]:
    """The network of a run, and two made-up images (2, 1, *size) in [0, 1]."""
    trained = load_trained(run)
    task = trained.about.get("task", "slices2d")
    if task not in ONE_IMAGE:
        raise InputError(f"{run}: {task} needs a note with each image; it cannot be exported.")
    shape = trained.about.get("patch") or [trained.about["size"]] * 2
    image = np.random.default_rng(0).random((2, 1, *shape), np.float32)
    return trained, torch.from_numpy(image)


def _logits(trained: Trained, image: Tensor) -> Tensor:
    with evaluating(trained.model):
        return trained.model(image)


def _check_same(out: Path, wanted: Tensor, found: Tensor) -> None:
    gap = float((wanted - found).abs().max())
    if not gap <= TOLERANCE * max(1.0, float(wanted.abs().max())):
        raise InputError(f"{out}: its logits differ by {gap:.3g} from the run's; not written.")
