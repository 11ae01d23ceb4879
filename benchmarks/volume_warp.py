"""What `seg_lib.data.augment.warp_batch` does to slices, for patches of volumes."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from seg_lib.data.augment import Warp, change_greys


def warp_volumes(
    image: Tensor, label: Tensor, generator: torch.Generator, warp: Warp | None = None
) -> tuple[Tensor, Tensor]:
    """Turn in the axial plane, zoom, shift and mirror along x, y and z, then change the greys.

    Args:
        image: (B, C, X, Y, Z) float in [0, 1].
        label: (B, 1, X, Y, Z) integers.
        generator: of the random numbers, on the CPU.
        warp: how far to go; nothing is bent, and ``label_offset`` is along x and y.

    Returns:
        Image (trilinear) and label (nearest) of the same shapes and types; outside is 0.
    """
    warp = warp or Warp()
    b, _, *shape = image.shape
    angle = (2 * torch.rand(b, generator=generator) - 1) * math.radians(warp.rotation_deg)
    zoom = torch.exp(warp.scale * torch.randn(b, generator=generator))
    mirrored = torch.rand(b, 3, generator=generator) < 0.5
    sign = 1 - 2 * (mirrored & warp.flips).float()
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    # Rows and columns of torch's grid are z, y, x of an array stored (X, Y, Z): last axis first.
    matrix = torch.zeros(b, 3, 4)
    matrix[:, 0, 0] = zoom * sign[:, 2]
    matrix[:, 1, 1], matrix[:, 1, 2] = cos * sign[:, 1], sin * sign[:, 0] * shape[0] / shape[1]
    matrix[:, 2, 1], matrix[:, 2, 2] = -sin * sign[:, 1] * shape[1] / shape[0], cos * sign[:, 0]
    matrix[:, :, 3] = 2 * warp.shift * torch.randn(b, 3, generator=generator)
    grid = F.affine_grid(matrix, [b, 1, *shape], align_corners=False).to(image.device)
    warped = F.grid_sample(image, grid, padding_mode="zeros", align_corners=False)
    along_x, along_y = warp.label_offset
    beside = grid + torch.tensor([0.0, 2 * along_y / shape[1], 2 * along_x / shape[0]]).to(grid)
    moved = F.grid_sample(label.to(image.dtype), beside, mode="nearest", align_corners=False)
    return change_greys(warped, generator, warp), moved.to(label.dtype)
