"""How fast is DICOM to NIfTI? Ours, dcm2niix, dicom2nifti and a nibabel loop in turn.

    python benchmarks/dicom_speed.py [--repeats 5] [--out benchmarks/results/dicom_speed.json]

One made-up series: 120 slices of 512 x 512 from the chest phantom with the noise of a scanner,
uncompressed, with a header as long as a scanner's. Ours does all its checks; dcm2niix runs as the
program it is; the loop (pydicom, NumPy, nibabel at gzip level 1) checks nothing. Ratios travel,
seconds do not; on a machine that others use too, those of the processor's time are the steadier
ones. The sizes of the files stand beside the times, since packing less is faster.
"""

import argparse
import contextlib
import gzip
import io
import json
import os
import statistics
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from machine import machine

from seg_lib.data.dicom import dicom_to_nifti
from seg_lib.data.phantom import lung_volume
from seg_lib.data.phantom_dicom import write_ct_series
from seg_lib.files import write_text

OURS, DCM2NIIX, DICOM2NIFTI, LOOP = "seg_lib", "dcm2niix", "dicom2nifti", "nibabel level 1"
SIZE = (512, 512, 120)
PRIVATE_ELEMENTS = 60  # what a scanner adds to the header of every slice


def make_series(folder, size=SIZE):
    """CT-like slices: smooth anatomy, noise of 12 HU, padding outside the circle of the scanner."""
    small = lung_volume(0, (size[0] // 2, size[1] // 2, size[2]))
    hu = small.hu.repeat(2, 0).repeat(2, 1).astype(np.float32)
    noise = np.random.default_rng(0).standard_normal(hu.shape, np.float32) * 12
    x, y = (np.linspace(-1, 1, n) for n in size[:2])
    hu = np.clip(hu + noise, -1024, 3071)
    hu[np.hypot(x[:, None], y) > 1] = -1024
    affine = small.affine @ np.diag([0.5, 0.5, 1, 1])
    write_ct_series(folder, hu.astype(np.int16), affine)
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        block = data.private_block(0x0019, "MADE UP", create=True)
        for element in range(PRIVATE_ELEMENTS):
            block.add_new(element, "LO", f"value {element}")
        data.save_as(path)


def ours(src, dst):
    dicom_to_nifti(src, dst)


def dcm2niix(src, dst):
    from dcm2niix import bin as program

    name = dst.name.removesuffix(".nii.gz")
    command = [program, "-z", "i", "-b", "n", "-w", "1", "-f", name, "-o", dst.parent, src]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


def dicom2nifti(src, dst):
    from dicom2nifti import dicom_series_to_nifti

    with contextlib.redirect_stdout(io.StringIO()):
        dicom_series_to_nifti(str(src), str(dst), reorient_nifti=False)


def nibabel_loop(src, dst):
    """What one writes in ten minutes."""
    slices = [pydicom.dcmread(path) for path in src.iterdir()]
    slices.sort(key=lambda data: float(data.ImagePositionPatient[2]))
    hu = [s.pixel_array * float(s.RescaleSlope) + float(s.RescaleIntercept) for s in slices]
    volume = np.stack(hu).astype(np.int16).T
    row, column = slices[0].PixelSpacing
    mm = abs(slices[1].ImagePositionPatient[2] - slices[0].ImagePositionPatient[2])
    image = nib.Nifti1Image(volume, np.diag([-column, -row, mm, 1]))
    dst.write_bytes(gzip.compress(image.to_bytes(), 1))


CONTESTANTS = {OURS: ours, DCM2NIIX: dcm2niix, DICOM2NIFTI: dicom2nifti, LOOP: nibabel_loop}


def processor_s():
    """Processor time of this process and of those it has waited for."""
    return sum(os.times()[:4])


def measure(repeats, size=SIZE, names=tuple(CONTESTANTS)):
    """Each contestant in turn, repeated: {name: [(s, processor s), ...]}, {name: bytes}."""
    seconds, sizes = {name: [] for name in names}, {}
    with tempfile.TemporaryDirectory() as folder:
        src, out = Path(folder) / "series", Path(folder) / "out"
        out.mkdir()
        make_series(src, size)
        for repeat in range(repeats + 1):  # the first warms up, imports included
            for n, name in enumerate(names):
                dst = out / f"volume{n}.nii.gz"
                dst.unlink(missing_ok=True)
                start, before = time.perf_counter(), processor_s()
                CONTESTANTS[name](src, dst)
                if repeat:
                    seconds[name].append((time.perf_counter() - start, processor_s() - before))
                sizes[name] = dst.stat().st_size
    return seconds, sizes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/dicom_speed.json"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    seconds, sizes = measure(arguments.repeats)
    median = {
        name: [statistics.median(column) for column in zip(*times, strict=True)]
        for name, times in seconds.items()
    }
    rows = {
        name: {
            "median_s": round(median[name][0], 3),
            "processor_s": round(median[name][1], 3),
            "times_ours": round(median[name][0] / median[OURS][0], 2),
            "processor_times_ours": round(median[name][1] / median[OURS][1], 2),
            "megabytes": round(sizes[name] / 1e6, 2),
            "size_over_dcm2niix": round(sizes[name] / sizes[DCM2NIIX], 3),
        }
        for name in seconds
    }
    for name, row in rows.items():
        print(f"{name:18}", row)
    result = {"machine": machine(), "repeats": arguments.repeats, "results": rows}
    write_text(arguments.out, json.dumps(result, indent=2) + "\n")
    print(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
