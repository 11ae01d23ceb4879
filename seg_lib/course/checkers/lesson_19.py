"""Exercises of lesson 19: hours of a training, an average of gradients, a share of the batches."""

import numpy as np

from seg_lib.course.exercises import Exercise, call, expect, refuse


def _hours(answer) -> None:
    known = {
        18.0: "That is one GPU; two are 1.8 times as fast.",
        9.0: "Two GPUs are not twice as fast: divide by the speed-up of 1.8.",
        36_000.0: "Those are seconds.",
        600.0: "Those are minutes.",
        0.01: "That is one epoch.",
        32.4: "More GPUs take less time: divide by the speed-up.",
    }
    expect(answer, 10, "1000 epochs on two GPUs", known)


def _average_gradient(answer) -> None:
    one, two = np.array([1.0, 0.0, 4.0]), np.array([3.0, 2.0, 0.0])
    cases = {(4, 4): [2.0, 1.0, 2.0], (6, 2): [1.5, 0.5, 3.0], (1, 0): [1.0, 0.0, 4.0]}
    for sizes, right in cases.items():
        given = [one.copy(), two.copy()]
        found = np.asarray(call(answer, given, list(sizes)), float)
        case = f"shares of {sizes[0]} and {sizes[1]} slices"
        wrong = f"For {case} a gradient of shape {found.shape} came back, not (3,)."
        refuse(found.shape != (3,), wrong, "One number a weight, as in each of the gradients.")
        plain = np.allclose(found, (one + two) / 2) and sizes[0] != sizes[1]
        wrong = f"For {case} it is the plain average."
        refuse(plain, wrong, "A slice counts once, whoever holds it: weigh by the sizes.")
        summed = np.allclose(found, np.multiply(right, sum(sizes))) and sum(sizes) > 1
        refuse(summed, f"For {case} it is the sum.", "Divide by the number of all slices.")
        refuse(not np.allclose(found, right), f"For {case} it should be {right}, not {found}.")
        kept = np.array_equal(given[0], one) and np.array_equal(given[1], two)
        refuse(not kept, "The gradients that were handed in have changed.", "Make a new array.")


def _shares(answer, n_processes: int, n_batches: int) -> list[list[int]]:
    shares = []
    for process in range(n_processes):
        share = call(answer, process, n_processes, n_batches)
        shares.append([int(number) for number in share])
    return shares


def _batches_of(answer) -> None:
    for n_processes, n_batches in ((2, 6), (2, 7), (3, 8), (1, 4), (4, 3)):
        shares = _shares(answer, n_processes, n_batches)
        case = f"{n_batches} batches and {n_processes} processes"
        lengths = [len(share) for share in shares]
        hint = "One that has no partner in the last step waits for ever: leave the rest out."
        refuse(len(set(lengths)) > 1, f"{case}: the processes take {lengths} batches.", hint)
        taken = sorted(number for share in shares for number in share)
        hint = "Each batch goes to one process."
        refuse(len(set(taken)) < len(taken), f"{case}: some batch is taken twice.", hint)
        right = [
            list(range(p, n_batches // n_processes * n_processes, n_processes))
            for p in range(n_processes)
        ]
        hint = "In turns: process 0 takes 0, n, 2n, …; process 1 takes 1, n + 1, …"
        refuse(shares != right, f"{case}: it should be {right}, not {shares}.", hint)


# fmt: off
EXERCISES = {
    "19a": Exercise(level=1, check=_hours,
        task="1000 epochs of 20 steps of 3.24 s on one GPU, and a speed-up of 1.8: how many hours?",
        why="1000 * 20 * 3.24 s / 1.8 = 36,000 s.",
        hint="All steps, times seconds, divided by the speed-up; then 3600 s are an hour."),
    "19b": Exercise(level=2, check=_average_gradient,
        task="Write average_gradient(gradients, sizes): the gradient of the mean over all slices.",
        why="Each slice counts once; with equal shares it is the plain average of DDP.",
        hint="The sum of size times gradient, divided by the sum of the sizes."),
    "19c": Exercise(level=2, check=_batches_of,
        task="Write batches_of(process, n_processes, n_batches): the batches it takes, in turns.",
        why="In every step each process has a batch, so none waits for a partner.",
        hint="range(first, end, stride), with an end that n_processes divides."),
}
