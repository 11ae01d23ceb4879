"""Intervals and p values: by hand, by enumeration, and by counting how often they are right."""

import itertools
import time

import numpy as np
import pytest

from seg_lib.errors import InputError
from seg_lib.resampling import bootstrap_interval, paired_difference, ratio_of_means


def test_constant_values_have_an_interval_without_width():
    low, high = bootstrap_interval([0.7] * 9, list("aabbccdde"))
    assert low == pytest.approx(0.7) and high == pytest.approx(0.7)


def test_two_values_by_hand():
    """Of 0 and 1 the draws are 00, 01, 10, 11: means 0, 0.5, 0.5, 1 with weights 1, 2, 1."""
    assert bootstrap_interval([0.0, 1.0], level=0.95) == (0.0, 1.0)
    assert bootstrap_interval([0.0, 1.0], level=0.4) == (0.5, 0.5)


def test_all_values_of_a_patient_are_drawn_together():
    """Two patients of constant values: slices do not count as independent."""
    values, patients = [0.0] * 50 + [1.0] * 50, ["p"] * 50 + ["q"] * 50
    assert bootstrap_interval(values, patients) == (0.0, 1.0)
    low, high = bootstrap_interval(values)
    assert 0.35 < low < high < 0.65  # 100 independent values would be another matter


def test_patients_of_different_size_weigh_by_their_cases():
    low, high = bootstrap_interval([0, 0, 0, 1], ["p", "p", "p", "q"])
    assert (low, high) == (0.0, 1.0)
    low, high = bootstrap_interval([0, 0, 0, 1], ["p", "p", "p", "q"], level=0.4)
    assert (low, high) == (0.25, 0.25)  # p once, q once: one of four


def test_one_patient_has_no_spread():
    assert bootstrap_interval([0.2, 0.8], ["p", "p"]) == (0.5, 0.5)


def test_equals_scipy_for_independent_values():
    from scipy import stats

    values = np.random.default_rng(3).beta(5, 2, 60)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=0
    ).confidence_interval
    ours = bootstrap_interval(values, n_resamples=4000)
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_the_seed_decides():
    values = np.random.default_rng(0).random(30)
    assert bootstrap_interval(values, seed=4) == bootstrap_interval(values, seed=4)
    assert bootstrap_interval(values, seed=4) != bootstrap_interval(values, seed=5)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """40 patients with 3 correlated cases each; by case the interval would be far too sure."""
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(40), 3)
    by_patient = by_case = 0
    for trial in range(200):
        values = 0.7 + 0.1 * rng.normal(size=40)[patients] + 0.02 * rng.normal(size=120)
        low, high = bootstrap_interval(values, patients, n_resamples=300, seed=trial)
        by_patient += low <= 0.7 <= high
        low, high = bootstrap_interval(values, None, n_resamples=300, seed=trial)
        by_case += low <= 0.7 <= high
    assert 178 <= by_patient <= 199  # 95 % of 200 is 190
    assert by_case < 165


def test_two_thousand_draws_of_three_hundred_cases_are_quick():
    values = np.random.default_rng(0).random(300)
    rng, took, one_by_one = np.random.default_rng(0), [], []
    for _ in range(5):
        began = time.perf_counter()
        bootstrap_interval(values, np.arange(300) // 2)
        took.append(time.perf_counter() - began)
        began = time.perf_counter()
        for _ in range(2_000):
            rng.choice(values, 300).mean()
        one_by_one.append(time.perf_counter() - began)
    assert min(took) < min(one_by_one)


@pytest.mark.parametrize(
    ("values", "groups", "says"),
    [
        ([], None, "0 values; .* not empty"),
        ([0.1, np.nan], None, "2 values; they must be a list of finite numbers"),
        ([[0.1], [0.2]], None, "2 values; they must be a list"),
        ([0.1, 0.2], ["a"], "2 values in 1 groups"),
    ],
)
def test_values_that_cannot_be_resampled_are_refused(values, groups, says):
    with pytest.raises(InputError, match=says):
        bootstrap_interval(values, groups)


def test_five_wins_in_five_pairs_by_hand():
    """Only +++++ and ----- of 32 assignments are as extreme: p = 2/32."""
    found = paired_difference([0.6, 0.7, 0.8, 0.9, 0.5], [0.5, 0.6, 0.7, 0.8, 0.4])
    assert found["p"] == 2 / 32
    assert found["difference"] == pytest.approx(0.1)
    assert found["low"] == pytest.approx(0.1) and found["high"] == pytest.approx(0.1)
    assert (found["n"], found["n_groups"]) == (5, 5)


def test_equal_methods_have_p_one():
    values = [0.3, 0.9, 0.5]
    assert paired_difference(values, values)["p"] == 1.0


def test_exact_p_equals_counting_every_assignment():
    rng = np.random.default_rng(5)
    a, b = rng.random(9), rng.random(9)
    d = a - b
    means = [np.mean(d * s) for s in itertools.product((1, -1), repeat=9)]
    expected = np.mean(np.abs(means) >= abs(d.mean()) - 1e-12)
    assert paired_difference(a, b)["p"] == pytest.approx(expected)


def test_ties_count_in_spite_of_rounding():
    """Summed in another order, 0.7 + 0.7 + 0.6 + 0.7 is larger; strictly, p would be 0."""
    assert paired_difference([0.0] * 4, [0.7, 0.7, 0.6, 0.7])["p"] == 2 / 16
    assert paired_difference([0.7, 0.7, 0.6, 0.7], [0.0] * 4)["p"] == 2 / 16


def test_equals_scipys_permutation_test():
    from scipy import stats

    rng = np.random.default_rng(8)
    a, b = rng.random(25) + 0.08, rng.random(25)
    theirs = stats.permutation_test(
        (a, b),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=0,
    ).pvalue
    assert paired_difference(a, b, n_resamples=20_000)["p"] == pytest.approx(theirs, abs=0.015)


def test_signs_flip_by_patient():
    """Ten cases of one patient are one piece of evidence: two assignments, both as extreme."""
    a, b = np.linspace(0.6, 0.9, 10), np.linspace(0.5, 0.8, 10)
    assert paired_difference(a, b, ["p"] * 10)["p"] == 1.0
    assert paired_difference(a, b)["p"] == 2 / 1024


def test_p_values_of_equal_methods_are_uniform():
    rng = np.random.default_rng(2)
    small = 0
    for trial in range(300):
        a, b = rng.normal(size=(2, 15))
        small += paired_difference(a, b, n_resamples=200, seed=trial)["p"] <= 0.1
    assert 14 <= small <= 48  # 10 % of 300 is 30


def test_unpaired_values_are_refused():
    with pytest.raises(InputError, match="pair them"):
        paired_difference([0.1, 0.2], [0.1])


def test_the_ratio_of_two_means_by_hand():
    """Two patients: the draws are both of one or each once, with weights 1, 2, 1."""
    found = ratio_of_means([1.0, 1.0], [2.0, 4.0])
    assert found["ratio"] == pytest.approx(1 / 3)
    assert (found["low"], found["high"]) == (0.25, 0.5)
    assert (found["n"], found["n_groups"]) == (2, 2)


def test_a_ratio_to_itself_is_one_without_width():
    values = np.random.default_rng(0).random(30)
    found = ratio_of_means(values, values)
    assert found["ratio"] == found["low"] == found["high"] == 1
    assert ratio_of_means(0.83 * values, values)["low"] == pytest.approx(0.83)


def test_patients_are_drawn_for_a_ratio_too():
    values, of = [1.0, 1.0, 3.0, 3.0], ["p", "p", "q", "q"]
    found = ratio_of_means(values, [2.0, 2.0, 2.0, 2.0], of)
    assert (found["ratio"], found["low"], found["high"]) == (1.0, 0.5, 1.5)
    assert (found["n"], found["n_groups"]) == (4, 2)


def test_draws_of_nothing_but_zeros_are_infinity():
    found = ratio_of_means([0.5, 0.5], [0.0, 1.0])
    assert (found["ratio"], found["low"], found["high"]) == (1.0, 0.5, np.inf)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [([1.0], [0.0], "B not 0"), ([-1.0], [1.0], "from 0 on"), ([1.0], [1.0, 2.0], "pair them")],
)
def test_ratios_that_say_nothing_are_refused(a, b, message):
    with pytest.raises(InputError, match=message):
        ratio_of_means(a, b)
