"""Several hospitals: each in turn is the test of what was learned at the others."""

import dataclasses
from collections.abc import Mapping, Sequence

from seg_lib.data.case_rules import Case, check_cases
from seg_lib.errors import InputError


def leave_one_site_out(sites: Mapping[str, Sequence[Case]]) -> dict[str, list[Case]]:
    """For each site the cases of all: its own are to be tested, those of the others to train on.

    Which split a case had does not count; `seg_lib.data.cases.with_validation` takes the
    validation from the training.

    Args:
        sites: name of the site -> its cases.

    Raises:
        InputError: fewer than two sites, or a patient or the id of a case at two of them.

    Source: 001, validation at several institutions (future work).
    """
    if len(sites) < 2:
        raise InputError(f"leave one site out: {len(sites)} sites; give the cases of two or more.")
    splits = {}
    for out in sites:
        splits[out] = [
            dataclasses.replace(case, split="test" if name == out else "train")
            for name, cases in sites.items()
            for case in cases
        ]
        check_cases(splits[out], f"all sites but {out}")
    return splits
