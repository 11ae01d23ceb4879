"""The controls of `benchmarks/text_guided.py`: whose note is told, and who follows a wrong one."""

from types import SimpleNamespace

import numpy as np
import pytest
import text_guided
import torch

LEFT = {"patient": "p1", "side": "left", "lobe": "lower"}
RIGHT = {"patient": "p2", "side": "right", "lobe": "middle"}


def volume(patient, note=""):
    case = SimpleNamespace(patient=patient, note=note)
    return SimpleNamespace(case=case, image=np.zeros((8, 4, 4), np.float32))


def test_a_wrong_side_is_the_other_one_and_the_left_lung_has_no_middle_lobe():
    assert text_guided.wrong_side(LEFT) == LEFT | {"side": "right"}
    assert text_guided.wrong_side(RIGHT) == RIGHT | {"side": "left", "lobe": "upper"}
    assert RIGHT["side"] == "right", "the row itself stays"


def test_every_control_says_what_its_name_says():
    rows = {row["patient"]: row for row in (LEFT, RIGHT)}
    notes = text_guided.notes_of([volume("p1", "as typed"), volume("p2", "so")], rows)
    right = notes["right note"]
    assert "left" in right[0] and "right" in right[1]
    assert notes["note of another patient"] == right[::-1]
    assert notes["note as it came"] == ["as typed", "so"] and notes["empty note"] == ["", ""]
    assert all(other not in right for other in notes["other words"])
    assert "left" not in notes["wrong side"][0] and "right" not in notes["wrong side"][1]


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        (lambda note: "right" in note, (2, 2, 2)),  # where the note says
        (lambda note: "right" not in note, (0, 2, 2)),  # on the other side
        (lambda note: True, (1, 2, 2)),  # always on the right
        (lambda note: None, (0, 0, 2)),  # nothing
    ],
)
def test_who_draws_on_the_side_that_a_wrong_note_names(monkeypatch, drawn, expected):
    """Two patients with nodules in both lungs, one of each side; a third has them in one lung."""

    def logits(model, volume, note, how):
        found = torch.full((1, 1, *volume.image.shape), -1.0)
        if (on_the_right := drawn(note)) is not None:
            found[0, 0, 5 if on_the_right else 2, 1, 1] = 1  # x grows to the right
        return found

    rows = {row["patient"]: row for row in (LEFT, RIGHT, LEFT | {"patient": "p3"})}
    monkeypatch.setattr(text_guided.text_inference, "logits_of", logits)
    monkeypatch.setattr(text_guided, "two_sided", lambda volume, _: volume.case.patient != "p3")
    monkeypatch.setattr(text_guided, "sliding_of", lambda _: None)
    sizes = SimpleNamespace(size=(8, 4, 4))
    volumes = [volume(patient) for patient in rows]
    assert text_guided.follows(None, volumes, rows, sizes) == expected


SITES = ("home", "external1", "external2")


@pytest.fixture
def three_patients_a_site(tmp_path):
    """A tiny phantom of each hospital, where the benchmark looks for it."""
    for name in SITES:
        text_guided.phantom(tmp_path, 3, (48, 48, 16), name)
    return tmp_path


def test_a_site_that_is_left_out_is_judged_and_never_trained_on(three_patients_a_site, monkeypatch):
    seen, work = {}, three_patients_a_site

    def trained(parts, folder, sizes, seed):
        seen["train"], seen["val"] = ({v.case.image.parts[-3] for v in p} for p in parts[:2])
        return "image only", "told"

    def score(model, volumes, notes, sizes):
        seen[model] = (list(notes), {v.case.image.parts[-3] for v in volumes})
        dice = 0.5 if model == "told" else 0.2
        return [
            {"case": v.case.case, "patient": v.case.patient, "dice": dice, "volume_ml": 1.0}
            | {"reference_volume_ml": 1.0}
            for v in volumes
        ]

    monkeypatch.setattr(text_guided, "trained", trained)
    monkeypatch.setattr(text_guided.text3d, "score_noted", score)
    row = {"n_cases": 9, "size": (48, 48, 16), "spacing_mm": None, "box": "lungs"}
    sizes = text_guided.Settings("15", "x", row)
    found = text_guided.one_site(work, sizes, "external1", 0)
    assert seen["train"] | seen["val"] == {"home-3", "external2-3"}
    rows = text_guided.rows_of(work / "external1-3")
    right = [text_guided.row_to_note(row) for row in rows.values()]
    assert seen["told"] == (right, {"external1-3"})
    assert seen["image only"] == ([None] * 3, {"external1-3"})
    table = text_guided.sites_summarised({"external1": [found, found]})["sites"]["external1"]
    means = [table[name]["dice"]["mean"] for name in ("right note", "image only")]
    assert means == pytest.approx([0.5, 0.2])
    assert table["gain"]["difference"] == pytest.approx(0.3) and table["gain"]["n"] == 3
