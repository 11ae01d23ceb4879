"""Exercises of lesson 06: how often the optimiser steps, and a training step repaired.

The step is judged by what it does to a tiny model.
"""

import torch

from seg_lib.course.exercises import Exercise, NotYet, Unsolved, expect, function

LEARNING_RATE = 0.1


def _optimiser_steps(answer) -> None:
    known = {
        44250: "708 * 5 / 8 is 442.5, and half a batch is a batch too: round up in every epoch.",
        44200: "The last batch of an epoch is smaller, but the optimiser steps for it too.",
        8900: "Each slice is stored five times; count all 3,540.",
        443: "That is one epoch.",
        354000: "The optimiser steps once a batch, not once a slice.",
    }
    expect(answer, 44300, "100 epochs", known)


def _train_step(answer) -> None:
    """Let a student's ``train_step`` take two steps, and take the same two by hand."""
    step = function(answer)
    image, label = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [-1.0]])
    loss = torch.nn.functional.mse_loss
    student = _tiny_model()
    optimizer = torch.optim.SGD(student.parameters(), lr=LEARNING_RATE)
    before = _weights(student)
    value = step(student, optimizer, image, label, loss)
    after_one = _weights(student)
    if torch.equal(after_one, before):
        _explain_stillness(student, value)
    step(student, optimizer, image, label, loss)
    after_two = _weights(student)
    if not torch.allclose(after_one, _by_hand(image, label, n_steps=1)):
        raise NotYet("After one step the weights are not those of one gradient step.")
    if torch.allclose(after_two, _by_hand(image, label, n_steps=2, zero_grad=False)):
        raise NotYet(
            "The second step still carries the gradients of the first.",
            "Gradients add up until optimizer.zero_grad().",
        )
    if not torch.allclose(after_two, _by_hand(image, label, n_steps=2)):
        raise NotYet("After two steps the weights are not those of two gradient steps.")
    _check_value(value, loss(_tiny_model()(image), label).item())


def _tiny_model() -> torch.nn.Module:
    model = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(model.weight, 0.5)
    torch.nn.init.constant_(model.bias, 0.1)
    return model


def _weights(model) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in model.parameters()])


def _by_hand(image, label, n_steps: int, zero_grad: bool = True) -> torch.Tensor:
    """The weights after plain gradient steps, with or without emptying the gradients between."""
    model = _tiny_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    for _ in range(n_steps):
        if zero_grad:
            optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(image), label).backward()
        optimizer.step()
    return _weights(model)


def _explain_stillness(model, value) -> None:
    """The weights did not move: not begun, no gradient, no step, or a step too early?"""
    no_gradient = all(p.grad is None or not p.grad.any() for p in model.parameters())
    if no_gradient and (value is None or value is ...):
        raise Unsolved
    if no_gradient:
        raise NotYet(
            "No gradient reached the weights.",
            "loss.backward() fills the gradients; zero_grad() after it empties them again.",
        )
    raise NotYet(
        "There are gradients, but the weights did not move.",
        "optimizer.step() uses the gradients, so it comes after backward().",
    )


def _check_value(value, truth: float) -> None:
    if value is None or value is ...:
        raise NotYet("The model learns, but no loss comes back.", "Return the loss as a float.")
    if isinstance(value, torch.Tensor):
        raise NotYet(
            "The loss comes back as a tensor, which keeps the whole graph in memory.",
            "loss.item() is a plain number.",
        )
    if not isinstance(value, float):
        raise NotYet(f"A {type(value).__name__} came back, not a float.")
    if abs(value - truth) > 1e-5:
        raise NotYet(f"The loss of this batch is {truth:.3f}, but {value:.3f} came back.")


EXERCISES = {
    "06a": Exercise(
        level=1,
        task="708 slices, each stored 5 times, batches of 8, 100 epochs: how many optimiser steps?",
        why="ceil(3540 / 8) = 443 batches an epoch, 100 times.",
        hint="Batches in one epoch (the last may be smaller), times epochs.",
        check=_optimiser_steps,
    ),
    "06b": Exercise(
        level=2,
        task="Repair train_step(model, optimizer, image, label, loss): it must learn, and return "
        "the loss as a float.",
        why="Zero the gradients, go forward, go backward, step, return a plain number.",
        hint="zero_grad, forward, backward, step: all four, in this order.",
        check=_train_step,
    ),
}
