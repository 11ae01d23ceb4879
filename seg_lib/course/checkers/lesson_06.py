"""Exercises of lesson 06: how often the optimiser steps, and a training step repaired.

The step is judged by what it does to a tiny model.
"""

from functools import partial

import torch

from seg_lib.course.exercises import Exercise, Unsolved, expect, function, refuse


def _optimiser_steps(answer) -> None:
    known = {
        44250: "708 * 5 / 8 is 442.5, and half a batch is a batch too: round up in every epoch.",
        44200: "The last batch of an epoch is smaller, but the optimiser steps for it too.",
        8900: "Each slice is stored five times; count all 3,540.",
        443: "That is one epoch.",
        354000: "The optimiser steps once a batch, not once a slice.",
    }
    expect(answer, 44300, "100 epochs", known)


def _two_steps(step) -> tuple[list[torch.Tensor], list, bool]:
    """Weights of a tiny model before and after each of two steps, both values, any gradient?"""
    model = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(model.weight, 0.5)
    torch.nn.init.constant_(model.bias, 0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    image, label = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [-1.0]])
    weights, values = [torch.tensor([0.5, 0.1])], []
    for _ in range(2):
        values.append(step(model, optimizer, image, label, torch.nn.functional.mse_loss))
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    return weights, values, any(p.grad is not None and p.grad.any() for p in model.parameters())


def _right_step(model, optimizer, image, label, loss, zero_grad: bool = True) -> float:
    if zero_grad:
        optimizer.zero_grad()
    value = loss(model(image), label)
    value.backward()
    optimizer.step()
    return value.item()


def _train_step(answer) -> None:
    """Let a student's ``train_step`` take two steps, and compare with the same two by hand."""
    (before, one, two), (value, _), gradient = _two_steps(function(answer))
    nothing = value is None or value is ...
    if torch.equal(one, before):
        if nothing and not gradient:
            raise Unsolved
        hint = "loss.backward() fills the gradients; zero_grad() after it empties them again."
        refuse(not gradient, "No gradient reached the weights.", hint)
        hint = "optimizer.step() uses the gradients, so it comes after backward()."
        refuse(True, "There are gradients, but the weights did not move.", hint)
    (_, right_one, right_two), (truth, _), _ = _two_steps(_right_step)
    (_, _, carried), _, _ = _two_steps(partial(_right_step, zero_grad=False))
    wrong = "After one step the weights are not those of one gradient step."
    refuse(not torch.allclose(one, right_one), wrong)
    wrong = "The second step still carries the gradients of the first."
    refuse(torch.allclose(two, carried), wrong, "Gradients add up until optimizer.zero_grad().")
    wrong = "After two steps the weights are not those of two gradient steps."
    refuse(not torch.allclose(two, right_two), wrong)
    refuse(nothing, "The model learns, but no loss comes back.", "Return the loss as a float.")
    wrong = "The loss comes back as a tensor, which keeps the whole graph in memory."
    refuse(isinstance(value, torch.Tensor), wrong, "loss.item() is a plain number.")
    refuse(not isinstance(value, float), f"A {type(value).__name__} came back, not a float.")
    wrong = f"The loss of this batch is {truth:.3f}, but {value:.3f} came back."
    refuse(abs(value - truth) > 1e-5, wrong)


# fmt: off
EXERCISES = {
    "06a": Exercise(level=1, check=_optimiser_steps,
        task="708 slices, each stored 5 times, batches of 8, 100 epochs: how many optimiser steps?",
        why="ceil(3540 / 8) = 443 batches an epoch, 100 times.",
        hint="Batches in one epoch (the last may be smaller), times epochs."),
    "06b": Exercise(level=2, check=_train_step,
        task="Repair train_step(model, optimizer, image, label, loss): it must learn, and return "
        "the loss as a float.",
        why="Zero the gradients, go forward, go backward, step, return a plain number.",
        hint="zero_grad, forward, backward, step: all four, in this order."),
}
