"""Pretrained weights without a hub: learn from images alone, keep the weights, start from them.

    slices without labels ─ pretrain ─> pretrained.safetensors + its card ─ start_from ─> network

Taught in notebook 08.
"""

from pathlib import Path
from typing import Any

from torch import nn

from seg_lib.checkpoints import load_checkpoint, save_checkpoint
from seg_lib.data.batches import SliceBatches
from seg_lib.errors import InputError
from seg_lib.files import write_text
from seg_lib.steps import reconstruction_step
from seg_lib.training import TrainConfig, fit

WEIGHTS, CARD = "pretrained.safetensors", "README.md"


def pretrain(
    model: nn.Module, batches: SliceBatches, config: TrainConfig, out_dir: str | Path, data: str
) -> Path:
    """Let the network paint hidden patches; write its weights and a model card.

    Args:
        model: (B, 1, H, W) -> (B, 1, H, W); changed.
        batches: images; the labels are not looked at.
        config: of the training.
        out_dir: gets the run, pretrained.safetensors and README.md, the card.
        data: where the images come from, in a line; goes into the card.

    Returns:
        The path of the weights.

    Taught in notebook 08.
    """
    out_dir = Path(out_dir)
    history = fit(model, reconstruction_step, batches, config, out_dir)
    about = {
        "task": "masked image modelling",
        "data": data,
        "slices": len(batches.slices),
        "epochs": len(history),
        "first_error": history[0]["loss"],
        "last_error": history[-1]["loss"],
    }
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    save_checkpoint(out_dir / WEIGHTS, state, about)
    write_text(out_dir / CARD, card(about))
    return out_dir / WEIGHTS


def card(about: dict[str, Any]) -> str:
    """The model card, from what the run says about itself."""
    return (
        "# Pretrained weights\n\n"
        f"Learned from {about['slices']} slices without labels ({about['data']}) by masked image "
        f"modelling: 60 % of the 8 x 8 patches are hidden and painted again. {about['epochs']} "
        f"epochs; mean absolute error of the hidden grey values (0 to 1) in the first epoch "
        f"{about['first_error']:.3f}, in the last {about['last_error']:.3f}.\n\n"
        "Use: `seg_lib.pretraining.start_from(model, path)` before training. Not for patients.\n"
    )


def start_from(model: nn.Module, path: str | Path, only: str = "") -> list[str]:
    """Copy pretrained weights into a network of the same kind; the last layer starts afresh.

    Args:
        model: changed in place, and only if everything fits.
        path: of ``pretrain``.
        only: take only tensors whose name begins so, such as "encoder".

    Returns:
        The names of the tensors that were set.

    Raises:
        InputError: unreadable file, or the network has a tensor that the file lacks or that has
            another shape.
    """
    tensors, _ = load_checkpoint(path)
    own = model.state_dict()
    head = last_layer(model)
    wanted = [name for name in own if name.startswith(only) and not name.startswith(head)]
    bad = [n for n in wanted if n not in tensors or tensors[n].shape != own[n].shape]
    if bad or not wanted:
        raise InputError(
            f"{path}: does not fit this network ({len(bad)} of {len(wanted)} tensors are missing "
            f"or differ, such as {(bad or [only])[0]}); build it with the sizes of the pretraining."
        )
    model.load_state_dict(own | {name: tensors[name] for name in wanted})
    return wanted


def last_layer(model: nn.Module) -> str:
    """Name of the last module with weights: the head, which knows the task."""
    return [name for name, module in model.named_modules() if module._parameters][-1]
