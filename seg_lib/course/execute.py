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

import psutil

from seg_lib.course.notebooks import code_cells, read_notebook, source_of

SAMPLE_EVERY_S = 0.2
ANSI = re.compile(r"\x1b\[[0-9;]*m")
ENVIRONMENT = {
    "SEG_LIB_HEADLESS": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "TQDM_DISABLE": "1",
    "PYTHONHASHSEED": "0",
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that wait do not spin: 5 times faster on a busy machine
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else every kernel begins with a page of warnings
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # equal results on the GPU, run after run
}


@dataclass(frozen=True)
class Execution:
    """What happened: wall seconds, peak memory in 10^6 bytes, and the fault or an empty string."""

    seconds: float
    peak_mb: float
    fault: str


class KernelWatch(threading.Thread):
    """Watch the processes that start from now on: sum their memory, end them at the limit.

    Args:
        time_limit_s: seconds from ``start()`` after which the kernel is killed.
    """

    def __init__(self, time_limit_s: float):
        """Remember which processes are there already: those are none of the kernel's."""
        super().__init__(daemon=True)
        self.time_limit_s = time_limit_s
        self.peak_mb = 0.0
        self.timed_out = False
        self._this = psutil.Process()
        self._before = {child.pid for child in self._this.children()}
        self._seen: set[psutil.Process] = set()
        self._finished = threading.Event()

    def run(self) -> None:
        """Sample until ``finish`` is called or the time is over."""
        deadline = time.monotonic() + self.time_limit_s
        while not self._finished.wait(SAMPLE_EVERY_S):
            self._sample()
            if time.monotonic() > deadline:
                self.timed_out = True
                self._kill()
                return

    def finish(self) -> None:
        """Stop sampling, and leave no process of the kernel behind."""
        self._finished.set()
        self.join()
        self._kill()

    def _sample(self) -> None:
        kernels = [c for c in self._this.children() if c.pid not in self._before]
        n_bytes = 0
        for kernel in kernels:
            with contextlib.suppress(psutil.Error):  # it may end while it is being looked at
                tree = [kernel, *kernel.children(recursive=True)]
                self._seen.update(tree)
                n_bytes += sum(process.memory_info().rss for process in tree)
        self.peak_mb = max(self.peak_mb, n_bytes / 1e6)

    def _kill(self) -> None:
        for process in self._seen:
            with contextlib.suppress(psutil.Error):
                process.kill()


def execute(
    notebook: Path,
    output: Path,
    parameters: Mapping[str, object],
    time_limit_s: float,
    environment: Mapping[str, str] | None = None,
) -> Execution:
    """Run a notebook from its own folder, and say whether every code cell ran to its end.

    Args:
        notebook: the file to run; it is not changed.
        output: where the executed notebook goes, also when it is only a part of one.
        parameters: values for the cell tagged ``parameters``.
        time_limit_s: for the whole notebook, the start of the kernel included.
        environment: variables for the kernel, beside ``ENVIRONMENT``.

    Raises:
        InputError: the file is no notebook.
        KeyboardInterrupt: the person at the keyboard stopped it; the kernel is gone too.
    """
    fault = kernel_fault(read_notebook(notebook))
    if fault:
        return Execution(0.0, 0.0, fault)
    watch = KernelWatch(time_limit_s)
    begin = time.perf_counter()
    watch.start()
    error = None
    try:
        with _surroundings({**ENVIRONMENT, **(environment or {})}):
            _papermill(notebook, output, parameters)
    except Exception as caught:  # whatever it is, it becomes the fault of this notebook
        error = caught
    finally:
        watch.finish()
    seconds = time.perf_counter() - begin
    if watch.timed_out:
        fault = f"stopped at its time limit of {time_limit_s:.0f} s {_where_it_ended(output)}."
    else:
        fault = _error_in(output) or _name_error(error, output) or _unrun_in(output)
    return Execution(seconds, watch.peak_mb, fault)


def _papermill(notebook: Path, output: Path, parameters: Mapping[str, object]) -> None:
    import papermill

    papermill.execute_notebook(
        notebook.resolve(),
        output.resolve(),
        parameters=dict(parameters),
        cwd=notebook.parent,
        progress_bar=False,
        iopub_timeout=60,  # the default of 4 s fails on a busy machine
        store_widget_state=False,
        record_timing=False,
        extra_arguments=["--log-level=CRITICAL"],  # of the kernel's own messages to the terminal
    )


@contextlib.contextmanager
def _surroundings(environment: Mapping[str, str]) -> Iterator[None]:
    """The kernel's environment variables; and Jupyter's own warnings and logs kept quiet."""
    before = {name: os.environ.get(name) for name in environment}
    log = logging.getLogger("papermill")
    level = log.level
    os.environ.update(environment)
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


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
    if program.is_absolute() and program.parent != Path(sys.executable).parent:
        return (
            f"kernel {name!r} starts {program}, not this Python; "
            "run: python -m ipykernel install --sys-prefix"
        )
    return ""


def _error_in(output: Path) -> str:
    """The first code cell that shows an error, ``sys.exit`` included."""
    cells = code_cells(read_notebook(output)) if output.is_file() else []
    for n, cell in enumerate(cells, 1):
        for shown in cell.get("outputs", []):
            if shown["output_type"] == "error":
                return _name_cell(f"stopped in code cell {n} of {len(cells)}", cell, shown)
    return ""


def _unrun_in(output: Path) -> str:
    """The first code cell that did not run."""
    cells = code_cells(read_notebook(output)) if output.is_file() else []
    for n, cell in enumerate(cells, 1):
        if cell.get("execution_count") is None:
            return f"code cell {n} of {len(cells)} did not run: the kernel ended before it."
    return ""


def _name_cell(where: str, cell: dict, shown: dict) -> str:
    """The error, with the line of the cell that it came from."""
    trace = ANSI.sub("", "\n".join(shown.get("traceback", [])))
    arrows = [line.strip() for line in trace.splitlines() if line.lstrip().startswith("---")]
    arrows = [line for line in arrows if not set(line) <= {"-"}]
    line = arrows[0] if arrows else source_of(cell).strip().splitlines()[0]
    return f"{where}: {shown['ename']}: {shown['evalue']}\n    {line}"


def _name_error(error: Exception | None, output: Path) -> str:
    if error is None:
        return ""
    if type(error).__name__ == "DeadKernelError":
        return f"the kernel died {_where_it_ended(output)} (out of memory, or a crash)."
    return f"{type(error).__name__}: {error}"


def _where_it_ended(output: Path) -> str:
    """The last code cell that began."""
    if not output.is_file():
        return "before the first cell"
    cells = code_cells(read_notebook(output))
    begun = [n for n, cell in enumerate(cells, 1) if cell.get("execution_count") is not None]
    return f"in code cell {max(begun, default=1)} of {len(cells)}"
