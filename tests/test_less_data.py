"""Nested shares, epochs of equal length, the curve by hand, and a pair that is trained."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import made_phantoms

from seg_lib import interval_charts, less_data, text3d, volumes3d
from seg_lib.course.profiles import Settings, settings
from seg_lib.data.cases import Case
from seg_lib.data.patches import NotedPatches
from seg_lib.data.volumes import Place, Prepared
from seg_lib.errors import InputError
from seg_lib.training import load_checkpoint

SMALL = {"patch": (32, 16, 16), "epochs": 1, "image_epochs": 1, "patches": 2, "llama_steps": 2}
TINY = Settings("16", "x", dict(settings("16", "smoke").sizes) | SMALL | {"validate_every": 1})


def volumes_of(names):
    """Volumes without content, ``p07b`` being another one of patient ``p07``."""
    place = Place((1, 1, 1), (slice(0, 1),) * 3)
    made = []
    for name in names:
        case = Case(name, name[:3], Path(name), None, "train")
        image = np.zeros((1, 1, 1), np.float32)
        made.append(Prepared(image, None, place, (1.0, 1.0, 1.0), case))
    return made


VOLUMES = volumes_of([f"p{i:02d}" for i in range(20)] + ["p07b"])


def names_in(volumes):
    return [volume.case.case for volume in volumes]


def test_a_smaller_share_lies_within_a_larger_one():
    shares = [i / 10 for i in range(1, 11)]
    chosen = less_data.nested_shares(VOLUMES, shares)
    patients = [{volume.case.patient for volume in chosen[share]} for share in shares]
    assert [len(some) for some in patients] == list(range(2, 21, 2))
    assert all(small < large for small, large in zip(patients, patients[1:], strict=False))
    assert names_in(chosen[1.0]) == names_in(VOLUMES)


def test_all_volumes_of_a_patient_go_together():
    for seed in range(20):
        names = set(names_in(less_data.nested_shares(VOLUMES, [0.3], seed)[0.3]))
        assert ("p07" in names) == ("p07b" in names)


def test_the_seed_chooses_and_the_other_shares_do_not():
    alone = less_data.nested_shares(VOLUMES, [0.2], 3)[0.2]
    among = less_data.nested_shares(VOLUMES[::-1], [1.0, 0.2, 0.7], 3)[0.2]
    assert set(names_in(alone)) == set(names_in(among))
    first = {tuple(names_in(less_data.nested_shares(VOLUMES, [0.2], s)[0.2])) for s in range(9)}
    assert len(first) > 6


def test_half_a_patient_counts_as_one_and_one_is_the_least():
    ten = VOLUMES[:10]
    chosen = less_data.nested_shares(ten, [0.001, 0.25, 0.35, 0.9])
    assert [len(chosen[share]) for share in chosen] == [1, 3, 4, 9]


@pytest.mark.parametrize(("volumes", "share"), [(VOLUMES, 0), (VOLUMES, 1.1), ([], 0.5)])
def test_shares_that_are_none_are_refused(volumes, share):
    with pytest.raises(InputError, match="above 0, up to 1"):
        less_data.nested_shares(volumes, [share])


def test_an_epoch_has_as_many_steps_whatever_the_share():
    chosen = less_data.nested_shares(VOLUMES, [0.1, 0.35, 1.0])
    filled = [less_data.filled_up(volumes, 21) for volumes in chosen.values()]
    assert [len(volumes) for volumes in filled] == [21, 21, 21]
    counts = [np.unique(names_in(volumes), return_counts=True)[1] for volumes in filled]
    assert all(np.ptp(count) <= 1 for count in counts)
    with_labels = [
        [dataclasses.replace(v, label=np.ones((1, 1, 1), np.uint8)) for v in volumes]
        for volumes in filled
    ]
    assert {len(NotedPatches(v, (1, 1, 1), batch_size=4, patches=3)) for v in with_labels} == {16}


def test_the_curve_by_hand():
    scores = {
        ("with notes", 0.5): [[0.0, 0.4], [0.2, 0.6]],  # two seeds of two cases
        ("with notes", 1.0): [[0.5, 0.5], [0.5, 0.5]],
    }
    half, whole = less_data.learning_curve(scores)
    assert half["dice"] == pytest.approx(0.3)
    assert (half["low"], half["high"]) == pytest.approx((0.1, 0.5))  # a case: 0.1 and 0.5
    assert (half["seed_low"], half["seed_high"]) == pytest.approx((0.2, 0.4))
    assert (half["n"], half["seeds"], half["share"]) == (2, 2, 0.5)
    assert whole["low"] == whole["high"] == whole["dice"] == 0.5


def test_the_figure_has_a_line_a_network_and_the_number_of_patients():
    scores = {(n, s): [[0.1, 0.4], [0.2, s]] for n in less_data.NETWORKS for s in (0.2, 1.0)}
    figure = interval_charts.share_curve(less_data.learning_curve(scores), n_patients=70)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["20\n(14)", "100\n(70)"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(less_data.NETWORKS)
    assert "pale" in axes.get_ylabel(), "two seeds"
    with pytest.raises(InputError, match="rows: is empty"):
        interval_charts.share_curve([])


def test_the_figure_of_costs_has_a_line_a_change():
    row = {"dice": 0.5, "difference": -0.1, "difference_low": -0.2, "difference_high": 0.0}
    rows = [row | {"change": name} for name in ("unchanged", "noise 50 HU", "moved 30 mm")]
    figure = interval_charts.cost_dots({"one": rows, "two": rows})
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [
        "noise 50 HU",
        "moved 30 mm",
    ]
    with pytest.raises(InputError, match="the same changes"):
        interval_charts.cost_dots({"one": rows, "two": rows[:2]})
    with pytest.raises(InputError, match="give one network"):
        interval_charts.cost_dots({})


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    phantoms = made_phantoms("thorax_notes", 5, tmp_path_factory)
    return volumes3d.volumes3d_parts(phantoms, None, TINY, 0)


def trained_on(run):
    """Steps of an epoch and epochs of a run, from what it has stored."""
    about = load_checkpoint(run / "last.safetensors")[1]
    return about["steps"], len(about["history"])


def test_both_of_a_pair_look_again_at_the_same_false_alarms(tmp_path, parts, monkeypatch):
    """Else the network with notes would win by patches that its rival never saw."""
    drawn = []

    class Recorded(NotedPatches):
        def __init__(self, *where, **how):
            drawn.append(how.get("hard"))
            super().__init__(*where, **how)

    monkeypatch.setattr(text3d, "NotedPatches", Recorded)
    text3d.language_model_for(tmp_path, TINY, 0)
    pair = less_data.train_pair(parts, tmp_path / "pair", TINY, 0, tmp_path)
    first, without, resumed, with_notes = drawn
    assert first is None and resumed is None
    start = less_data.start_of(tmp_path / "pair")
    text3d.load_weights(pair["image only"], start / "best.safetensors")
    for volume, one, other in zip(parts[0], without, with_notes, strict=True):
        found = text3d.false_alarms(pair["image only"], volume, TINY)
        np.testing.assert_array_equal(one, found)
        np.testing.assert_array_equal(other, found)
    assert any(map(len, without)), "a network of few steps has false alarms"


def test_a_pair_has_the_same_start_and_as_many_steps_and_lends_its_start(tmp_path, parts):
    train, val, _ = parts
    text3d.language_model_for(tmp_path, TINY, 0)
    few = (less_data.filled_up(train[:1], len(train)), val, [])
    (tmp_path / "few" / "with_notes").mkdir(parents=True)
    (tmp_path / "few" / "with_notes" / "last.safetensors").write_text("of an earlier run")
    pair = less_data.train_pair(few, tmp_path / "few", TINY, 0, tmp_path)
    start = less_data.start_of(tmp_path / "few")
    less_data.train_pair((train, val, []), tmp_path / "all", TINY, 0, tmp_path, start)
    assert tuple(pair) == less_data.NETWORKS
    runs = [
        tmp_path / who / name for who in ("few", "all") for name in ("image_only", "with_notes")
    ]
    assert len({(run / "image_only" / "best.safetensors").read_bytes() for run in runs}) == 1
    assert len({(run / "best.safetensors").read_bytes() for run in runs}) == 4
    assert {trained_on(run) for run in runs} == {(-(-len(train) * 2 // 4), 1)}
    notes = [volume.case.note for volume in val]
    for network, told in zip(pair.values(), ([None], notes), strict=True):
        assert len(text3d.score_noted(network, val, told, TINY)) == 1
