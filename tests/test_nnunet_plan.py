"""The planner against nnU-Net's own numbers, see nnunet_toys.py."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from nnunet_toys import (
    BLOCKS,
    FEATURES,
    KERNELS,
    NUMBERS,
    STRIDES,
    TOYS,
    fill,
    in_their_order,
    toy_image,
    write_toy,
)

from seg_lib.data.cases import Case, read_cases
from seg_lib.data.nifti import read_image, write_image, write_mask
from seg_lib.data.volumes import prepare
from seg_lib.errors import InputError
from seg_lib.models import build_model
from seg_lib.models.unet3d import UNet3d
from seg_lib.nnunet_plan import Fingerprint, fingerprint, plan_network, topology, write_plan

THEIRS = json.loads(NUMBERS.read_text())


@pytest.fixture(scope="module", params=TOYS)
def toy(request, tmp_path_factory):
    """(cases, our plan, nnU-Net's numbers)."""
    folder = tmp_path_factory.mktemp("toy") / "Dataset001_Toy"
    write_toy(request.param, folder)
    cases = read_cases(folder)
    return cases, plan_network(fingerprint(cases)), THEIRS["plans"][request.param]


def test_the_plan_is_nnunets(toy):
    _, plan, theirs = toy
    for name in ("patch", "features", "blocks"):
        assert list(getattr(plan, name)) == theirs[name], name
    for name in ("strides", "kernels"):
        assert [list(triple) for triple in getattr(plan, name)] == theirs[name], name
    assert plan.batch_size == theirs["batch_size"]
    assert plan.spacing_mm == pytest.approx(theirs["spacing_mm"], abs=1e-4)


def test_the_fingerprint_is_nnunets(toy):
    """nnU-Net draws a sample of the voxels, we take all of them."""
    _, plan, theirs = toy
    assert plan.window == pytest.approx(theirs["window"], abs=1.01)
    assert (plan.mean, plan.sd) == pytest.approx((theirs["mean"], theirs["sd"]), abs=0.1)


def test_prepared_volumes_are_nnunets(toy):
    """[0, 1] is nnU-Net's z-score scaled. Splines overshoot; we clip again, nnU-Net does not."""
    cases, plan, theirs = toy
    plan = dataclasses.replace(plan, window=tuple(theirs["window"]))
    ours = prepare(read_image(cases[0].image), plan.preparation()).image
    assert list(ours.shape) == theirs["prepared_shape"]
    low, high = ((hu - theirs["mean"]) / theirs["sd"] for hu in theirs["window"])
    ours, theirs = ours[::9, ::9, ::4].ravel()[:400], np.array(theirs["prepared"])
    assert low + ours * (high - low) == pytest.approx(theirs.clip(low, high), abs=2e-3)


def test_the_plan_of_source_004():
    """T4 notebook: 252 cases, median 59 x 118 x 181 at 2.0 x 0.73 x 0.73 mm."""
    seen = Fingerprint([(0.7305, 0.7305, 2.0)] * 252, [(181, 118, 59)] * 252, (-56, 180), 75, 44, 3)
    plan = plan_network(seen)
    assert (plan.patch, plan.batch_size) == ((192, 128, 64), 2)
    assert plan.features == (32, 64, 128, 256, 320, 320) and plan.blocks == (1, 3, 4, 6, 6, 6)
    assert plan.strides == ((1, 1, 1), (2, 2, 1), *[(2, 2, 2)] * 4)
    assert plan.kernels == ((3, 3, 1), *[(3, 3, 3)] * 5)
    network = build_model("multitask_unet3d", **plan.sizes())
    assert sum(weight.numel() for weight in network.unet.parameters()) == 102_268_079
    assert sum(weight.numel() for weight in network.unet.encoder.parameters()) == 90_259_136
    assert plan_network(seen, memory_gb=4.0).patch < plan.patch


def test_our_unet_is_nnunets_to_the_weight():
    unet = UNet3d(
        classes=3,
        features=FEATURES,
        blocks=BLOCKS,
        strides=STRIDES[1:],
        kernels=KERNELS,
        deep_supervision=True,
        resenc=True,
    )
    fill(in_their_order(unet))
    for module in unet.modules():  # no dropout, no running means: training mode changes nothing
        module.training = True
    with torch.no_grad():
        logits = unet(toy_image())
    for ours, theirs in zip(logits, THEIRS["logits"], strict=True):
        assert ours.flatten()[::23][:60].tolist() == pytest.approx(theirs, abs=2e-4, rel=1e-4)


def test_an_axis_is_halved_until_it_is_short_or_coarse():
    strides, kernels, patch = topology((1.0, 1.0, 4.0), (64, 60, 16))
    assert strides == [(1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2)]
    assert kernels == [(3, 3, 1), (3, 3, 1), (3, 3, 3), (3, 3, 3), (3, 3, 3)]
    assert patch == [64, 64, 16]


def test_a_plan_is_written_for_people(toy, tmp_path):
    cases, plan, _ = toy
    write_plan(fingerprint(cases), plan, tmp_path)
    written = json.loads((tmp_path / "plans.json").read_text())
    assert written["patch"] == list(plan.patch) and written["batch_size"] == plan.batch_size
    assert len(json.loads((tmp_path / "dataset_fingerprint.json").read_text())["shapes"]) == len(
        cases
    )


@pytest.mark.filterwarnings("ignore:.*every voxel is 0")
def test_shapes_are_of_the_box_that_is_not_0_and_of_the_whole_image_where_all_is(tmp_path):
    cases = []
    for number, hu in enumerate(np.zeros((2, 6, 5, 4), np.float32)):
        hu[1:4, 2:4, 3] = -number  # the first image is 0 everywhere
        image, label = tmp_path / f"{number}.nii.gz", tmp_path / f"{number}_label.nii.gz"
        write_image(image, hu, np.eye(4))
        write_mask(label, np.arange(hu.size).reshape(hu.shape) == 0, read_image(image))
        cases.append(Case(f"c{number}", f"p{number}", image, label))
    assert fingerprint(cases).shapes == [(6, 5, 4), (3, 2, 1)]


def test_bad_input(toy):
    cases, _, _ = toy
    with pytest.raises(InputError, match="c1: has no label"):
        fingerprint([dataclasses.replace(cases[0], label=None)])
    with pytest.raises(InputError, match="at least one"):
        fingerprint([])
    with pytest.raises(InputError, match="a mask of 2 classes"):
        fingerprint(cases, n_classes=2)
