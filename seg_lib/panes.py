"""Several slices in one picture: three linked planes, or the predictions of several networks.

    arrange ──> panes ──> draw ──> frame ──> canvas_bytes, for the browser
    voxel_at: from a pixel of the frame back to the voxel

Pure functions, as in rendering.py. Taught in notebook 00.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seg_lib.lettering import with_title
from seg_lib.rendering import PLANES, View, frame_size, pixel_spacing_mm, plane_slice, render
from seg_lib.scans import Scan

GAP_PX = 8
CROSS = (250, 220, 60)  # of the crosshair
LARGEST_PX = {1: 512, 2: 440, 3: 340}  # longest side of a pane by how many stand in a row

Voxel = tuple[int, int, int]


@dataclass(frozen=True)
class Pane:
    """One slice of one scan, and where it stands in the picture, in pixels."""

    scan: Scan
    view: View
    title: str
    top: int
    left: int
    height: int
    width: int

    @cached_property
    def values(self) -> np.ndarray:
        """The slice of the image, (H, W), read once."""
        return np.ascontiguousarray(plane_slice(self.scan.image, self.view.plane, self.view.index))


def arrange(scans: Mapping[str, Scan], view: View, voxel: Sequence[int]) -> list[Pane]:
    """Where each slice stands: one plane of each scan in a row, or a row of three planes.

    Args:
        scans: by name; all of one image.
        view: its plane, or with ``all_planes`` the three planes through ``voxel``.
        voxel: (x, y, z), where the planes cross.
    """
    if view.all_planes:
        rows = [[(name, plane) for plane in PLANES] for name in scans]
    else:
        rows = [[(name, view.plane) for name in scans]]
    size_px = min(view.size_px, LARGEST_PX.get(len(rows[0]), LARGEST_PX[3]))
    panes, top = [], 0
    for row in rows:
        left, lowest = 0, 0
        for name, plane in row:
            index = int(voxel[PLANES[plane].axis])
            here = dataclasses.replace(view, plane=plane, index=index, size_px=size_px)
            height, width = _size(scans[name], here)
            title = name if len(scans) > 1 else ""
            panes.append(Pane(scans[name], here, title, top, left, height, width))
            left, lowest = left + width + GAP_PX, max(lowest, height)
        top += lowest + GAP_PX
    return panes


def draw(panes: Sequence[Pane], voxel: Sequence[int]) -> np.ndarray:
    """The panes in one (height, width, 3) uint8 picture; several planes with a crosshair."""
    frames = [_framed(pane, voxel) for pane in panes]
    if len(frames) == 1:
        return frames[0]
    height = max(pane.top + pane.height for pane in panes)
    width = max(pane.left + pane.width for pane in panes)
    picture = np.zeros((height, width, 3), np.uint8)
    for pane, frame in zip(panes, frames, strict=True):
        picture[pane.top :, pane.left :][: pane.height, : pane.width] = frame
    return picture


def canvas_bytes(rgb: np.ndarray) -> bytes:
    """Pack an (H, W, 3) uint8 frame for a canvas in the browser (viewer_picture.js unpacks it).

    Most of a frame is grey, so this takes a tenth of the time of a PNG here and needs no decoder
    there. Little-endian uint32: H, W, the number n of coloured pixels, their n places in the frame,
    their n colours as 0xFFBBGGRR; then the H * W grey values, one byte each.
    """
    grey = np.ascontiguousarray(rgb[:, :, 1])
    coloured = np.flatnonzero((rgb[:, :, 0] != grey) | (rgb[:, :, 2] != grey))
    colours = rgb.reshape(-1, 3)[coloured] @ np.array([1, 2**8, 2**16]) + 0xFF000000
    words = np.concatenate((grey.shape, [len(coloured)], coloured, colours))
    return words.astype("<u4").tobytes() + grey.tobytes()


def voxel_at(panes: Sequence[Pane], x_px: float, y_px: float) -> tuple[Pane, Voxel] | None:
    """The pane under a pixel (from the left, from the top) and the voxel there; None between."""
    for pane in panes:
        across, down = (x_px - pane.left) / pane.width, (y_px - pane.top) / pane.height
        if 0 <= across < 1 and 0 <= down < 1:
            voxel = [pane.view.index] * 3
            shares = (across, down)
            for (axis, length, _), share in zip(_across_and_down(pane), shares, strict=True):
                voxel[axis] = length - 1 - int(share * length)  # both axes run backwards
            return pane, tuple(voxel)
    return None


def _across_and_down(pane: Pane) -> list[tuple[int, int, int]]:
    """(axis, its voxels, its pixels) of the axis that runs across and of the one that runs down."""
    axes = [axis for axis in range(3) if axis != PLANES[pane.view.plane].axis]
    sizes_px = (pane.width, pane.height)
    return [(a, pane.scan.image.shape[a], px) for a, px in zip(axes, sizes_px, strict=True)]


def _size(scan: Scan, view: View) -> tuple[int, int]:
    shape = plane_slice(scan.image, view.plane, view.index).shape
    return frame_size(shape, pixel_spacing_mm(scan.spacing_mm, view.plane), view.size_px)


def _framed(pane: Pane, voxel: Sequence[int]) -> np.ndarray:
    """The slice, with the two lines where the other planes cut it and the name of its scan."""
    frame = render(pane.scan, pane.view, pane.values)
    if pane.view.all_planes:
        column, row = (
            int((length - 0.5 - voxel[axis]) / length * size_px)
            for axis, length, size_px in _across_and_down(pane)
        )
        frame[::2, column] = frame[row, ::2] = CROSS  # dotted: what lies below stays visible
    return with_title(frame, pane.title) if pane.title else frame
