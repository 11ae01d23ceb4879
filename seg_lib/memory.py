"""What the machine gives: memory that is kept, and whether it has bfloat16."""

import ctypes
import functools
import sys

import torch

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # numbers of mallopt(3)


@functools.cache
def keep_memory() -> bool:
    """Tell glibc to hand freed memory out again instead of returning it to the system.

    Large tensors otherwise cost a page fault every 4 kB in every step: 1.1 to 1.5 times the time of
    a training step on a CPU. The process then keeps the most memory it ever used. Does nothing, and
    returns False, where the C library is another one.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, 2**31 - 1))


def has_bf16(device: str) -> bool:
    """Whether a device ("cuda", "cpu") computes in bfloat16 by itself: elsewhere it is slower."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
