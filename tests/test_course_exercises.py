"""Exercises: solutions are right, stubs are unsolved, known mistakes meet the hint that helps."""

import ast
import itertools
import random
import re
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from solutions.solutions import SOLUTIONS

from seg_lib.course import exercises
from seg_lib.course.exercises import LESSONS, check, exercises_of, verdict
from seg_lib.course.handout import exercises_in
from seg_lib.course.notebooks import (
    code_cells,
    find_notebooks,
    markdown_of,
    read_notebook,
    source_of,
)

EXERCISES = {id_: ex for number in LESSONS for id_, ex in exercises_of(number).items()}
BOOKS = find_notebooks(Path(__file__).parents[1] / "notebooks")
NOTEBOOKS = {book.number: read_notebook(book.path) for book in BOOKS}
ASKED = {number: exercises_in(notebook) for number, notebook in NOTEBOOKS.items()}


def names_in(source: str) -> dict:
    names = {}
    exec(source, names)  # noqa: S102 (a cell of our own lessons)
    return names


def stub_of(id_: str) -> object:
    """The answer that the lesson hands to ``check`` before anybody has touched it."""
    sources = [source_of(cell) for cell in code_cells(NOTEBOOKS[id_[:2]])]
    cell = ast.parse(next(source for source in sources if f'check("{id_}"' in source))
    cell.body = [node for node in cell.body if isinstance(node, ast.Assign | ast.FunctionDef)]
    return names_in(f"{ast.unparse(cell)}\nanswer = {ASKED[id_[:2]][id_]}")["answer"]


def planted_train_step():
    """The function of exercise 06b that is to be repaired; it stands in the lesson's text."""
    task = markdown_of(NOTEBOOKS["06"]).split("**06b.**")[1]
    return names_in(task.split("```python\n")[1].split("```")[0])["train_step"]


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_every_lesson_has_exercises_of_several_levels_in_order(number):
    asked = list(ASKED[number])
    assert asked == sorted(exercises_of(number)), "a checker for each, and each is asked"
    assert asked == [number + letter for letter in "abc"[: len(asked)]]
    assert 2 <= len(asked) <= 3
    assert len({EXERCISES[id_].level for id_ in asked}) >= 2
    for id_ in asked:
        assert f"**{id_}" in markdown_of(NOTEBOOKS[number]), "its text stands in the lesson"


def test_every_exercise_has_a_lesson_and_a_solution():
    assert list(NOTEBOOKS) == LESSONS
    assert EXERCISES.keys() == SOLUTIONS.keys()
    assert {exercise.level for exercise in EXERCISES.values()} == {1, 2, 3}


@pytest.mark.parametrize("id_", EXERCISES)
def test_the_solution_is_right(id_):
    status, sentence = verdict(id_, SOLUTIONS[id_])
    assert status == "right", sentence
    assert sentence == f"{id_}: right. {EXERCISES[id_].why}"


@pytest.mark.parametrize("id_", EXERCISES)
def test_the_stub_is_not(id_):
    status, sentence = verdict(id_, stub_of(id_))
    assert status == "not solved yet", sentence
    for nothing in (..., None, lambda *arguments: None):
        assert verdict(id_, nothing)[0] in ("not solved yet", "not yet")


def faults(*arguments):
    raise RuntimeError("a student's bug")


def exits(*arguments):
    raise SystemExit(0)


def swallows(*arguments):
    try:
        raise KeyError("caught by the student")
    except Exception:
        return ("a", "b", "c", "d")


WEIRD = [faults, exits, "text", 3.5, -1, [], {}, (1,), object(), np.nan, lambda: 1, lambda *a: "x"]
WEIRD += [
    np.zeros((2, 2)),
    lambda *a: np.zeros(3),
    lambda *a: a,
    lambda *a: (),
    torch.ones(3),
    {...: 1},
    swallows,
    lambda *a: itertools.count(),
    lambda *a: map(str, a),
    itertools.count(),
]


@pytest.mark.parametrize("id_", EXERCISES)
def test_no_answer_raises(id_, capsys):
    for answer in WEIRD:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert check(id_, answer) is None
        said = capsys.readouterr().out
        assert re.match(rf"{id_}: (not yet\. .+ Hint: .+|not solved yet\. .+)", said), said


def endless(*arguments):
    while True:
        pass


def stubborn(*arguments):
    for _ in itertools.count():
        try:
            time.sleep(0)
        except Exception:
            continue


@pytest.mark.parametrize("answer", [endless, stubborn, lambda *a: (1 for _ in iter(int, 1) if 0)])
def test_an_endless_answer_is_ended_with_a_sentence(monkeypatch, answer):
    monkeypatch.setattr(exercises, "LIMIT_S", 0.2)
    status, sentence = verdict("02c", answer)
    assert status == "not yet"
    assert "was still computing after 0.2 s. Hint: Does every loop come to its end?" in sentence


def test_the_limit_leaves_nothing_behind(monkeypatch):
    monkeypatch.setattr(exercises, "LIMIT_S", 0.05)
    assert verdict("00a", (-1350, 150))[0] == "right"
    sum(n * n for n in range(2_000_000))  # longer than the limit, after the check


def test_outside_the_main_thread_there_is_a_verdict_too():
    said = []
    thread = threading.Thread(target=lambda: said.append(verdict("00a", (-1350, 150))[0]))
    thread.start()
    thread.join()
    assert said == ["right"]


def test_a_generator_is_as_good_as_a_list():
    assert verdict("02c", lambda p, k: iter(SOLUTIONS["02c"](p, k)))[0] == "right"


def keeps_in_place(mask, share=0.5):
    """Lesson 11's solution, written into the array that was given."""
    mask[...] = SOLUTIONS["11b"](mask, share)
    return mask


@pytest.mark.parametrize(
    ("id_", "answer"),
    [
        ("08a", np.array([216, 46656])),
        ("11b", keeps_in_place),
        ("21c", sorted(SOLUTIONS["21c"])),
        ("21c", frozenset(SOLUTIONS["21c"])),
    ],
)
def test_a_right_answer_is_right_in_any_form(id_, answer):
    assert verdict(id_, answer)[0] == "right"


@pytest.mark.parametrize("number", ["00a", ["00a"], (1, 2), None, 7, "", np.zeros(2)])
def test_any_id_is_answered(number):
    status, sentence = verdict(number, ...)
    assert (status == "not solved yet") == (number == "00a" if isinstance(number, str) else False)
    assert status == "not solved yet" or "no such exercise" in sentence


def test_an_unknown_exercise_is_answered_with_the_known_ones(capsys):
    check("06z", 1)
    check("77a", 1)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "06z: no such exercise; try 06a, 06b."
    assert "there are lessons 00, 01, 02" in said[1]


def holm_beyond_one(p_values):
    largest, corrected = 0, np.zeros(len(p_values))
    for rank, i in enumerate(np.argsort(p_values)):
        corrected[i] = largest = max(largest, p_values[i] * (len(p_values) - rank))
    return corrected


def split_by_case(patients, n_test):
    cases = sorted(patients)
    return cases[n_test:], cases[:n_test]


def forgets_cases(patients, n_test):
    train, test = SOLUTIONS["03b"](patients, n_test)
    return train[1:], test


def stretch(hu, low, high):
    return ((hu - hu.min()) / (hu.max() - hu.min()) * 255).astype(np.uint8)


def wraps(hu, low, high):
    return ((hu - low) / (high - low) * 255).astype(np.int64).astype(np.uint8)


def in_place(hu, low, high):
    np.clip(hu, low, high, out=hu)
    return SOLUTIONS["03a"](hu, low, high)


def never_zeroes(model, optimizer, image, label, loss):
    value = loss(model(image), label)
    value.backward()
    optimizer.step()
    return value.item()


def zeroes_late(model, optimizer, image, label, loss):
    value = loss(model(image), label)
    value.backward()
    optimizer.zero_grad()
    optimizer.step()
    return value.item()


def never_steps(model, optimizer, image, label, loss):
    optimizer.zero_grad()
    value = loss(model(image), label)
    value.backward()
    return value.item()


def returns_tensor(model, optimizer, image, label, loss):
    optimizer.zero_grad()
    value = loss(model(image), label)
    value.backward()
    optimizer.step()
    return value


def returns_nothing(*arguments):
    returns_tensor(*arguments)


def iou(mask, reference):
    mask, reference = mask.astype(bool), reference.astype(bool)
    return (mask & reference).sum() / max((mask | reference).sum(), 1)


def dice_of_nothing(value):
    def dice(mask, reference):
        total = mask.astype(int).sum() + reference.astype(int).sum()
        return value if total == 0 else 2 * (mask.astype(int) * reference).sum() / total

    return dice


def drawn_anew(patients, shares, seed):
    draw = random.Random(seed)
    return {share: set(draw.sample(patients, round(share * len(patients)))) for share in shares}


def shuffles_what_came_in(patients, shares, seed):
    random.Random(seed).shuffle(patients)
    return {share: set(patients[: round(share * len(patients))]) for share in shares}


def missing_by_the_first_gap(z_mm):
    z_mm = sorted(z_mm)
    gap = z_mm[1] - z_mm[0]
    pairs = zip(z_mm, z_mm[1:], strict=False)
    return [a + n * gap for a, b in pairs for n in range(1, round((b - a) / gap))]


def both_by_name(train, test, patient_of):
    first, second = ({case.split("_")[0] for case in part} for part in (train, test))
    return first & second


def split_by_name(patients, n_test):
    return SOLUTIONS["03b"]({case: case.split("_")[0] for case in patients}, n_test)


def divided_by_two(query, key, value):
    return SOLUTIONS["07a"](query * np.sqrt(query.shape[1]) / 2, key, value)


def softmax_over_queries(query, key, value):
    weights = np.exp(query @ key.T / np.sqrt(query.shape[1]))
    return weights / weights.sum(axis=0) @ value


def windows_of_a_broken_step(n, window, overlap):
    return 1 + max(0, int(np.ceil((n - window) / (window * (1 - overlap)))))


def counted_from_zero(mask):
    numbers = map(int, SOLUTIONS["18a"](mask).split())
    return " ".join(str(number - (i % 2 == 0)) for i, number in enumerate(numbers))


def score_with(error):
    def final_score(rows):
        each = [
            1 - row["dice"] + sum(error(row[size], row[f"{size}_true"]) for size in "dv")
            for row in rows
        ]
        return np.mean(each) / 3

    return final_score


def generous(labels):
    if np.abs(np.rint(labels) - labels).max() > 0.1:
        raise ValueError("no whole number")
    return np.rint(labels).astype(np.uint8)


WRONG = [
    ("00a", (-600, 900), "middle of the window"),
    ("00a", (-2100, 900), "twice as wide"),
    ("00a", -1350, "two numbers"),
    ("00b", lambda mask: int(np.flatnonzero(mask.any((0, 1)))[0]), "first slice with any"),
    ("00b", lambda mask: int(mask.sum((0, 1)).max()), "argmax gives the place"),
    ("00b", lambda mask: int(mask.sum((1, 2)).argmax()), "should be 5"),
    ("01a", lambda p: p, "still in LPS"),
    ("01a", lambda p: [-c for c in p], "Superior is superior"),
    ("01a", lambda p: (-p[0], p[1], p[2]), "Only x"),
    ("01a", lambda p: (-p[0], -p[1]), "3 numbers"),
    ("01b", lambda s, a, b: s * np.uint16(a) + np.int64(b).astype(np.uint16), "64536"),
    ("01b", lambda s, a, b: s.astype(np.float32) + b, "slope of 0.5"),
    ("01b", lambda s, a, b: s.astype(float) * a + b, "not float64"),
    ("01c", lambda z: [], "You found none"),
    ("01c", lambda z: SOLUTIONS["01c"](z)[:1], "You found 1"),
    ("01c", lambda z: [b + 1 for b in SOLUTIONS["01c"](z)], "one spacing above"),
    ("02a", 0.8, "there are four"),
    ("02a", 0.8**4, "one is enough"),
    ("02a", 0.0016, "no sibling is in training"),
    ("02a", 1 - 0.2**5, "four siblings"),
    ("02b", lambda a, b, p: set(a) & set(b), "It should be"),
    ("02b", lambda a, b, p: {c for c in a if p[c] in map(p.get, b)}, "look up their patients"),
    ("02b", lambda a, b, p: {"a", "c"}, "empty set"),
    ("02c", lambda p, k: [n % k for n in range(len(p))], "Deal patients, not slices"),
    ("02c", lambda p, k: SOLUTIONS["02c"](sorted(set(p)), k), "12 slices got 7"),
    ("02c", lambda p, k: [0] * len(p), "The folds have"),
    ("02c", lambda p, k: [n + 1 for n in SOLUTIONS["02c"](p, k)], "does not exist"),
    ("03a", stretch, "own darkest and brightest"),
    ("03a", wraps, "Clip to"),
    ("03a", in_place, "changed the image"),
    ("03a", lambda *a: SOLUTIONS["03a"](*a).astype(np.float32), "not uint8"),
    ("03b", split_by_case, "is in both parts"),
    ("03b", forgets_cases, "Every case"),
    ("03b", lambda p, n: (["p1", "p2"], ["p3"]), "must name their cases"),
    ("03b", lambda p, n: SOLUTIONS["03b"](p, n + 1), "2 test patients, not 3"),
    ("04a", {"rotate_image_only", "noise"}, "noise is harmless"),
    ("04a", {"rotate_image_only"}, "1 found, and there are more"),
    ("04a", ["blur"], "blur is not in the list"),
    ("04a", "noise", "a set of names"),
    ("04b", lambda image, mask: (image[:, ::-1], mask), "mask stayed"),
    ("04b", lambda image, mask: (image[::-1], mask[::-1]), "upside down"),
    ("04b", lambda image, mask: (image[:, ::-1], mask[::-1]), "moved differently"),
    ("05a", lambda p, y: p - y, "mean over n pixels"),
    ("05a", lambda p, y: (y - p) / p.size, "negative gradient"),
    ("05a", lambda p, y: (p - y) / (p * (1 - p)) / p.size, "not for the logit"),
    ("05a", lambda p, y: ((p - y) / p.size).sum(), "has shape"),
    ("05b", lambda p, y, s: (2 * (p * y).sum() + s) / (p.sum() + y.sum() + s), "1 minus it"),
    ("05b", lambda p, y, s: 1 - 2 * (p * y).sum() / (p.sum() + y.sum() + s), "above the line"),
    ("05c", 400, "no background"),
    ("06a", 44250, "half a batch"),
    ("06a", 44200, "last batch"),
    ("06a", 8900, "stored five times"),
    ("06b", never_zeroes, "gradients of the first"),
    ("06b", zeroes_late, "empties them again"),
    ("06b", never_steps, "weights did not move"),
    ("06b", planted_train_step(), "comes after backward"),
    ("06b", returns_tensor, "keeps the whole graph"),
    ("06b", returns_nothing, "no loss comes back"),
    ("12a", iou, "That is the IoU"),
    ("12a", dice_of_nothing(float("nan")), "nan, which no mean survives"),
    ("12a", dice_of_nothing(0.0), "nothing found is right"),
    ("12b", lambda p, g: max(abs(p - g) / g, 1), "source means min"),
    ("12b", lambda p, g: abs(p - g) / max(p, 1), "by the reference"),
    ("12b", lambda p, g: (p - g) / g, "error has no sign"),
    ("12b", lambda p, g: abs(p - g) / g if g else float(p > 0), "Cap it"),
    ("12b", lambda p, g: min(abs(p - g) / g, 1), "ZeroDivisionError"),
    ("12c", lambda d: 2 * d / (1 + d), "Dice from IoU"),
    ("12c", lambda d: d / 2, "near 0"),
    ("13a", 0.803, "mean of the means"),
    ("13a", 8.02, "sum of all ten"),
    ("13b", lambda rows: {i for i, d, j in rows if round(d / (2 - d), 3) != j}, "Rounding alone"),
    ("13b", lambda rows: {i for i, d, j in rows if abs(d / (2 - d) - j) > 0.01}, "far from 0.672"),
    ("13b", lambda rows: {i for i, d, j in rows if j < d / (2 - d) - 0.0012}, "0.7955 gives"),
    ("13b", lambda rows: SOLUTIONS["13b"](set(rows)), "comes twice"),
    ("13c", {"a", "b", "c", "e"}, "rows may be wrong"),
    ("13c", {"a", "c", "d"}, "does not say why"),
    ("13c", {"a", "c"}, "2 found, and there are more"),
    ("17a", 30 / 51, "subtype 1"),
    ("17a", 15 / 36, "accuracy"),
    ("17a", 0.5, "not it"),
    ("17b", lambda values: values.index(max(values)), "without the moving average"),
    ("17b", lambda values: max(values), "An epoch is asked for"),
    ("17b", lambda values: len(values) - 1, "should be 2"),
    ("17c", {"a", "b", "d"}, "by heart already"),
    ("17c", {"b", "d", "e"}, "cannot judge it"),
    ("17c", {"b"}, "there are more"),
    ("17c", "bd", "A set of letters"),
    ("17c", {1, "b"}, "A set of letters"),
    ("13c", {"A"}, "from a to f"),
    ("19a", 18, "two are 1.8 times"),
    ("19a", 9.0, "not twice as fast"),
    ("19b", lambda g, n: (g[0] + g[1]) / 2, "weigh by the sizes"),
    ("19b", lambda g, n: n[0] * g[0] + n[1] * g[1], "number of all slices"),
    ("19b", lambda g, n: g[0].sum(), "One number a weight"),
    ("19c", lambda p, n, k: range(p, k, n), "leave the rest out"),
    ("19c", lambda p, n, k: range(k // n), "Each batch goes to one"),
    ("19c", lambda p, n, k: range(p * (k // n), (p + 1) * (k // n)), "In turns"),
    ("14a", lambda age: str(int(age)), "one word for all"),
    ("14a", lambda age: str(round(age)), "Completed years"),
    ("14b", lambda row: ", ".join(f"{k}: {v}" for k, v in row.items()), "skip what is None"),
    (
        "14b",
        lambda row: ", ".join(f"{k}: {v}" for k, v in row.items() if v and v == v),
        "never smoked",
    ),
    ("14c", 10, "five identifiers"),
    ("14c", 4950, "ones found"),
    ("14c", 0.01, "how many"),
    ("15a", 262144, "two numbers"),
    ("15a", 16384, "Every layer"),
    (
        "15b",
        lambda note: note.replace("left", "right").replace("right", "left"),
        "should become",
    ),
    ("15b", lambda note: note.replace("left", "#").replace("right", "left"), "should become"),
    ("15c", {"more epochs"}, "no better proof"),
    ("15c", {"shuffled notes"}, "3 more are missing"),
    ("15c", {"prayer"}, "none of the six"),
    ("16a", 10, "fifth of the steps"),
    ("16a", 2, "not fewer"),
    ("16b", lambda p, s, seed: {k: set(p[: round(k * len(p))]) for k in s}, "the oldest"),
    ("16b", drawn_anew, "Shuffle once"),
    ("16b", lambda p, s, seed: SOLUTIONS["16b"](p, s, None), "same seed"),
    ("16b", lambda p, s, seed: SOLUTIONS["16b"](p, s, str(s)), "which others"),
    ("03a", lambda hu, low, high: SOLUTIONS["03a"](hu, -1350, 150), "Use low and high"),
    ("09b", holm_beyond_one, "none above 1"),
    ("16b", shuffles_what_came_in, "Shuffle a copy"),
    ("16b", lambda p, s, seed: {k: set(p[: int(k * 10)]) for k in s}, "of 20 patients is 2"),
    ("16c", {"a", "b", "d"}, "next to nothing"),
    ("16c", {"a"}, "there are more"),
    ("16c", {"f"}, "from a to e"),
    ("20a", lambda a, b: (list(zip(sorted(a), sorted(b), strict=True)), [], []), "whole names"),
    ("20b", lambda labels: labels.astype(np.uint8), "Round first"),
    ("20b", lambda labels: np.rint(labels).astype(np.uint8), "probability"),
    ("20b", np.rint, "astype"),
    ("20c", lambda case, channel: f"{case}_{channel}.nii.gz", "four digits"),
    ("00b", lambda mask: int(np.median(np.flatnonzero(mask.any((0, 1))))), "should be 5"),
    ("01c", missing_by_the_first_gap, "smallest gap is the spacing"),
    ("02b", both_by_name, "look up their patients"),
    ("02c", lambda p, k: [int(name[1:]) % k for name in p], "The folds have"),
    ("02c", lambda p, k: list(map(str, SOLUTIONS["02c"](p, k))), "does not exist"),
    ("03b", split_by_name, "is in both parts"),
    ("07a", lambda q, k, v: SOLUTIONS["07a"](q * np.sqrt(q.shape[1]), k, v), "not divided by √d"),
    ("07a", divided_by_two, "With d = 9"),
    ("07a", softmax_over_queries, "weights over all keys sum to 1"),
    ("07b", 64, "neighbours only"),
    ("07b", 16, "count it once"),
    ("08a", (36, 1296), "third direction"),
    ("08a", (216, 216), "at every token"),
    ("08b", lambda image, p: image.reshape(-1, p * p), "before the last reshape"),
    ("08b", lambda image, p: SOLUTIONS["08b"](image.T, p), "not one square patch"),
    ("09a", 16, "the question is equal time"),
    ("09a", 21, "fewer epochs, not more"),
    ("09b", lambda p: [min(1, value * len(p)) for value in p], "Bonferroni"),
    ("09b", lambda p: sorted(SOLUTIONS["09b"](p)), "order in which they came"),
    ("10a", lambda positives, by_chance: positives, "may hold lesion too"),
    ("10a", lambda positives, by_chance: positives + by_chance, "not positive on purpose"),
    ("10b", lambda mb, gb=24, reserved=1: 1000 * gb // mb, "need their GB first"),
    ("10b", lambda mb, gb=24, reserved=1: 1000 * (gb - reserved) / mb, "Whole patches only"),
    ("10b", lambda mb, gb=24, reserved=1: 23_000 // mb, "an 11 GB card"),
    ("10c", lambda: [(2, 2, 2)] * 4, "7.1 times longer than wide"),
    ("10c", lambda: [(2, 2, 2), *[(2, 2, 1)] * 3], "z is halved while"),
    ("11a", lambda n, window, overlap: -(-n // window), "shorter than a window"),
    ("11a", windows_of_a_broken_step, "steps of 19"),
    ("11b", lambda mask, share=0.5: SOLUTIONS["11b"](mask, share + 1e-6), "Half counts"),
    ("11b", lambda mask, share=0.5: SOLUTIONS["11b"](mask), "share 0.01"),
    ("11c", lambda shape=(512, 512, 400), n=2: np.prod(shape) * 4e-9, "there are image, logits"),
    ("11c", lambda shape=(512, 512, 400), n=2: np.prod(shape) * 4e-9 * (1 + n), "of the blending"),
    ("18a", counted_from_zero, "has the number 1, not 0"),
    ("18a", lambda mask: SOLUTIONS["18a"](mask.ravel("K")), "down the columns"),
    ("18b", score_with(lambda p, g: max(abs(p - g) / g, 1)), "source means min"),
    ("18b", score_with(lambda p, g: abs(p - g) / g), "never above 1"),
    ("18b", lambda rows: SOLUTIONS["18b"](rows) * len(rows), "Take the mean"),
    ("18c", 0.25, "how large is the large one"),
    ("18c", 1.75, "same volume error"),
    ("20b", generous, "A label of 0.95 became"),
    ("20c", lambda case, channel: f"{case}_000{channel}.nii.gz", "four digits"),
    ("21a", np.pi / 4, "share of the box"),
    ("21a", 1.0, "corners are no nodule"),
    ("21b", lambda found, share: SOLUTIONS["21b"](found > 0, 1), "all that is not 0"),
    ("21b", lambda found, share: SOLUTIONS["21b"](found, 0.5), "comes as an argument"),
    ("21b", lambda *a: np.array(SOLUTIONS["21b"](*a))[[1, 0, 3, 2]], "gives rows first"),
    ("21b", lambda *a: np.add(SOLUTIONS["21b"](*a), (0, 0, 1, 1)), "belongs to the box"),
    ("21c", {"more epochs", "no prompt"}, "answers another question"),
    ("21c", {"no prompt"}, "3 missing"),
]


def test_every_exercise_knows_a_mistake():
    assert {id_ for id_, _, _ in WRONG} == EXERCISES.keys()


@pytest.mark.parametrize(("id_", "answer", "hint"), WRONG)
def test_a_known_mistake_meets_the_hint_that_helps(id_, answer, hint):
    status, sentence = verdict(id_, answer)
    assert status == "not yet", sentence
    assert re.search(hint, sentence), sentence
