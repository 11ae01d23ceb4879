"""The phantom kind ``thorax_notes``: chests with several nodules, one of which the text names.

Images are like those of ``lung3d``, but of patients with more and larger nodules (``PATIENTS`` in
`phantom_lung`), two or more of them in the scan. One, drawn by lot, is the tumour: the label holds
it alone, and the clinical table (side, lobe, size, T and stage by TNM 8) says which. Without the
text nobody can know; the people are made up.

Notes are as notes are: some are missing, some name the wrong place, and `notes_log.csv` says which;
clinical.csv is always right. Two other hospitals scan and write in their own way; their cases are
all for testing. Taught in lessons 14 and 15.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from seg_lib.data.notes import row_to_note
from seg_lib.data.phantom_nodules import choose
from seg_lib.data.phantom_scan import Scanner, volume_grid

# Largest diameter in mm to T, and N to the stage without metastases (TNM, 8th edition).
T_LIMITS_MM = ((10.0, "T1a"), (20.0, "T1b"), (30.0, "T1c"))
N_SHARES = {"N0": 0.6, "N1": 0.2, "N2": 0.2}  # [C]
STAGES = {"N0": {"T1a": "IA1", "T1b": "IA2", "T1c": "IA3"}}
STAGES |= {"N1": dict.fromkeys(STAGES["N0"], "IIB"), "N2": dict.fromkeys(STAGES["N0"], "IIIA")}
HISTOLOGIES = {"adenocarcinoma": 0.55, "squamous cell carcinoma": 0.35}
HISTOLOGIES |= {"large cell carcinoma": 0.10}  # [C]
LOBES = {"U": "upper", "M": "middle", "L": "lower"}
NOTE_FAULTS = {"none": 0.90, "missing": 0.05, "wrong place": 0.05}  # [C]


@dataclasses.dataclass(frozen=True)
class Hospital:
    """Where the scans and notes come from; numbers chosen, not measured at any real hospital."""

    first_patient: int  # so that nobody is in two hospitals
    wordings: tuple[int, ...]  # of `row_to_note`
    scanner: Scanner | None = None  # None: as in ``lung3d``
    offset_hu: float = 0.0  # by which everything but air is off


HOSPITALS = {
    "home": Hospital(0, (0, 1)),
    # Soft kernel and another way of writing.
    "external1": Hospital(100_000, (2,), Scanner(-1024, 30.0, 3.0, 3.0)),
    # Low dose, and a scanner that is calibrated badly.
    "external2": Hospital(200_000, (2, 1), Scanner(-2048, 90.0, 1.0, 2.0), 60.0),
}


def patients_with_choice(patient_of, size: tuple[int, int, int], first: int) -> Iterator[int]:
    """Numbers from ``first`` on of patients of whom two or more nodules lie inside the scan."""
    for number in itertools.count(first):
        grid, slice_mm = volume_grid(patient_of(number), size)
        inside = [
            grid.z[0] + slice_mm < nodule.traits["centre_mm"][2] < grid.z[-1] - slice_mm
            for nodule in patient_of(number).nodules
        ]
        if sum(inside) >= 2:
            yield number


def choose_target(drawn, rng: np.random.Generator):
    """The phantom with only the tumour in its mask, and the clinical row that names it."""
    owner = _owners(drawn)
    visible = [i for i in range(len(drawn.nodules)) if (owner == i + 1).any()]
    target = visible[rng.integers(len(visible))]
    mask = (owner == target + 1).astype(np.uint8)
    row = _clinical_row(drawn.nodules[target], rng)
    return dataclasses.replace(drawn, mask=mask), {"patient": drawn.patient} | row


def note_as_written(
    row: dict, hospital: Hospital, place: int, rng: np.random.Generator
) -> tuple[str, dict]:
    """The note that came with the scan, and its line of the log."""
    wording = hospital.wordings[place % len(hospital.wordings)]
    fault = choose(rng, NOTE_FAULTS)
    told = row
    if fault == "wrong place":
        told = row | {"side": "left" if row["side"] == "right" else "right"}
        told["lobe"] = choose(rng, {"upper": 0.5, "lower": 0.5})
    note = "" if fault == "missing" else row_to_note(told, wording)
    return note, {"patient": row["patient"], "wording": wording, "fault": fault}


def off_calibration(hu: np.ndarray, offset_hu: float) -> np.ndarray:
    """HU (X, Y, Z) with everything but air brighter by ``offset_hu``."""
    return np.where(hu > -950, hu + offset_hu, hu).astype(hu.dtype) if offset_hu else hu


def _owners(drawn) -> np.ndarray:
    """(X, Y, Z) int: to which nodule, from 1 on, a voxel of the mask belongs."""
    voxels = np.argwhere(drawn.mask)
    at_mm = voxels * np.array(drawn.spacing_mm) + drawn.affine[:3, 3]
    far = [np.linalg.norm(at_mm - n["centre_mm"], axis=1) / n["diameter_mm"] for n in drawn.nodules]
    owner = np.zeros(drawn.mask.shape, np.int8)
    near = np.min(far, axis=0) < 1.0  # a nodule outside the scan may reach into it
    owner[tuple(voxels[near].T)] = np.argmin(far, axis=0)[near] + 1
    return owner


def _clinical_row(nodule: dict, rng: np.random.Generator) -> dict:
    size_mm = round(float(nodule["diameter_mm"]), 1)
    t = next(name for limit, name in T_LIMITS_MM if size_mm <= limit)
    n = choose(rng, N_SHARES)
    smoker = rng.random() < 0.8
    return {
        "age": int(rng.integers(45, 89)),
        "sex": choose(rng, {"male": 0.6, "female": 0.4}),
        "site": "lung",
        "histology": choose(rng, HISTOLOGIES),
        "side": {"R": "right", "L": "left"}[nodule["lobe"][0]],
        "lobe": LOBES[nodule["lobe"][1]],
        "size_mm": size_mm,
        "t": t,
        "n": n,
        "m": "M0",
        "stage": STAGES[n][t],
        "ecog": int(choose(rng, {0: 0.4, 1: 0.45, 2: 0.15})),
        "pack_years": int(rng.integers(5, 80)) if smoker else 0,
        "bmi": round(float(rng.uniform(18, 35)), 1),
    }
