"""What a text-guided 3D network says of a volume and a note, and how much it listened.

Taught in notebook 15.
"""

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_lib.data.nifti import Volume
from seg_lib.data.patches import positions_of
from seg_lib.data.volumes import Preparation, Prepared, prepare
from seg_lib.errors import DataWarning
from seg_lib.inference import SlidingWindow, mask_of, slide_in_part
from seg_lib.models.text_guided import TextGuided


class Told(nn.Module):
    """A text-guided network that has read one note, as a network of windows.

    Args:
        model: to be told.
        note: None leaves text out.
    """

    image_channels = -3  # all but those of the positions

    def __init__(self, model: TextGuided, note: str | None):
        super().__init__()
        self.model = model
        with torch.no_grad():
            self.text = None if note is None else model.states([note])

    def forward(self, windows: Tensor) -> Tensor:
        """(B, C + 3, X, Y, Z), image and positions -> logits (B, K, X, Y, Z)."""
        image, positions = windows[:, :-3], windows[:, -3:]
        if self.text is None:
            return self.model.unet(image)
        return self.model.unet(image, self.text.expand(len(image), -1, -1), positions)


def logits_of(model: TextGuided, volume: Prepared, note: str | None, how: SlidingWindow) -> Tensor:
    """Logits (1, K, X, Y, Z) of a prepared volume with a note."""
    shape = volume.image.shape[-3:]
    image = torch.from_numpy(volume.image).reshape(-1, *shape)
    whole = torch.cat([image, positions_of(shape)])[None]
    return slide_in_part(Told(model, note), whole, how, volume)


def own_note(model: TextGuided, volume: Prepared, how: SlidingWindow) -> Tensor:
    """Logits of a volume with the note that came with it."""
    return logits_of(model, volume, volume.case.note, how)


def no_note(model: TextGuided, volume: Prepared, how: SlidingWindow) -> Tensor:
    """Logits of a volume by the image alone."""
    return logits_of(model, volume, None, how)


def predict_noted(
    model: TextGuided,
    volume: Volume,
    note: str | None,
    prepared_as: Preparation,
    how: SlidingWindow,
) -> np.ndarray:
    """Mask (X, Y, Z) uint8 of a volume with its note, on the grid of the volume."""
    ready = prepare(volume, prepared_as)
    return mask_of(logits_of(model, ready, note, how), ready.place)


@torch.no_grad()
def share_of_text(model: TextGuided, volume: Prepared, note: str, stage: int = 1) -> np.ndarray:
    """How much of what each voxel hears comes from the note, not from the registers: (X, Y, Z).

    The map of a stage, 0 being the finest, enlarged to the volume.
    """
    shape, device = volume.image.shape[-3:], next(model.parameters()).device
    pad = [part for n in reversed(shape) for part in (0, -n % model.unet.divisor)]
    image = F.pad(torch.from_numpy(volume.image).reshape(1, -1, *shape), pad)
    positions = F.pad(positions_of(shape)[None], pad, value=1.0)
    text = model.states([note])
    maps = model.unet.attention_maps(image.to(device), text, positions.to(device))
    heard = maps[stage].voxel_to_text
    share = heard[:, : text.shape[1]].sum(1, keepdim=True)
    whole = F.interpolate(share, image.shape[2:], mode="trilinear")[0, 0]
    return whole[tuple(slice(n) for n in shape)].cpu().numpy()


def warn_of_cut(model: TextGuided, case: str, note: str | None) -> None:
    """Say how much of a note that the network has read was too long for it."""
    if cut := model.n_cut.get(note, 0):
        message = f"{case}: the last {cut} tokens of its note are not read; shorten it."
        warnings.warn(message, DataWarning, stacklevel=3)
