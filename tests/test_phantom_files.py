"""Phantoms on disk: the layouts of real sets, the same bytes every time, whole or not at all."""

import numpy as np
import pytest
from scipy import ndimage

from seg_lib.data.cases import CASES_CSV, read_cases
from seg_lib.data.nifti import axial_view, read_image, read_mask
from seg_lib.data.phantom import lung_slice, lung_volume, make_phantom, rough_lung
from seg_lib.data.pickle_table import Table
from seg_lib.data.pickles import PATIENTS_CSV, patients_of_rows, read_lungrads_pickle
from seg_lib.errors import InputError
from seg_lib.files import sha256_of


def test_volumes_on_disk_lie_where_they_should(tmp_path):
    cases = make_phantom("lung3d", 3, (48, 48, 16), seed=4, out_dir=tmp_path)
    assert read_cases(tmp_path) == cases
    assert [case.split for case in cases] == ["train", "val", "test"]
    stored = []
    for number, case in enumerate(cases):
        image, mask = read_image(case.image), read_mask(case.label)
        drawn = lung_volume(4, (48, 48, 16), number)
        assert np.array_equal(image.array, drawn.hu) and np.array_equal(mask.array, drawn.mask)
        assert np.allclose(image.affine, drawn.affine, atol=1e-4)
        assert image.spacing_mm == pytest.approx(case.spacing_mm, abs=1e-4)
        stored.append(image.stored_affine[0, 0] < 0)
        view = axial_view(image.array, 8)
        bone = ndimage.center_of_mass(view > 250)
        assert bone[0] > 24  # the spine is behind, which is down
    assert stored == [False, True, False]


def test_pickles_are_like_the_public_set(tmp_path):
    cases = make_phantom("lung2d", 9, 64, seed=2, out_dir=tmp_path)
    names = [f"lung_cancer_{split}.pkl" for split in ("train", "test")]
    people = {}
    for name in names:
        records = read_lungrads_pickle(tmp_path / name)
        known, provenance = patients_of_rows(tmp_path / name, len(records))
        inside = [case for case in cases if case.image.name == name]
        assert provenance == PATIENTS_CSV
        assert known == [(case.patient, case.spacing_mm) for case in inside]
        assert [record.lungrads for record in records] == [case.subtype for case in inside]
        assert all(record.mask.any() and record.hu.shape == (64, 64) for record in records)
        people[name] = {case.patient for case in inside}
        table = Table(tmp_path / name)
        assert list(table.columns) == ["label1", "mask", "hu_array", "hu_array_old"]
    assert not people[names[0]] & people[names[1]]
    assert sum(len(read_lungrads_pickle(tmp_path / name)) for name in names) == 9


def test_lung_of_the_public_layout_is_lung():
    drawn = lung_slice(0, 256, 1)
    lung = rough_lung(drawn.hu) == 1
    assert 0.05 < lung.mean() < 0.5
    assert (drawn.hu[lung] < -500).mean() > 0.7
    assert not lung[:8].any() and not lung[-8:].any()


@pytest.mark.parametrize(("kind", "size"), [("lung2d", 64), ("lung3d", (48, 48, 8))])
def test_files_repeat_and_more_cases_change_nothing(tmp_path, kind, size):
    few, again, more = (
        make_phantom(kind, n, size, 7, tmp_path / name)
        for n, name in ((4, "few"), (4, "again"), (6, "more"))
    )
    written = [sorted((tmp_path / name).rglob("*.*")) for name in ("few", "again")]
    sums = [[(path.name, sha256_of(path)) for path in paths if path.is_file()] for paths in written]
    assert len(sums[0]) >= 3 and sums[0] == sums[1]
    strip = [
        [(c.case, c.split, c.subtype, c.spacing_mm) for c in cases[:4]] for cases in (few, more)
    ]
    assert strip[0] == strip[1]
    if kind == "lung3d":
        assert [sha256_of(c.image) for c in few] == [sha256_of(c.image) for c in more[:4]]


@pytest.mark.parametrize(("kind", "last"), [("lung2d", PATIENTS_CSV), ("lung3d", CASES_CSV)])
def test_a_broken_off_set_does_not_look_complete(tmp_path, monkeypatch, kind, last):
    (tmp_path / last).write_text("from an earlier run")

    def full_disk(*_):
        raise InputError("disk full")

    monkeypatch.setattr("seg_lib.data.phantom.write_mask", full_disk)
    monkeypatch.setattr("seg_lib.data.phantom.written_whole", full_disk)
    with pytest.raises(InputError, match="disk full"):
        make_phantom(kind, 4, 64 if kind == "lung2d" else (48, 48, 8), 0, tmp_path)
    assert not (tmp_path / last).exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "brain"}, "lung2d, lung3d"),
        ({"size": 32}, "from .48,. to 1024"),
        ({"size": (64, 64, 64)}, "1 whole number"),
        ({"kind": "lung3d", "size": 64}, "3 whole number"),
        ({"size": 64.0}, "64.0"),
        ({"n_cases": 3}, "at least 4"),
        ({"n_cases": 2.5}, "whole number"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_bad_orders_are_refused_before_anything_is_written(tmp_path, changed, message):
    order = {"kind": "lung2d", "n_cases": 4, "size": 64, "seed": 0, "out_dir": tmp_path / "new"}
    with pytest.raises(InputError, match=message):
        make_phantom(**order | changed)
    assert not (tmp_path / "new").exists()
