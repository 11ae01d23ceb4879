"""Real scans through the path of lesson 17: planned, prepared, predicted, put back, judged."""

import dataclasses

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from seg_lib import multitask
from seg_lib.data.cases import Case
from seg_lib.data.nifti import Volume, read_image, read_mask, write_image, write_mask
from seg_lib.data.nnunet_layout import read_dataset, write_dataset
from seg_lib.data.volumes import Preparation
from seg_lib.models import build_model
from seg_lib.models.presets import sizes_for
from seg_lib.multitask_inference import predict_multitask
from seg_lib.multitask_scores import score_case
from seg_lib.nnunet_plan import fingerprint, plan_network

PATCH = (48, 48, 16)
pytestmark = pytest.mark.real


def untrained():
    """The small network of lesson 17 from random numbers."""
    return build_model("multitask_unet3d", **sizes_for("multitask_unet3d", 0, "small"))


def through_the_path(case, tmp_path):
    """Window from its own fingerprint, prediction, file, score."""
    seen = fingerprint([case], multitask.N_CLASSES)
    how = Preparation(window=seen.window, box="all")
    scan = read_image(case.image)
    labels, chances = predict_multitask(untrained(), scan, how, PATCH)
    assert float(chances.sum()) == pytest.approx(1)
    out = tmp_path / "predicted" / case.label.name
    write_mask(out, labels, like=scan)
    stored, source = nib.load(out), nib.load(case.image)
    assert stored.shape == source.shape and np.abs(stored.affine - source.affine).max() < 1e-4
    row = score_case(case, read_mask(out, like=scan, n_classes=3).array)
    assert all(np.isfinite(row[name]) for name in ("dice", "lesion_dice", "lesion_hd95_mm"))
    truth = read_mask(case.label, like=scan, n_classes=3).array
    assert score_case(case, truth)["dice"] == score_case(case, truth)["label1_dice"] == 1
    return seen


def test_an_abdomen_with_its_pancreas(real_data, tmp_path):
    """One of 117 organs becomes label 1 of nnU-Net's raw folder."""
    here = real_data / "abdomen_ct_3mm"
    scan = read_image(here / "example_ct_sm.nii.gz")
    organs = read_mask(here / "example_seg.nii.gz", like=scan, n_classes=118).array
    label = tmp_path / "pancreas.nii.gz"
    write_mask(label, (organs == 7).astype(np.uint8), like=scan)
    case = Case("abdomen", "abdomen", here / "example_ct_sm.nii.gz", label, "train", subtype="0")
    write_dataset([case], tmp_path / "raw", {"background": 0, "pancreas": 1, "lesion": 2})
    [case] = read_dataset(tmp_path / "raw")
    seen = through_the_path(case, tmp_path)
    inside = scan.array[organs == 7]
    assert seen.window == pytest.approx(np.percentile(inside, (0.5, 99.5)), abs=3)
    assert seen.mean == pytest.approx(inside.mean(), abs=0.5)
    plan = plan_network(dataclasses.replace(seen, n_classes=3))
    assert plan.spacing_mm == pytest.approx((3, 3, 3))
    assert all(side <= n + 31 for side, n in zip(plan.patch, plan.median_shape, strict=True))


def test_a_slice_of_nih_pancreas_is_a_volume_of_one_slice(real_data, tmp_path):
    """JPEG has neither HU nor millimetres: greys as -160 to 240 HU, every fourth pixel."""
    here = real_data / "nih_pancreas_2d"
    picture = next(path for path in sorted((here / "images").iterdir()))
    grey = np.asarray(Image.open(picture).convert("L"), np.float32).T[::4, ::4, None]
    hu = np.rint(grey / 255 * 400 - 160).astype(np.int16)
    mask = (np.asarray(Image.open(here / "masks" / picture.name).convert("L")).T > 127)[
        ::4, ::4, None
    ]
    image, label = tmp_path / "slice.nii.gz", tmp_path / "label.nii.gz"
    write_image(image, hu, np.eye(4))
    like = Volume(hu, np.eye(4), np.eye(4), hu.shape, image)
    write_mask(label, mask.astype(np.uint8), like=like)
    seen = through_the_path(Case("slice", "slice", image, label, "test", subtype="0"), tmp_path)
    assert seen.shapes[0][2] == 1 and -160 <= seen.window[0] < seen.window[1] <= 240
