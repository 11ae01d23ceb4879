"""What is drawn: Lung-RADS by hand, shares as the tables say, organs where they belong."""

import numpy as np
import pytest

from seg_lib.data import phantom_body
from seg_lib.data.phantom_anatomy import (
    LUNG_BOX_MM,
    Anatomy,
    Grid,
    ellipse_distance,
    heart_distance,
    lobe_names,
    lung_distance,
    soft_cover,
)
from seg_lib.data.phantom_body import cover_of_tubes
from seg_lib.data.phantom_nodules import (
    LUNG_RADS,
    SHARES,
    Nodule,
    lungrads_category,
    sample_traits,
)
from seg_lib.data.phantom_scan import Patient
from seg_lib.errors import InputError


def cube(half_mm, step_mm):
    axis = np.arange(-half_mm, half_mm, step_mm, dtype=np.float32) + np.float32(step_mm / 2)
    return Grid(axis[::-1].copy(), axis[::-1].copy(), axis, step_mm, step_mm)


@pytest.mark.parametrize(
    ("texture", "diameter_mm", "solid_mm", "category"),
    [
        ("solid", 5.9, 0.0, "LR2"),
        ("solid", 6.0, 0.0, "LR3"),
        ("solid", 7.9, 0.0, "LR3"),
        ("solid", 8.0, 0.0, "LR4A"),
        ("solid", 14.9, 0.0, "LR4A"),
        ("solid", 15.0, 0.0, "LR4B"),
        ("part-solid", 5.9, 5.0, "LR2"),
        ("part-solid", 6.0, 2.0, "LR3"),
        ("part-solid", 25.0, 5.9, "LR3"),
        ("part-solid", 25.0, 6.0, "LR4A"),
        ("part-solid", 25.0, 8.0, "LR4B"),
        ("ground-glass", 29.9, 0.0, "LR2"),
        ("ground-glass", 30.0, 0.0, "LR3"),
    ],
)
def test_lungrads_by_hand(texture, diameter_mm, solid_mm, category):
    assert lungrads_category(texture, diameter_mm, solid_mm) == category


def test_unknown_texture_names_the_known_ones():
    with pytest.raises(InputError, match="solid, part-solid, ground-glass"):
        lungrads_category("calcified", 8.0)


@pytest.fixture(scope="module")
def many_traits():
    rng = np.random.default_rng(0)
    return [sample_traits(rng) for _ in range(2000)]


@pytest.mark.parametrize("trait", SHARES)
def test_traits_come_as_often_as_the_tables_say(many_traits, trait):
    assert sum(SHARES[trait].values()) == pytest.approx(1.0)
    drawn = [traits[trait] for traits in many_traits]
    for name, share in SHARES[trait].items():
        error = 4 * np.sqrt(share * (1 - share) / len(drawn))
        assert drawn.count(name) / len(drawn) == pytest.approx(share, abs=error), name


def test_diameters_follow_the_cut_log_normal(many_traits):
    diameters = np.array([traits["diameter_mm"] for traits in many_traits])
    assert diameters.min() >= 3.0 and diameters.max() <= 30.0
    # The cut at 30 mm takes 8 % off the top, so the median lies a little below the table's 13 mm.
    assert np.median(diameters) == pytest.approx(12.2, abs=0.6)
    solid = [traits["lungrads"] for traits in many_traits if traits["texture"] == "solid"]
    shares = [solid.count(category) / len(solid) for category in LUNG_RADS]
    assert shares == pytest.approx([0.10, 0.12, 0.42, 0.36], abs=0.05)


def test_nodules_lie_in_their_lobe_and_at_their_depth():
    rng = np.random.default_rng(1)
    kept, at_pleura = [], []
    for patient in range(12):
        who = Patient(np.random.default_rng(patient))
        for traits in [sample_traits(rng) for _ in range(5)]:
            nodule = Nodule(traits, who.anatomy, who.vessels, rng).traits
            centre = np.array(nodule["centre_mm"], np.float32) / who.anatomy.scale
            assert lung_distance(who.anatomy, *centre.astype(np.float32)[:, None]) < 0
            assert lobe_names(who.anatomy, centre[None])[0] == nodule["lobe"]
            kept.append(nodule["lobe"] == traits["lobe"])
            if traits["attachment"] == "pleura":
                depth = -lung_distance(who.anatomy, *centre.astype(np.float32)[:, None])[0]
                at_pleura.append(depth < 0.55 * traits["diameter_mm"])
    assert np.mean(kept) > 0.95
    assert len(at_pleura) > 5 and np.mean(at_pleura) > 0.8


def test_partial_volume_keeps_areas():
    x = np.arange(-20, 20, 1.0, dtype=np.float32) + 0.3
    cover = soft_cover(ellipse_distance(x, x[:, None], 9.0, 13.0), 1.0)
    assert cover.sum() == pytest.approx(np.pi * 9 * 13, rel=0.005)
    tube = np.array([[-30, 0, 0, 30, 0, 0, 4, 4]], dtype=np.float32)
    length = cover_of_tubes(tube, cube(15.0, 1.0)).sum() / (np.pi * 4**2)
    assert length == pytest.approx(30.0, rel=0.02)


def test_tubes_drawn_together_are_those_drawn_one_by_one(monkeypatch):
    who, grid = Patient(np.random.default_rng(5)), cube(60.0, 2.0)
    found = []
    for small in (0, 100, 10**9):  # voxels of the boxes that are drawn together
        monkeypatch.setattr(phantom_body, "SMALL_BOX", small)
        found.append(cover_of_tubes(who.vessels, grid))
    assert 0 < found[0].mean() < 1
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_no_tube_in_the_grid_covers_nothing():
    far = np.array([[500, 0, 0, 530, 0, 0, 4, 4]], dtype=np.float32)
    assert not cover_of_tubes(far, cube(15.0, 1.0)).any()


@pytest.mark.parametrize("step_mm", [0.7, 2.0])
@pytest.mark.parametrize("margin", ["smooth", "lobulated", "ill-defined"])
def test_a_nodule_has_the_volume_of_its_diameter(margin, step_mm):
    rng = np.random.default_rng(3)
    volumes = []
    for _ in range(6):
        who = Patient(rng)
        changed = {"margin": margin, "diameter_mm": 16.0, "texture": "solid"}
        nodule = Nodule(sample_traits(rng) | changed, who.anatomy, who.vessels, rng)
        nodule.traits["centre_mm"] = (0.2, -0.3, 0.1)
        whole, dense, _ = nodule.draw(cube(15.0, step_mm))
        assert np.array_equal(dense, whole)
        volumes.append((whole >= 0.5).sum() * step_mm**3)
    assert np.mean(volumes) == pytest.approx(np.pi / 6 * 16.0**3, rel=0.10)


@pytest.mark.parametrize("seed", range(4))
def test_the_anatomy_is_on_the_right_side(seed):
    anatomy = Anatomy(np.random.default_rng(seed))
    axes = [np.arange(low, high, 4.0, dtype=np.float32) for low, high in LUNG_BOX_MM]
    x, y, z = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    lung, heart = lung_distance(anatomy, x, y, z) < 0, heart_distance(anatomy, x, y, z) < 0
    ml = 4.0**3 / 1000 * np.prod(anatomy.scale)
    right, left = (lung & (x > 0)).sum() * ml, (lung & (x < 0)).sum() * ml
    assert 1000 < left < right < 4000  # the heart takes room from the left lung
    assert x[heart].mean() < -10 and y[heart].mean() > 0
    slopes = [np.ptp(z[lung & (np.abs(y - level) < 10)]) for level in (-60, 60)]
    assert slopes[0] > slopes[1]  # the lung reaches deepest behind
