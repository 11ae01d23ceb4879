"""Small data sets and a small network on which nnU-Net itself was asked for its numbers.

``nnunet_numbers.json`` was written by running this file where nnunetv2 2.8.1 is installed, which is
an environment of its own (it wants an older timm than ours):

    python -m venv nn && nn/bin/pip install nnunetv2==2.8.1 && nn/bin/python tests/nnunet_toys.py
"""

import itertools
import json
import os
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

NUMBERS = Path(__file__).with_name("nnunet_numbers.json")
TOYS = {  # number of cases, voxels x y z, spacing in mm; each case differs a little from these
    "pancreas": (5, (90, 60, 30), (0.73, 0.73, 2.0)),
    "thick": (5, (80, 80, 10), (0.8, 0.8, 6.0)),
    "cubic": (4, (40, 44, 36), (1.5, 1.5, 1.5)),
    "large": (3, (230, 220, 150), (0.8, 0.8, 1.0)),
}
FEATURES, STRIDES = (4, 6, 8), ((1, 1, 1), (2, 2, 1), (2, 2, 2))  # x, y, z
KERNELS, BLOCKS = ((3, 3, 1), (3, 3, 3), (3, 3, 3)), (1, 2, 1)


def toy_cases(name):
    """(image in HU (X, Y, Z) int16, label uint8 with 0, 1, 2, spacing) of each case."""
    n, shape, spacing = TOYS[name]
    rng = np.random.default_rng([list(TOYS).index(name), 7])
    for _ in range(n):
        size = [int(side * rng.uniform(0.85, 1.15)) for side in shape]
        mm = [round(step * rng.uniform(0.9, 1.2), 3) for step in spacing]
        x, y, z = np.meshgrid(*(np.linspace(-1, 1, side) for side in size), indexing="ij")
        label = (x**2 + y**2 + z**2 < 0.4).astype(np.uint8)
        label[(x - 0.2) ** 2 + y**2 + z**2 < 0.06] = 2
        hu = rng.normal(-60, 40, size) + 150 * (label == 1) + 90 * (label == 2) + 30 * np.sin(9 * x)
        yield np.rint(hu).astype(np.int16), label, mm


def write_toy(name, folder):
    """The raw folder of nnU-Net with these cases."""
    folder = Path(folder)
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    n = 0
    for n, (image, label, mm) in enumerate(toy_cases(name), start=1):
        affine = np.diag([*mm, 1.0])
        nib.save(nib.Nifti1Image(image, affine), folder / "imagesTr" / f"c{n}_0000.nii.gz")
        nib.save(nib.Nifti1Image(label, affine), folder / "labelsTr" / f"c{n}.nii.gz")
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "pancreas": 1, "lesion": 2}}
    about |= {"numTraining": n, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(about))


def fill(parameters):
    """Give the k-th tensor the k-th random values, whatever it is called."""
    with torch.no_grad():
        for k, weight in enumerate(parameters):
            values = torch.randn(weight.shape, generator=torch.Generator().manual_seed(k))
            weight.copy_(values / max(1, weight[0].numel()) ** 0.5 if weight.ndim > 1 else values)


def toy_image():
    """(1, 1, 16, 16, 8)."""
    return torch.randn(1, 1, 16, 16, 8, generator=torch.Generator().manual_seed(99))


def in_their_order(unet):
    """The tensors of our U-Net in the order in which nnU-Net's has them."""
    parts = [
        unet.encoder,
        *(step.mix for step in unet.decoder),
        *(step.up for step in unet.decoder),
    ]
    return itertools.chain.from_iterable(part.parameters() for part in [*parts, unet.heads])


def turned(triples):
    """x, y, z and back."""
    return [list(triple)[::-1] for triple in triples]


def _ask_for_plan(name, raw):
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import (
        DatasetFingerprintExtractor,
    )
    from nnunetv2.experiment_planning.experiment_planners.residual_unets import (
        residual_encoder_unet_planners as planners,
    )
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    dataset = f"Dataset{list(TOYS).index(name) + 1:03d}_{name}"
    write_toy(name, raw / dataset)
    seen = DatasetFingerprintExtractor(dataset, 1).run(overwrite_existing=True)
    plans = planners.nnUNetPlannerResEncM(dataset).plan_experiment()
    full = plans["configurations"]["3d_fullres"]
    arch = full["architecture"]["arch_kwargs"]
    hu = seen["foreground_intensity_properties_per_channel"]
    hu = hu.get(0) or hu["0"]
    forward = plans["transpose_backward"]  # back to z, y, x, then to x, y, z
    back = lambda triple: [triple[i] for i in forward][::-1]  # noqa: E731
    manager = PlansManager(plans)
    about = json.loads((raw / dataset / "dataset.json").read_text())
    case = raw / dataset / "imagesTr" / "c1_0000.nii.gz"
    data, *_ = DefaultPreprocessor(verbose=False).run_case(
        [str(case)], None, manager, manager.get_configuration("3d_fullres"), about
    )
    data = data[0].transpose(forward).transpose(2, 1, 0)
    return {
        "spacing_mm": back(full["spacing"]),
        "window": [hu["percentile_00_5"], hu["percentile_99_5"]],
        "mean": hu["mean"],
        "sd": hu["std"],
        "patch": [int(n) for n in back(full["patch_size"])],
        "batch_size": int(full["batch_size"]),
        "features": list(arch["features_per_stage"]),
        "blocks": list(arch["n_blocks_per_stage"]),
        "strides": [back(stride) for stride in arch["strides"]],
        "kernels": [back(kernel) for kernel in arch["kernel_sizes"]],
        "prepared_shape": list(data.shape),
        "prepared": [float(v) for v in data[::9, ::9, ::4].ravel()[:400]],
    }


def _ask_for_logits():
    from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
    from torch import nn

    network = ResidualEncoderUNet(
        1, 3, list(FEATURES), nn.Conv3d, turned(KERNELS), turned(STRIDES), list(BLOCKS), 3, [1, 1],
        True, nn.InstanceNorm3d, {"eps": 1e-5, "affine": True}, None, None, nn.LeakyReLU,
        {"inplace": True}, True,
    )  # fmt: skip
    stages = [stage for stage in network.decoder.stages]
    parts = [network.encoder, *stages, *network.decoder.transpconvs, network.decoder.seg_layers]
    weights = list(itertools.chain.from_iterable(part.parameters() for part in parts))
    for weight in weights:  # to x, y, z for the filling, and back
        if weight.ndim == 5:
            weight.data = weight.data.transpose(2, 4).contiguous()
    fill(weights)
    for weight in weights:
        if weight.ndim == 5:
            weight.data = weight.data.transpose(2, 4).contiguous()
    with torch.no_grad():
        logits = network.eval()(toy_image().transpose(2, 4))
    return [[float(v) for v in found.transpose(2, 4).flatten()[::23][:60]] for found in logits]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name, part in (("raw", "raw"), ("preprocessed", "pre"), ("results", "results")):
            (folder / part).mkdir()
            os.environ[f"nnUNet_{name}"] = str(folder / part)
        import nnunetv2  # noqa: F401  (after the variables)

        found = {name: _ask_for_plan(name, folder / "raw") for name in TOYS}
        found = {"plans": found, "logits": _ask_for_logits(), "python": sys.version.split()[0]}
    NUMBERS.write_text(json.dumps(found, indent=None) + "\n")
