"""The cascade of source 002, and twins of its two models that a lesson can train by itself.

    sentence, image ─ BiomedCLIP ─ saliency ─> box ─ MedSAM ─> mask

The published weights come from the folders of `seg-lib data fetch`. Where there are none, twins of
a quarter of a million weights each learn on pieces of phantom slices: one which sentence fits a
piece, the other to outline anything at all in a box, nodules excepted. Taught in notebook 21.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from seg_lib.data.download import fetch
from seg_lib.data.manifests import read_manifest
from seg_lib.data.slices import SliceSet
from seg_lib.errors import InputError
from seg_lib.losses import dice_ce
from seg_lib.models.biomedclip import BiomedClip, build_clip
from seg_lib.models.medsam import mask_logits
from seg_lib.saliency import box_of_mask, jittered

SENTENCES = (  # the same said twice: with a nodule, without one
    ("a nodule in the lung", "a lung without a nodule"),
    ("one lung nodule", "no lung nodule"),
)
PROMPTS = 4  # boxes a picture in a batch: the image is encoded once for all of them
TRIES, CLEAR = 30, 2  # pixels that a nodule keeps from the border of a piece
Add = Callable[[np.ndarray, np.ndarray, np.random.Generator], dict[str, Any]]


def weights_folder(given: str | Path, name: str) -> Path:
    """Where the weights of a manifest lie: in ``given/name``, or fetched to there.

    Repository and revision are those of ``data_manifests/<name>.yaml``.

    Args:
        given: a folder such as "data", where ``seg-lib data fetch`` puts what it fetches.
        name: "biomedclip" or "medsam_vit_base".

    Raises:
        InputError: neither there nor to be had; says which folder to give.
    """
    manifest, folder = read_manifest(name), Path(given) / name
    if any(folder.glob("*config.json")):
        return folder
    try:
        fetch(manifest, folder)
    except InputError as error:
        raise InputError(
            f"{error} Or fetch {manifest['access']['repo']} elsewhere (seg-lib data fetch {name}) "
            f"and copy it to {folder}."
        ) from error
    return folder


def draw_piece(
    image: np.ndarray, label: np.ndarray, size: int, rng: np.random.Generator, nodule: bool = True
) -> tuple[np.ndarray, np.ndarray] | None:
    """A piece (size, size) of a slice with exactly one whole nodule, or with none.

    Returns:
        (image, label), each mirrored or not by lot along both axes; None if no piece was found.
    """
    # Without a nodule: where one would lie in the other lung, so that only the nodule differs.
    parts, count = ndimage.label(label if nodule else label[:, ::-1])
    corners = np.array(image.shape) - size
    for _ in range(TRIES if count else 0):
        first, last = box_of_mask(parts == rng.integers(1, count + 1)).reshape(2, 2)[:, ::-1]
        low = np.clip(last + CLEAR + 1 - size, 0, corners).astype(int)
        high = np.clip(first - CLEAR, 0, corners).astype(int)
        if (low > high).any():
            continue
        row, column = rng.integers(low, high + 1)
        place = np.s_[row : row + size, column : column + size]
        if ndimage.label(label[place])[1] == int(nodule):
            turned = np.s_[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]
            return image[place][turned].copy(), label[place][turned].copy()
    return None


def pieces(slices: SliceSet, size: int, seed: int = 0) -> SliceSet:
    """A piece with one whole nodule of each slice, where there is one."""
    found = []
    for number, case in enumerate(slices.cases):
        rng = np.random.default_rng([seed, number])
        drawn = draw_piece(slices.images[number, 0], slices.labels[number, 0], size, rng)
        if drawn:
            found.append((*drawn, case))
    if not found:
        raise InputError(f"no slice has a piece of {size} pixels with one whole nodule.")
    images, labels, cases = zip(*found, strict=True)
    return SliceSet(np.stack(images)[:, None], np.stack(labels)[:, None], list(cases))


def with_sentences(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> dict:
    """The sentence of each picture, one wording a batch: two would be wrong for each other."""
    nodule, none = SENTENCES[rng.integers(len(SENTENCES))]
    return {"text": [nodule if label.any() else none for label in labels]}


def with_nodules(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> dict:
    """Boxes (B, P, 4) around each nodule, moved by lot; a quarter of the batches has none."""
    if rng.random() < 0.25:
        return {"mask": torch.from_numpy(labels[:, None])}
    boxes = [[jittered(box_of_mask(m), m.shape, rng) for _ in range(PROMPTS)] for m in labels]
    masks = torch.from_numpy(labels[:, None]).expand(-1, PROMPTS, -1, -1)
    return {"mask": masks, "box": torch.tensor(np.array(boxes))}


def with_anything(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> dict:
    """Masks (B, P, H, W) of anything but nodules, and boxes around them, moved by lot."""
    chosen = []
    for image, label in zip(images, labels, strict=True):
        things = anything(image, label, rng)
        chosen.append([things[i] for i in rng.integers(len(things), size=PROMPTS)])
    boxes = [[jittered(box_of_mask(m), m.shape, rng) for m in masks] for masks in chosen]
    masks = torch.from_numpy(np.array(chosen, np.uint8))
    return {"mask": masks, "box": torch.tensor(np.array(boxes))}


def anything(image: np.ndarray, avoid: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Masks (H, W) of what hangs together above or below some grey value: no label is needed.

    Parts of less than 8 pixels or more than a quarter of the picture are left out, and those that
    touch ``avoid``. At least one mask: if need be the brightest half of what is left.
    """
    found = []
    for level in rng.uniform(np.quantile(image, 0.1) + 1, image.max(), 4):
        for side in (image >= level, image < level):
            parts, _ = ndimage.label(side)
            sizes = np.bincount(parts.ravel())
            fitting = (sizes >= 8) & (sizes <= image.size / 4)
            fitting[np.unique(parts[avoid > 0])] = fitting[0] = False
            found += [parts == number for number in np.flatnonzero(fitting)]
    return found or [(image >= np.median(image)) & (avoid == 0)]


class PieceBatches:
    """New pieces of slices in every epoch, for `training.fit`.

    Args:
        slices: to cut from, one piece of each in an epoch; those without any fitting are left out.
        size: pixels along a side of a piece.
        batch_size: pieces in a batch.
        add: (images (B, H, W), labels, chance) -> more fields, such as ``with_anything``.
        with_nodule: share of the pieces that shows a nodule; the others show none.
        seed: of order and chance.

    Yields:
        {"image": (B, 1, H, W) float32 in [0, 1], "case": B names, and what ``add`` adds}.
    """

    def __init__(
        self,
        slices: SliceSet,
        size: int,
        batch_size: int,
        add: Add,
        with_nodule: float = 1.0,
        seed: int = 0,
    ):
        fitting = set(pieces(slices, size, seed).cases)
        self.slices = slices.take(n for n, case in enumerate(slices.cases) if case in fitting)
        self.size, self.batch_size, self.add = size, batch_size, add
        self.with_nodule, self.seed, self.epoch = with_nodule, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose pieces the next pass has."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.slices) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.slices))
        for start in range(0, len(order), self.batch_size):
            chosen, drawn = order[start : start + self.batch_size], []
            for number in chosen:
                slice_of = self.slices.images[number, 0], self.slices.labels[number, 0], self.size
                piece = None
                while piece is None:  # all slices have one
                    piece = draw_piece(*slice_of, rng, rng.random() < self.with_nodule)
                drawn.append(piece)
            names = [self.slices.cases[number].case for number in chosen]
            images, labels = (np.stack(arrays) for arrays in zip(*drawn, strict=True))
            batch = {"image": torch.from_numpy(images)[:, None].float() / 255, "case": names}
            yield batch | self.add(images, labels, rng)


def prompted_step(model: Any, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Dice and cross entropy of what a `SamModel` outlines in each box, as MedSAM was trained."""
    logits = mask_logits(model, batch["image"], batch.get("box"))
    return {"loss": dice_ce(logits.flatten(0, 1)[:, None], batch["mask"].flatten(0, 1)[:, None])}


def sentence_step(model: BiomedClip, batch: dict[str, Any]) -> dict[str, Tensor]:
    """InfoNCE in which a sentence that several pictures share belongs to all of them.

    Source: Yang et al. 2022, UniCL, https://arxiv.org/abs/2204.03610
    """
    texts = sorted(set(batch["text"]))
    logits = model(batch["image"], texts)  # (B, T)
    own = torch.tensor([texts.index(text) for text in batch["text"]], device=logits.device)
    shared = F.one_hot(own, len(texts)).float().T  # (T, B)
    to_text = F.cross_entropy(logits, own)
    to_image = F.cross_entropy(logits.T, shared / shared.sum(1, keepdim=True))
    return {"loss": (to_text + to_image) / 2}


def clip_twin(size: int) -> BiomedClip:
    """An untrained twin of BiomedCLIP that knows the words of ``SENTENCES``."""
    words = " ".join(text for pair in SENTENCES for text in pair).split()
    return build_clip(words, size)
