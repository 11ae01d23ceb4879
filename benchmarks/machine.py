"""What a measurement ran on: it stands beside every number of the benchmarks."""

import os
import platform
import resource
from importlib.metadata import version


def machine() -> dict[str, str | int | bool]:
    """Processor, cores, accelerator, and the versions that matter for speed."""
    import torch

    from seg_lib.memory import has_bf16

    names = [line for line in _cpuinfo() if line.startswith("model name")]
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "processor": names[0].split(":")[1].strip() if names else platform.processor(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "cuda": cuda,
        "bf16_instructions": has_bf16("cpu"),
        "python": platform.python_version(),
    } | {name: version(name) for name in ("torch", "monai", "numpy", "scipy")}


def peak_mb() -> float:
    """Peak memory of this process, 10^6 bytes. A child inherits ``ru_maxrss``, but not VmHWM."""
    try:
        with open("/proc/self/status", encoding="utf-8") as stream:
            kib = next(line.split()[1] for line in stream if line.startswith("VmHWM"))
    except OSError:  # not Linux
        kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(kib) * 1024 / 1e6


def _cpuinfo() -> list[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            return stream.read().splitlines()
    except OSError:  # not Linux
        return []
