"""Run one notebook through papermill, watched: how long, how much memory, and did every cell run?

Papermill by itself lets four things pass or hang: ``sys.exit(0)`` halfway counts as success, a
time limit is per cell, memory is not seen, and a partial notebook is written over the last good
one. Here the whole notebook has one limit, and whoever calls gets a sentence for every fault.
"""

import contextlib
import logging
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import psutil

from seg_lib.course.notebooks import code_cells, read_notebook, source_of

SAMPLE_EVERY_S = 0.2
ANSI = re.compile(r"\x1b\[[0-9;]*m")
ENVIRONMENT = {
    "SEG_LIB_HEADLESS": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "TQDM_DISABLE": "1",
    "PYTHONHASHSEED": "0",
    # Threads wait awake for microseconds, then sleep. Always awake is many times slower on a busy
    # machine; always asleep (OMP_WAIT_POLICY=PASSIVE) is twice as slow on a quiet one.
    "GOMP_SPINCOUNT": "10000",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else every kernel begins with a page of warnings
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # equal results on the GPU, run after run
}


@dataclass(frozen=True)
class Execution:
    """What happened: wall seconds, peak memory in 10^6 bytes, and the fault or an empty string."""

    seconds: float
    peak_mb: float
    fault: str


@contextlib.contextmanager
def watched(time_limit_s: float) -> Iterator[SimpleNamespace]:
    """Sum the memory of the processes that start in the block; end them after it, or at the limit.

    Yields ``peak_mb`` and ``timed_out``.
    """
    watch = SimpleNamespace(peak_mb=0.0, timed_out=False)
    before, seen = set(psutil.Process().children()), set()
    finished = threading.Event()

    def sample() -> None:
        deadline = time.monotonic() + time_limit_s
        while not watch.timed_out and not finished.wait(SAMPLE_EVERY_S):
            n_bytes = 0
            for kernel in set(psutil.Process().children()) - before:
                with contextlib.suppress(psutil.Error):  # it may end while it is being looked at
                    tree = [kernel, *kernel.children(recursive=True)]
                    seen.update(tree)
                    n_bytes += sum(process.memory_info().rss for process in tree)
            watch.peak_mb = max(watch.peak_mb, n_bytes / 1e6)
            watch.timed_out = time.monotonic() > deadline
        for process in seen:
            with contextlib.suppress(psutil.Error):
                process.kill()

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        finished.set()
        thread.join()


def execute(
    notebook: Path,
    output: Path,
    parameters: Mapping[str, object],
    time_limit_s: float,
    environment: dict[str, str] | None = None,
) -> Execution:
    """Run a notebook from its own folder, and say whether every code cell ran to its end.

    ``output`` gets also a part of a notebook; ``parameters`` are for the cell tagged so; the limit
    is for the whole, with the start of the kernel; ``environment`` comes beside ``ENVIRONMENT``.
    """
    if fault := kernel_fault(read_notebook(notebook)):
        return Execution(0.0, 0.0, fault)
    import papermill

    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    begin = time.perf_counter()
    error = None
    surroundings = patch.dict(os.environ, ENVIRONMENT | (environment or {}))
    with watched(time_limit_s) as watch, surroundings, warnings.catch_warnings(action="ignore"):
        try:
            papermill.execute_notebook(
                notebook.resolve(),
                output.resolve(),
                parameters=dict(parameters),
                cwd=notebook.parent,
                progress_bar=False,
                iopub_timeout=60,  # the default of 4 s fails on a busy machine
                store_widget_state=False,
                record_timing=False,
                extra_arguments=["--log-level=CRITICAL"],  # of what the kernel says
            )
        except Exception as caught:  # whatever it is, it becomes the fault of this notebook
            error = caught
    seconds = time.perf_counter() - begin
    limit = f"its time limit of {time_limit_s:.0f} s" if watch.timed_out else ""
    return Execution(seconds, watch.peak_mb, fault_in(output, error, limit))


def kernel_fault(notebook: dict) -> str:
    """What is wrong with the kernel that a notebook asks for; empty if it is this Python.

    A ``python3`` in the home folder may start another Python than the one that has seg_lib.
    """
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    name = notebook.get("metadata", {}).get("kernelspec", {}).get("name")
    if not name:
        return "names no kernel; open it in JupyterLab, choose Python 3, and save it."
    try:
        kernel = KernelSpecManager().get_kernel_spec(name)
    except NoSuchKernel:
        return f"asks for the kernel {name!r}, which is not installed; choose Python 3 and save it."
    if kernel.language != "python":
        return f"asks for a kernel of {kernel.language}; choose Python 3 and save it."
    program = Path(kernel.argv[0])
    if program.parent in (Path(), Path(sys.executable).parent):
        return ""
    cure = "run: python -m ipykernel install --sys-prefix"
    return f"kernel {name!r} starts {program}, not this Python; {cure}"


def fault_in(output: Path, error: Exception | None = None, limit: str = "") -> str:
    """Why an executed notebook, or what there is of it, did not run to its end; empty if it did.

    ``error`` is what papermill raised, ``limit`` the limit at which it was stopped.
    """
    cells = code_cells(read_notebook(output)) if output.is_file() else []
    unrun = [n for n, cell in enumerate(cells, 1) if cell.get("execution_count") is None]
    begun = max(set(range(1, len(cells) + 1)) - set(unrun), default=1)
    where = f"in code cell {begun} of {len(cells)}" if cells else "before the first cell"
    if limit:
        return f"stopped at {limit} {where}."
    for n, cell in enumerate(cells, 1):
        for shown in cell.get("outputs", []):
            if shown["output_type"] == "error":  # sys.exit included
                trace = ANSI.sub("", "\n".join(shown.get("traceback", [])))
                arrow = re.search(r"^\s*-+> .*", trace, re.MULTILINE)
                line = arrow[0] if arrow else source_of(cell).strip().splitlines()[0]
                fault = f"{shown['ename']}: {shown['evalue']}\n    {line.strip()}"
                return f"stopped in code cell {n} of {len(cells)}: {fault}"
    if type(error).__name__ == "DeadKernelError":
        return f"the kernel died {where} (out of memory, or a crash)."
    if error is not None:
        return f"{type(error).__name__}: {error}"
    if unrun:
        return f"code cell {unrun[0]} of {len(cells)} did not run: the kernel ended before it."
    return ""
