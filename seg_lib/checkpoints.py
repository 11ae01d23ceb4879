"""Weights and training states in files that cannot run code: safetensors plus plain types.

A safetensors file is a table of names, shapes and offsets in JSON, then the raw numbers. What else
belongs to a checkpoint (which network, which epoch, the history) travels as JSON text under "about"
in that table. `torch.load` without restrictions would run whatever a stranger's file asks for; here
`.pt` files are read with weights only, and nothing falls back to less. Taught in notebook 06.
"""

import contextlib
import json
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from seg_lib.data.case_rules import first_few
from seg_lib.errors import DataWarning, InputError
from seg_lib.files import written_whole

FORMAT = 1  # raised when an older seg_lib could no longer read the files
SHOWN = 4  # differences listed by name in a message; the rest is counted


def previous_of(path: str | Path) -> Path:
    """Where the generation before ``path`` lies: last.safetensors -> last.previous.safetensors."""
    path = Path(path)
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save_checkpoint(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    about: Mapping[str, Any],
    keep_previous: bool = False,
) -> None:
    """Write one safetensors file, whole or not at all.

    Args:
        path: ends in .safetensors.
        tensors: any shapes, dtypes and devices. Tied weights are written once a name.
        about: plain types only (what JSON knows; tuples come back as lists).
        keep_previous: what was at ``path`` stays beside it, see ``previous_of``.

    Raises:
        InputError: the folder is read-only or the disk full; an existing file stays as it was.

    Taught in notebook 06.
    """
    metadata = {"about": json.dumps({"format": FORMAT, **about})}
    with written_whole(path) as part:
        try:
            save_file(_apart(tensors), part, metadata=metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from error
        if keep_previous and Path(path).exists():
            _keep(Path(path), previous_of(path))


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU; copies of those that share memory (tied weights) or have gaps."""
    apart, taken = {}, set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu()
        memory = tensor.untyped_storage().data_ptr()
        if memory in taken or not tensor.is_contiguous():  # safetensors would refuse it
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        taken.add(memory)
        apart[name] = tensor
    return apart


def _keep(path: Path, previous: Path) -> None:
    """Make ``previous`` a second name of ``path``; at every moment one whole file has a name."""
    extra = previous.with_name(f".part-{os.getpid()}-{previous.name}")
    extra.unlink(missing_ok=True)
    try:
        os.link(path, extra)
        os.replace(extra, previous)
    except OSError:  # a file system without second names
        os.replace(path, previous)


def load_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save_checkpoint`` wrote: (tensors on the CPU, about).

    Raises:
        InputError: missing, cut off, not safetensors, or written by a newer seg_lib.

    Taught in notebook 06.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such checkpoint; check the path of the run folder.")
    try:
        with safe_open(path, framework="pt") as stream:
            names = stream.keys()
            # Copies: a view of the mapped file would crash Python if the file were cut short.
            tensors = {name: stream.get_tensor(name).clone() for name in names}
            about = json.loads((stream.metadata() or {}).get("about", "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: not a whole safetensors file ({error}); copy or download it again."
        ) from error
    if not isinstance(about, dict) or about.get("format", FORMAT) not in range(1, FORMAT + 1):
        raise InputError(
            f"{path}: has another format than this seg_lib reads (up to {FORMAT}); update seg_lib."
        )
    return tensors, about


def load_newest(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """``load_checkpoint``, or with a DataWarning the previous generation if the newest is damaged.

    The damaged file is put aside, so that the next save does not take it for a good generation.

    Raises:
        InputError: neither can be read; the message is about the older one.
    """
    try:
        return load_checkpoint(path)
    except InputError as error:
        previous = previous_of(path)
        if not previous.is_file():
            raise
        loaded = load_checkpoint(previous)
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, Path(path).with_suffix(".damaged"))
        warnings.warn(f"{error} Going on from {previous.name} instead.", DataWarning, stacklevel=2)
        return loaded


def load_weights(model: nn.Module, path: str | Path) -> dict[str, Any]:
    """Load weights from .safetensors, .pt or .pth into ``model``; all of them must fit.

    Args:
        model: changed in place, and only if everything fits.
        path: .pt and .pth may hold the tensors under "state_dict" or "model", as many do.

    Returns:
        What the file says about itself; {} for .pt and .pth.

    Raises:
        InputError: unreadable, unsafe, or keys and shapes differ; the message lists how.

    Taught in notebook 06.
    """
    path = Path(path)
    pickled = path.suffix in (".pt", ".pth")
    tensors, about = (_load_pt(path), {}) if pickled else load_checkpoint(path)
    fill(model, tensors, path)
    return about


def fill(model: nn.Module, tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Copy ``tensors`` into ``model`` if names and shapes are the same; ``path`` is for messages.

    Loading "what happens to fit" leaves random layers behind and no error; so it is all or nothing.

    Raises:
        InputError: keys are missing or unexpected, or shapes differ.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    differences = {
        "missing": [name for name in shapes if name not in found],
        "unexpected": [name for name in found if name not in shapes],
        "another shape": [
            f"{name} {found[name]} instead of {shape}"
            for name, shape in shapes.items()
            if found.get(name, shape) != shape
        ],
    }
    parts = [f"{kind}: {first_few(names, SHOWN)}" for kind, names in differences.items() if names]
    if parts:
        raise InputError(
            f"{path}: the weights do not fit this network ({'; '.join(parts)}); "
            "build the network with the name and sizes it was trained with."
        )
    model.load_state_dict(dict(tensors))


def _load_pt(path: Path) -> dict[str, Tensor]:
    """The dictionary of tensors in a .pt file; nothing in it is ever run."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; check the path.")
    try:
        with warnings.catch_warnings(action="ignore"):  # torch comments on old but harmless layouts
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or broken file can make the reader fail in any way
        refused = re.search(r"GLOBAL (\S+)", str(error))
        why = " ".join(str(error).split())[:100]
        fault = f"asks to run {refused[1]}" if refused else f"cannot be read ({why})"
        raise InputError(
            f"{path}: {fault}; take only weights saved as plain tensors, best as .safetensors."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise InputError(f"{path}: no dictionary of tensors; save model.state_dict().")
    return content


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's memory (momentum, second moments, step counts) as flat named tensors.

    Its hyperparameters are not among them: they follow from the configuration.
    """
    return {
        f"{index}.{key}": torch.as_tensor(value)
        for index, memory in optimizer.state_dict()["state"].items()
        for key, value in memory.items()
        if value is not None
    }


def fill_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of ``optimizer_tensors``; memory of other weights would crash Python later."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for parameter, memory in optimizer.state.items():
        for key, tensor in memory.items():
            if key != "step" and tensor.shape != getattr(parameter, "shape", None):
                raise InputError("The checkpoint was made with other trained weights; train anew.")
            if tensor.ndim:  # same memory layout, or the last bits may differ
                memory[key] = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put "prefix." before every name."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors whose name starts with "prefix.", without it."""
    start = f"{prefix}."
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
