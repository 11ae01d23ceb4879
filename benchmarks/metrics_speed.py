"""How fast are our surface distances? Ours, surface-distance and MONAI in turn, in one process.

    python benchmarks/metrics_speed.py [--repeats 9] [--out benchmarks/results/metrics_speed.json]

One pair of 512 x 512 x 100 masks of a 40 mm tumour, 0.8 x 0.8 x 2.5 mm. Each side gets the masks in
the form it wants, prepared beforehand. Ours: HD, HD95 (max and pooled), surface Dice and Dice in
one call. surface-distance: HD, HD95, surface Dice. MONAI: HD95 alone. Ratios travel, seconds do
not. Nothing is asserted here; tests/test_surfaces.py asserts the ratios with a margin.
"""

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
from machine import machine

from seg_lib import surfaces
from seg_lib.files import write_text
from seg_lib.metrics import case_metrics

SHAPE, SPACING_MM, TOLERANCE_MM = (512, 512, 100), (0.8, 0.8, 2.5), 2.0
OURS, PEER, MONAI = "seg_lib", "surface-distance", "MONAI HD95"


def tumour(centre_mm, radius_mm, phase):
    """A lumpy ball, uint8 (X, Y, Z); only the box around it is computed."""
    reach_mm = 1.2 * radius_mm
    box, axes = [], []
    for n, mm, centre in zip(SHAPE, SPACING_MM, centre_mm, strict=True):
        middle = n / 2 + centre / mm
        box.append(slice(int(middle - reach_mm / mm), int(middle + reach_mm / mm) + 2))
        axes.append((np.arange(n)[box[-1]] - middle) * mm)
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    lumps = 1 + 0.06 * np.sin(3 * np.arctan2(y, x) + phase) + 0.05 * np.cos(z / 6 + phase)
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[tuple(box)] = np.sqrt(x * x + y * y + z * z) < radius_mm * lumps
    return mask


def tumour_pair():
    """A prediction and a reference that differ by a millimetre or two."""
    return tumour((31.5, -21.0, 1.0), 19.3, 0.7), tumour((30.0, -20.0, 0.0), 20.0, 0.0)


def ours(mask, reference):
    distances = surfaces.surface_distances(mask, reference, SPACING_MM)
    both = distances.mask_voxels + distances.reference_voxels
    return {
        "hd_mm": surfaces.hausdorff(distances),
        "hd95_mm": surfaces.hausdorff95_max(distances),
        "hd95_pooled_mm": surfaces.hausdorff95_pooled(distances),
        "surface_dice_2mm": surfaces.surface_dice(distances, TOLERANCE_MM),
        "dice": 2 * distances.shared_voxels / both,
    }


def surface_distance_peer(mask, reference):
    import surface_distance as peer

    distances = peer.compute_surface_distances(reference, mask, SPACING_MM)
    return {
        "hd_mm": float(peer.compute_robust_hausdorff(distances, 100)),
        "hd95_mm": float(peer.compute_robust_hausdorff(distances, 95)),
        "surface_dice_2mm": float(peer.compute_surface_dice_at_tolerance(distances, TOLERANCE_MM)),
    }


def monai_hd95(mask, reference):
    from monai.metrics import compute_hausdorff_distance

    value = compute_hausdorff_distance(mask, reference, True, percentile=95, spacing=SPACING_MM)
    return {"hd95_mm": value.item()}


def contestants():
    """Name -> a call without arguments, its input ready."""
    import torch

    mask, reference = tumour_pair()
    flags = mask.astype(bool), reference.astype(bool)
    one_hot = [torch.from_numpy(m)[None, None].float() for m in (mask, reference)]
    return {
        OURS: lambda: ours(mask, reference),
        "seg_lib case_metrics": lambda: case_metrics(mask, reference, SPACING_MM),
        PEER: lambda: surface_distance_peer(*flags),
        MONAI: lambda: monai_hd95(*one_hot),
    }


def measure(repeats, names=None):
    """Let each contestant run in turn, ``repeats`` times: {name: [s, ...]}, {name: answers}."""
    calls = {n: call for n, call in contestants().items() if names is None or n in names}
    answers = {name: call() for name, call in calls.items()}  # warms up, imports included
    seconds = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return seconds, answers


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/metrics_speed.json"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # the peers' own: deprecated scipy and MONAI names
    seconds, answers = measure(arguments.repeats)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    rows = {
        name: {
            "median_ms": round(1000 * median[name], 2),
            "fastest_ms": round(1000 * min(seconds[name]), 2),
            "times_ours": round(median[name] / median[OURS], 2),
            "answers": answers[name],
        }
        for name in seconds
    }
    print(f"{'':22}{'median ms':>12}{'fastest ms':>12}{'x ours':>9}")
    for name, row in rows.items():
        print(f"{name:22}{row['median_ms']:12}{row['fastest_ms']:12}{row['times_ours']:9}")
    result = {"machine": machine(), "repeats": arguments.repeats, "results": rows}
    write_text(arguments.out, json.dumps(result, indent=2) + "\n")
    print(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
