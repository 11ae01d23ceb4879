"""Hounsfield units (HU): the scale of CT, and the windows through which people look at it.

Water is 0 HU and air is -1000 HU by definition. A window (low, high) maps that part of the scale to
[0, 1]; everything below is black, everything above white. Taught in notebooks 00 and 03.
"""

import numpy as np

from seg_lib.errors import InputError

HU_WINDOWS: dict[str, tuple[float, float]] = {
    "lung": (-1350.0, 150.0),  # width 1500, level -600: vessels and nodules in lung
    "nodule": (-1000.0, 400.0),  # air to contrast-filled vessel: what the networks here see
    "soft tissue": (-160.0, 240.0),  # width 400, level 40: organs, fat, muscle
    "bone": (-500.0, 1300.0),  # width 1800, level 400
    "full": (-1024.0, 3071.0),  # the whole 12-bit scale
}


def apply_window(hu: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Map HU to [0, 1] float32: ``low`` and below becomes 0, ``high`` and above becomes 1.

    Args:
        hu: any shape, HU. Padding such as -3024 lands on 0 because it lies below every window.
        window: (low, high) in HU.

    Raises:
        InputError: ``high`` is not above ``low``.
    """
    low, high = window
    if not high > low:
        raise InputError(f"HU window {window}: the second value must be above the first.")
    scaled = (np.asarray(hu, dtype=np.float32) - np.float32(low)) / np.float32(high - low)
    return np.clip(scaled, 0.0, 1.0, out=scaled)
