"""What a running notebook holds in its hand: its sizes, its records, its figures, its phantoms."""

import base64
import hashlib
import json
import math
import os
import re
import shutil
from pathlib import Path

from seg_lib.course.notebooks import course_root
from seg_lib.course.profiles import settings
from seg_lib.errors import InputError
from seg_lib.files import write_text

METRIC_MIME = "application/vnd.seg-lib.metric+json"
METRICS_FILE = "metrics.jsonl"
NAME = re.compile(r"[a-z][a-z0-9_]*")
SHOWN_DPI = 100
SHOWN_BYTES = 60_000  # the picture inside the notebook stays small: no notebook over 400 kB


class Lesson:
    """One run of one notebook: its sizes, and where its records and figures go.

    ``notebook`` is two digits, ``profile`` one of ``profiles.PROFILES``; ``seed`` is what every
    random draw starts from. Empty folders are those of the course: ``data/phantoms/<profile>``
    keeps phantoms between runs, ``runs/<profile>/out/<notebook>`` gets records and figures.
    ``InputError`` if the notebook or the profile is not in the table.
    """

    def __init__(self, notebook: str, profile: str, seed: int = 0, data_dir="", out_dir=""):
        """Look the sizes up, begin an empty record, and print what the lesson will cost."""
        self.settings = settings(notebook, profile)
        self.notebook, self.profile, self.seed = notebook, profile, seed
        try:
            root = course_root()
        except InputError:  # a notebook taken out of the course still runs
            root = Path.cwd()
        self.data_dir = Path(data_dir or root / "data" / "phantoms" / profile)
        self.out_dir = Path(out_dir or root / "runs" / profile / "out" / notebook)
        self.metrics: dict[str, dict] = {}
        self._write_metrics()  # records of an earlier run would mix with this one's
        print(self.settings.budget_line())

    def record(self, name: str, value: float, unit: str = "") -> None:
        """Write a metric into the notebook and into ``OUT_DIR/metrics.jsonl``.

        In a run without a person (``SEG_LIB_HEADLESS=1``) a name may be recorded once; at the
        keyboard a cell that is run again replaces its record.

        Args:
            name: small letters, digits, underscores, with the unit: ``val_dice``, ``hd95_mm``.
            value: one finite number or truth value; a 0-dimensional array or tensor will do.
            unit: shown after the value.

        Raises:
            InputError: the name, the value, or a name recorded twice.
        """
        if not NAME.fullmatch(name):
            raise InputError(f"record: {name!r} is no metric name; use letters like val_dice.")
        if name in self.metrics and os.environ.get("SEG_LIB_HEADLESS") == "1":
            raise InputError(f"record: {name} has been recorded already; use another name.")
        if getattr(value, "ndim", None) == 0:
            value = value.item()
        if not isinstance(value, int | float):
            raise InputError(f"record: {name} is a {type(value).__name__}; hand in one number.")
        if not math.isfinite(value):
            raise InputError(f"record: {name} is {value}; find out where that comes from first.")
        value = int(value) if isinstance(value, bool) else value
        self.metrics[name] = {"name": name, "value": value, "unit": unit}
        self._write_metrics()
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        _show(f"{name} = {shown} {unit}".rstrip(), {METRIC_MIME: self.metrics[name]})

    def figure(self, fig, name: str, alt: str = "") -> None:
        """Save a matplotlib figure as ``OUT_DIR/figures/NN_name.png``, show it, and close it.

        ``alt`` says in words what the picture shows, for those who cannot see it. ``InputError``
        if the name is not a file name in small letters, or nothing is drawn.
        """
        if not NAME.fullmatch(name):
            raise InputError(f"figure: {name!r} is no figure name; use letters like worst_cases.")
        import matplotlib.pyplot as plt

        from seg_lib.figure_style import figure_png, save_figure

        save_figure(fig, self.out_dir / "figures" / f"{self.notebook}_{name}.png")
        picture = base64.b64encode(figure_png(fig, SHOWN_BYTES, SHOWN_DPI)).decode()
        plt.close(fig)  # else Jupyter shows it a second time below the cell
        alt = alt or f"Figure: {name.replace('_', ' ')}"
        _show(alt, {"image/png": picture}, {"image/png": {"alt": alt}})

    def table(self, rows: list[dict]) -> None:
        """Show rows (dictionaries with the same keys) as a table; numbers with three decimals."""
        from seg_lib.charts import markdown_table

        text = markdown_table(rows)
        _show(text, {"text/markdown": text})

    def phantom(
        self, kind: str, n_cases: int | None = None, size=None, seed=None, hospital: str = ""
    ) -> Path:
        """A folder with phantom cases, made at the first call and kept for the next.

        ``kind`` and ``hospital`` are those of ``make_phantom``, ``size`` is in pixels; what is not
        given is the profile's or the lesson's. The folder's name tells all that, and the phantom's
        version.
        """
        elsewhere = {"hospital": hospital} if hospital else {}
        n_cases = self.settings.n_cases if n_cases is None else n_cases
        size = self.settings.size if size is None else size
        seed = self.seed if seed is None else seed
        sizes = "x".join(str(side) for side in (size if isinstance(size, tuple | list) else [size]))
        whose = "-".join([kind, *elsewhere.values()])
        name = f"{whose}-{n_cases}cases-{sizes}px-seed{seed}-{_phantom_version()}"
        folder = self.data_dir / name
        if folder.is_dir():
            return folder
        from seg_lib.data.phantom import make_phantom

        part = self.data_dir / f".part-{os.getpid()}-{name}"
        try:
            make_phantom(kind, n_cases=n_cases, size=size, seed=seed, out_dir=part, **elsewhere)
            part.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another run has put the same folder there meanwhile
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return folder

    def _write_metrics(self) -> None:
        lines = [json.dumps(metric) + "\n" for metric in self.metrics.values()]
        write_text(self.out_dir / METRICS_FILE, "".join(lines))


def _show(text: str, data: dict, metadata: dict | None = None) -> None:
    """Show a bundle in a notebook, or print its text outside of one."""
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        print(text)
    else:
        display({**data, "text/plain": text}, raw=True, metadata=metadata or {})


def _phantom_version() -> str:
    """Eight digits that change with `seg_lib.data`, which draws: no old phantom in a new lesson."""
    sources = sorted((Path(__file__).parents[1] / "data").glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]
