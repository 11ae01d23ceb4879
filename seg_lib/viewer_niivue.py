"""A scan in 3D through NiiVue: an optional widget that draws on the browser's graphics card.

Unlike ``SliceViewer`` it gets the volume itself, so a large one is thinned out before it is sent.
Taught in notebook 00.
"""

from typing import Any

import nibabel as nib
import numpy as np

from seg_lib.errors import InputError
from seg_lib.scans import Scan

LARGEST = 160  # voxels along each axis; 160^3 voxels of two bytes are 8 MB
COLOURS = {"truth": "green", "prediction": "warm"}


def in_3d(scan: Scan, window: tuple[float, float]) -> Any:
    """A NiiVue widget of the scan with its masks: three planes and a rendering.

    Args:
        scan: a volume; above 160 voxels along an axis only every second or third is shown.
        window: (low, high) of black and white.

    Raises:
        InputError: ipyniivue is not installed, or a 2D image.
    """
    if scan.is_slice:
        raise InputError("3D: this is a single slice; give a volume.")
    try:
        from ipyniivue import NiiVue, ShowRender
    except ImportError as error:
        raise InputError('3D needs ipyniivue: pip install -e ".[view3d]".') from error
    stored = np.nan_to_num(scan.image, nan=-32768).clip(-32768, 32767)  # NaN is black
    masks = {"truth": scan.truth, "prediction": scan.prediction}
    volumes = [
        {
            "name": "image.nii",
            "data": nifti_bytes(scan, stored.astype(np.int16)),
            "cal_min": window[0],
            "cal_max": window[1],
        }
    ]
    volumes += [
        {"name": f"{name}.nii", "data": nifti_bytes(scan, mask.astype(np.uint8)), "opacity": 0.5}
        | {"colormap": COLOURS[name], "cal_min": 0.5, "cal_max": 1.0}
        for name, mask in masks.items()
        if mask is not None and mask.any()
    ]
    widget = NiiVue(
        height=500,
        is_radiological_convention=True,  # the patient's right on the left, as in SliceViewer
        multiplanar_show_render=ShowRender.ALWAYS,
    )
    widget.load_volumes(volumes)
    return widget


def nifti_bytes(scan: Scan, array: np.ndarray) -> bytes:
    """An (X, Y, Z) array on the grid of the scan as a NIfTI file in memory, thinned if large."""
    steps = [-(-length // LARGEST) for length in array.shape]
    affine = np.diag([mm * step for mm, step in zip(scan.spacing_mm, steps, strict=True)] + [1.0])
    affine[:3, 3] = scan.origin_mm
    thinned = np.ascontiguousarray(array[tuple(slice(None, None, step) for step in steps)])
    return nib.Nifti1Image(thinned, affine).to_bytes()
