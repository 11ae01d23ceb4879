"""The phantom kind thorax_notes: its notes name its tumour, but for faults that are logged."""

import csv

import numpy as np
import pytest
from scipy import ndimage

from seg_lib.data.nifti import read_image, read_mask
from seg_lib.data.notes import read_clinical, row_to_note
from seg_lib.data.phantom import CLINICAL_CSV, NOTES_LOG_CSV, make_phantom
from seg_lib.data.phantom_notes import HOSPITALS, NOTE_FAULTS, note_as_written
from seg_lib.errors import InputError
from seg_lib.files import sha256_of

SIZE = (64, 64, 24)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    return folder, make_phantom("thorax_notes", 3, SIZE, 1, folder)


def log_of(folder):
    return list(csv.DictReader((folder / NOTES_LOG_CSV).read_text().splitlines()))


def test_the_table_says_where_the_tumour_is(home):
    folder, cases = home
    rows, findings = read_clinical(folder / CLINICAL_CSV)
    assert findings == [] and len(rows) == 3
    for case, row in zip(cases, rows, strict=True):
        mask = read_mask(case.label)
        centre = ndimage.center_of_mass(mask.array)
        side_mm, _, _ = mask.affine[:3, :3] @ centre + mask.affine[:3, 3]
        assert (side_mm > 0) == (row["side"] == "right")
        assert row["patient"] == case.patient
        volume_mm3 = mask.array.sum() * abs(np.linalg.det(mask.affine[:3, :3]))
        diameter_mm = (6 / np.pi * volume_mm3) ** (1 / 3)
        assert 0.5 * row["size_mm"] < diameter_mm < 1.6 * row["size_mm"]
        limits = {"T1a": (0, 10), "T1b": (10, 20), "T1c": (20, 30)}[row["t"]]
        assert limits[0] < row["size_mm"] <= limits[1]
        assert row["stage"].startswith({"N0": "IA", "N1": "IIB", "N2": "IIIA"}[row["n"]])


def test_a_note_without_fault_is_the_row_in_words(home):
    folder, cases = home
    rows = read_clinical(folder / CLINICAL_CSV).rows
    for case, row, line in zip(cases, rows, log_of(folder), strict=True):
        assert line["patient"] == case.patient
        right = row_to_note(row, int(line["wording"]))
        assert {"none": case.note == right, "missing": case.note == ""}.get(
            line["fault"], case.note != right
        )
        assert f"{row['side']} {row['lobe']} lobe" in right and f"{row['size_mm']:g}" in right


def test_the_same_numbers_give_the_same_bytes(home, tmp_path):
    _, cases = home
    again = make_phantom("thorax_notes", 3, SIZE, 1, tmp_path)
    assert [c.note for c in again] == [c.note for c in cases]
    assert [sha256_of(c.label) for c in again] == [sha256_of(c.label) for c in cases]


def test_faults_come_as_often_as_they_say_and_name_the_other_side():
    row = {"patient": "p1", "side": "left", "lobe": "upper", "size_mm": 12.0}
    rng, n = np.random.default_rng(0), 4000
    notes = [note_as_written(row, HOSPITALS["home"], i, rng) for i in range(n)]
    for fault, share in NOTE_FAULTS.items():
        found = [note for note, line in notes if line["fault"] == fault]
        assert abs(len(found) / n - share) < 4 * np.sqrt(share * (1 - share) / n)
        assert all((note == "") == (fault == "missing") for note in found)
        assert all(("right" in note) == (fault == "wrong place") for note in found)
    assert {line["wording"] for _, line in notes} == set(HOSPITALS["home"].wordings)


def test_other_hospitals_have_other_people_other_greys_and_only_tests(home, tmp_path):
    noise, brightness, people = {}, {}, []
    for name in HOSPITALS:
        cases = make_phantom("thorax_notes", 3, SIZE, 1, tmp_path / name, hospital=name)
        assert name == "home" or {case.split for case in cases} == {"test"}
        people.append({case.patient for case in cases})
        hu = [read_image(case.image).array for case in cases]
        inside = [array[(array > -200) & (array < 250)] for array in hu]  # soft tissue
        brightness[name] = np.mean([np.median(values) for values in inside])
        noise[name] = np.mean([np.std(np.diff(array[28:36, 28:36], axis=2)) for array in hu])
    assert len(set.union(*people)) == 9
    assert brightness["external2"] > brightness["home"] + 25
    assert noise["external2"] > noise["external1"]


def test_a_hospital_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="external9.*home, external1, external2"):
        make_phantom("thorax_notes", 1, SIZE, 1, tmp_path, hospital="external9")
    with pytest.raises(InputError, match="of lung3d"):
        make_phantom("lung3d", 1, SIZE, 1, tmp_path, hospital="external1")
