"""Source 004's task: pancreas, lesion, and which subtype the lesion has.

    raw folder ─ multitask_parts ─> train, val, test ─ train_multitask ─> network
                                                        │
             masks, subtype of every case  <─ predict_multitask ─> score_multitask ─> rows

A case is judged once, on the patch around the lesion that the network itself has found. Taught in
lesson 17.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_lib.course.profiles import Settings
from seg_lib.data.augment3d import Augmentation3d
from seg_lib.data.modalities import load_channels
from seg_lib.data.subtyped_patches import (
    LESION,
    N_SUBTYPES,
    PANCREAS,
    SubtypedPatches,
    class_weights,
    lesion_patch,
    subtypes_of,
)
from seg_lib.data.volumes import Preparation, Prepared
from seg_lib.inference import evaluating, sliding_window
from seg_lib.metrics import dice, macro_f1
from seg_lib.models import build_model
from seg_lib.models.presets import fast_layout, sizes_for
from seg_lib.multitask_inference import as_batch, one_lesion, sliding_for, subtype_probabilities
from seg_lib.nnunet_plan import fingerprint
from seg_lib.processes import batch_per_process
from seg_lib.run_log import read_history
from seg_lib.steps import multitask_step
from seg_lib.training import fit, load_weights, save_checkpoint, seed_everything
from seg_lib.volumes3d import dice_ce_of_batch, labelled_parts

N_CLASSES = 3  # background, pancreas, lesion
# nnU-Net's without what rubs out the texture that tells the subtype.
VIEWS = ((), (2,), (3,), (4,))  # a patch as it is, and mirrored along each axis
KEEPS_TEXTURE = Augmentation3d(noise=0.0, blur=0.0, low_resolution=0.0)
Parts = tuple[list[Prepared], list[Prepared], list[Prepared]]  # train, val, test


def multitask_parts(data: str | Path, work: str | Path, sizes: Settings, seed: int = 0) -> Parts:
    """Training, validation and test volumes with labels 0, 1, 2 and a subtype each, in memory.

    HU are windowed by the percentiles 0.5 and 99.5 inside the training labels, as nnU-Net does.

    Args:
        data: a raw folder of nnU-Net, or one with a cases.csv.
        work: not used.
        sizes: ``spacing_mm``, None for the voxels as they are.
        seed: of the split, where the folder has none.

    Raises:
        InputError: an empty part, a case without label or subtype, or a faulty file.
    """
    parts = labelled_parts(data, seed)
    for cases in parts.values():
        subtypes_of(cases)
    window = fingerprint(parts["train"], N_CLASSES).window
    how = Preparation(spacing_mm=sizes.spacing_mm, window=window, box="all")
    return tuple(load_channels(cases, how, N_CLASSES) for cases in parts.values())


def multitask_validation(
    volumes: Sequence[Prepared], patch: Sequence[int], classify: bool = True
) -> Callable[[nn.Module], dict[str, float]]:
    """What ``fit`` asks after an epoch: Dice of pancreas and lesion, and macro-F1, over cases.

    The best epoch is the one with the highest mean of the three. ``pseudo_dice`` is what nnU-Net
    shows: one Dice over the voxels of all cases together, in which large organs count more.
    """
    truth = subtypes_of(volume.case for volume in volumes)

    def validate(model: nn.Module) -> dict[str, float]:
        found, counts, named = [], np.zeros((2, 2)), []
        for volume in volumes:
            logits = sliding_window(model, as_batch(volume), sliding_for(patch))
            labels, true = one_lesion(logits), volume.label
            found.append((dice(labels > 0, true > 0), dice(labels == LESION, true == LESION)))
            for row, value in enumerate((PANCREAS, LESION)):
                mask, reference = labels == value, true == value
                counts[row] += (mask & reference).sum(), mask.sum() + reference.sum()
            if classify:
                chances = subtype_probabilities(model, volume.image, labels, patch)
                named.append(int(chances.argmax()))
        whole, lesion = np.mean(found, axis=0).tolist()
        row = {"dice": whole, "lesion_dice": lesion}
        row["pseudo_dice"] = float((2 * counts[:, 0] / np.maximum(counts[:, 1], 1)).mean())
        if named:
            row["macro_f1"] = macro_f1(named, truth, range(N_SUBTYPES))
        judged = [row[name] for name in ("dice", "lesion_dice", "macro_f1") if name in row]
        return {"score": float(np.mean(judged))} | row

    return validate


def train_multitask(
    parts: Parts, out: str | Path, sizes: Settings, seed: int, **how: Any
) -> nn.Module:
    """Train segmentation and classification, and return the network with its best weights.

    Args:
        parts: of `multitask_parts`; the test is not looked at.
        out: folder of the run.
        sizes: preset, patch, batch_size, patches, positives, head ("together", or "afterwards":
            segmentation first, then `fit_head` on the frozen network), share, ramp_epochs, and
            fields of TrainConfig.
        seed: of weights, patches and augmentation.
        how: ``minutes``, ``resume``, ``augment`` where they differ from the usual; ``mixing`` of
            the patches of a batch.
    """
    seed_everything(seed)
    train, val, _ = parts
    model, together = build_model("multitask_unet3d", **sizes_of(sizes)), sizes.head == "together"
    model = model.to(memory_format=fast_layout("multitask_unet3d"))
    batches = SubtypedPatches(
        train,
        sizes.patch,
        share=sizes.share if together else 0.0,
        ramp_epochs=sizes.ramp_epochs,
        batch_size=batch_per_process(sizes.batch_size),
        patches=sizes.patches,
        positives=sizes.positives,
        augment=how.get("augment", KEEPS_TEXTURE),
        mixing=how.get("mixing"),
        seed=seed,
        jitter=sizes.jitter,
    )
    about = {"task": "pancreas", "network": "multitask_unet3d", "sizes": sizes_of(sizes)}
    about |= {"patch": list(sizes.patch), "preparation": dataclasses.asdict(train[0].how)}
    config, best = sizes.train_config(seed, how.get("minutes")), Path(out) / "best.safetensors"
    validate = multitask_validation(val, sizes.patch, together)
    step = partial(multitask_step, loss=dice_ce_of_batch)
    fit(model, step, batches, config, out, validate, how.get("resume", False), about)
    about = load_weights(model, best)
    if not together and read_history(out)["stopped"] not in ("minutes", "signal"):
        fit_head(model, train, sizes.patch)
        save_checkpoint(best, model.state_dict(), about)
    return model


def fit_head(model: nn.Module, volumes: Sequence[Prepared], patch: Sequence[int]) -> None:
    """Fit the head alone, on all training cases at once: a logistic regression, in seconds.

    Each case is seen as in prediction, around the lesion that the network finds, and in mirror
    images. Rare subtypes count more, and large weights are punished (by their squares, each view).

    Args:
        model: see `MultitaskUNet3d`; its segmentation stays as it is.
        volumes: with subtypes.
        patch: voxels along x, y and z.
    """
    device = next(model.parameters()).device
    found = subtypes_of(volume.case for volume in volumes)
    truth = torch.tensor(found, device=device).repeat_interleave(len(VIEWS))
    weights = torch.from_numpy(class_weights(found)).to(device)
    rows, how = [], sliding_for(patch)
    with evaluating(model):
        for volume in volumes:
            labels = one_lesion(sliding_window(model, as_batch(volume), how))
            seen = lesion_patch(volume.image, labels, patch).to(device)
            maps = model.unet.encode(torch.cat([seen.flip(axes) for axes in VIEWS]))
            rows.append(model.head.pool(*model.seen(maps, model.unet.decode(maps))))
        pooled, head = torch.cat(rows), model.head
        head.mean.copy_(pooled.mean(0))
        head.variance.copy_(pooled.var(0))
        inputs = head.standardised(pooled)
    inputs = inputs.clone()  # of inference mode no gradient could be taken
    decide = head.decide.requires_grad_(True)
    nn.init.zeros_(decide.weight), nn.init.zeros_(decide.bias)
    optimizer = torch.optim.LBFGS(decide.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        wrong = F.cross_entropy(decide(inputs), truth, weights, reduction="sum")
        total = wrong + len(VIEWS) * (decide.weight**2).sum()
        total.backward()
        return total

    optimizer.step(loss)


def sizes_of(sizes: Settings) -> dict[str, Any]:
    """The sizes of the network of a lesson; its features, and the stages of its head, if given."""
    chosen = {name: sizes.sizes[name] for name in ("features", "stages") if name in sizes.sizes}
    return sizes_for("multitask_unet3d", 0, sizes.preset) | chosen
