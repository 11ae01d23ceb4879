"""Each hospital in turn is the test of the others, and nobody is on both sides."""

import dataclasses
from pathlib import Path

import pytest

from seg_lib.data.case_rules import Case
from seg_lib.data.cases import with_validation
from seg_lib.data.sites import leave_one_site_out
from seg_lib.errors import InputError


def cases_of(site, *patients, split="train"):
    names = [(f"{site}_{number}", patient) for number, patient in enumerate(patients)]
    return [Case(n, p, Path(f"{n}.nii.gz"), Path(f"{n}_mask.nii.gz"), split) for n, p in names]


SITES = {
    "a": cases_of("a", "p1", "p1", "p2"),
    "b": cases_of("b", "p3", split="test"),
    "c": cases_of("c", "p4", "p5", split="val"),
}


def test_every_site_is_the_test_once_whatever_its_cases_were_before():
    splits = leave_one_site_out(SITES)
    tested = {
        out: [case.case for case in cases if case.split == "test"] for out, cases in splits.items()
    }
    assert tested == {"a": ["a_0", "a_1", "a_2"], "b": ["b_0"], "c": ["c_0", "c_1"]}
    for out, cases in splits.items():
        trained = {case.case for case in cases if case.split == "train"}
        assert trained == {c.case for s in SITES.values() for c in s} - set(tested[out])
    same = [dataclasses.replace(case, split="x") for case in splits["a"]]
    assert same == [dataclasses.replace(c, split="x") for s in SITES.values() for c in s]


def test_the_validation_comes_from_the_other_sites():
    parts = with_validation(leave_one_site_out(SITES)["a"], 0)
    assert {case.case[0] for case in parts["test"]} == {"a"}
    assert {case.case[0] for case in parts["train"] + parts["val"]} == {"b", "c"}
    assert parts["val"] and not {c.patient for c in parts["val"]} & {
        c.patient for c in parts["train"]
    }


@pytest.mark.parametrize(
    ("sites", "says"),
    [
        ({"a": SITES["a"]}, "1 sites; give the cases of two or more"),
        ({"a": SITES["a"], "d": cases_of("d", "p2")}, "patients in more than one split: p2"),
        ({"a": SITES["a"], "d": cases_of("a", "p9")}, "case 'a_0' is listed twice"),
    ],
)
def test_sites_that_share_a_patient_or_a_name_are_refused(sites, says):
    with pytest.raises(InputError, match=says):
        leave_one_site_out(sites)
