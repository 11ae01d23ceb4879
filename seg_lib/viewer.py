"""SliceViewer: page through a CT with its masks in a notebook.

    SliceViewer(image, mask, prediction)          arrays, NIfTI paths, or a Case
    SliceViewer(case, prediction={"U-Net": mask, "UNETR": mask})      side by side

In JupyterLab it is a picture with controls; where widgets cannot be displayed (papermill, a printed
page, ``SEG_LIB_HEADLESS=1``) it is a contact sheet. Each change sends one picture to the browser,
never the volume. Widgets only show the state (viewer_widgets.py), so everything a mouse can do, a
line of code can do too: ``viewer.change(plane="coronal")``. Taught in notebook 00.
"""

import base64
import copy
import dataclasses
import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seg_lib.errors import InputError
from seg_lib.files import written_whole
from seg_lib.panes import Pane, arrange, draw, voxel_at
from seg_lib.rendering import PLANES, View, layers, plane_slice, png_bytes, position
from seg_lib.run_log import is_watched
from seg_lib.scans import find_lesions, open_scans, window_limits


def widgets_can_display() -> bool:
    """True in a notebook with a person in front of it, where the widgets are installed."""
    needed = ("ipywidgets", "anywidget")
    return all(importlib.util.find_spec(name) for name in needed) and is_watched()


class SliceViewer:
    """A CT, its truth and a prediction, slice by slice.

    All but ``window``, the name of an HU window or (low, high), is what ``open_scan`` takes;
    ``prediction`` may also be a dictionary of several by name, shown side by side. The viewer
    holds the ``scans`` by name, the first ``scan``, its ``lesions`` (of the prediction, if there is
    no truth) and the number ``lesion`` of the one visited last, the ``voxel`` where it stands, and
    the ``view``, which ``change`` replaces.

    Raises:
        InputError: shapes that do not fit each other, an unreadable file, a wrong spacing.
    """

    def __init__(
        self,
        image: Any,
        mask: Any = None,
        prediction: Any = None,
        spacing: Sequence[float] | None = None,
        *,
        window: str | tuple[float, float] | None = None,
    ) -> None:
        """Open the scan at its first lesion, or in the middle."""
        named = prediction if isinstance(prediction, Mapping) else {"prediction": prediction}
        if not named:
            raise InputError("prediction: an empty dictionary; give at least one name and mask.")
        self.scans = open_scans(image, mask, named, spacing)
        self.scan = next(iter(self.scans.values()))
        self.lesions = find_lesions(self.scan.marked)
        self.lesion = 0
        self.voxel = list(self.lesions[0].peak if self.lesions else self.scan.centre)
        self.view = View(
            index=self.voxel[PLANES["axial"].axis],
            window=window_limits(window or self.scan.default_window),
        )
        self._controls = None

    @property
    def n_slices(self) -> int:
        """Number of slices in the current plane."""
        return self.scan.image.shape[PLANES[self.view.plane].axis]

    @property
    def has_probability(self) -> bool:
        """Whether there is something to draw as a heat map."""
        return any(scan.probability is not None for scan in self.scans.values())

    @property
    def panes(self) -> list[Pane]:
        """The slices of the current view and where they stand in the frame."""
        return arrange(self.scans, self.view, self.voxel)

    def change(self, **changes: Any) -> None:
        """Change fields of the ``View``, for example ``change(plane="coronal", index=30)``.

        A new plane opens where the viewer already stands, unless ``index`` is given as well; a
        window may be given by its name.

        Raises:
            InputError: a value that the view cannot have; nothing changes.
        """
        if "window" in changes:
            changes["window"] = window_limits(changes["window"])
        plane = PLANES.get(changes.get("plane", self.view.plane), PLANES["axial"])
        view = dataclasses.replace(self.view, **{"index": self.voxel[plane.axis], **changes})
        plane_slice(self.scan.image, view.plane, view.index)  # refuses an index outside
        if view.overlay == "heat map" and not self.has_probability:
            raise InputError("heat map: the prediction is a mask; give probabilities from 0 to 1.")
        if view.all_planes and self.scan.is_slice:
            raise InputError("all_planes: a 2D image has only one plane.")
        self.voxel[plane.axis] = view.index
        self.view = view
        if self._controls is not None:
            self._controls.refresh()

    def go_to(self, voxel: Sequence[int]) -> None:
        """Let all planes pass through a voxel (x, y, z).

        Raises:
            InputError: it lies outside the volume; nothing changes.
        """
        for name, plane in PLANES.items():
            plane_slice(self.scan.image, name, voxel[plane.axis])
        self.voxel = [int(place) for place in voxel]
        self.change()

    def at_slice(self, index: int) -> "SliceViewer":
        """The same view at another slice of its plane, as a viewer of its own without widgets.

        Raises:
            InputError: there is no such slice.
        """
        there = copy.copy(self)
        there.voxel, there._controls = list(self.voxel), None
        there.change(index=index)
        return there

    def scroll(self, steps: int, plane: str | None = None) -> None:
        """Go so many slices on in a plane, default the current one, at most to its end."""
        axis = PLANES[plane or self.view.plane].axis
        index = min(max(self.voxel[axis] + steps, 0), self.scan.image.shape[axis] - 1)
        if index != self.voxel[axis]:
            self.change(plane=plane or self.view.plane, index=index)

    def next_lesion(self, step: int = 1) -> None:
        """Go to the slice that shows most of the next lesion; after the last comes the first."""
        if not self.lesions:
            return
        self.lesion = (self.lesion + step) % len(self.lesions)
        self.go_to(self.lesions[self.lesion].peak)

    def previous_lesion(self) -> None:
        """Go to the lesion before the current one."""
        self.next_lesion(-1)

    def frame(self) -> bytes:
        """The current view as PNG."""
        return png_bytes(draw(self.panes, self.voxel))

    def save(self, path: str | Path) -> None:
        """Write the current view to a PNG file, whole or not at all."""
        with written_whole(path) as part:
            part.write_bytes(self.frame())

    def in_3d(self) -> Any:
        """The scan as a NiiVue widget with a rendering (pip install -e ".[view3d]").

        Raises:
            InputError: NiiVue is missing, a 2D image, or nobody watches who could see a widget.
        """
        from seg_lib.viewer_niivue import in_3d

        if not widgets_can_display():
            raise InputError("3D: open the notebook in JupyterLab; a stored page cannot hold it.")
        return in_3d(self.scan, self.view.window)

    def legend(self) -> list[tuple[str, tuple[int, int, int]]]:
        """(words, colour) of each overlay in the current view."""
        if self.view.overlay == "none":
            return []
        masks = (self.scan.truth, self.scan.prediction)
        corner = (None if mask is None else mask[:1, :1, :1] for mask in masks)  # for the words
        painted = layers(*corner, self.view.show)
        if self.view.overlay == "heat map":
            painted = [layer for layer in painted if layer[0] == "truth"]
        return [(words, colour) for words, _, colour in painted]

    def caption(self, panes: Sequence[Pane] | None = None) -> str:
        """Where the viewer stands, in words: slice, millimetres, range of values, lesions."""
        view, scan = self.view, self.scan
        shown = (pane for pane in panes or self.panes if pane.view.plane == view.plane)
        values = next(shown).values
        values = values[abs(values) < math.inf]  # neither NaN nor infinite
        ends = f"{values.min():.0f} to {values.max():.0f}" if values.size else "of no voxel"
        words = [f"{scan.unit} {ends}"]
        if not scan.is_slice:
            where = f"{view.plane} slice {view.index + 1} of {self.n_slices}"
            words = [where, position(scan, view), *words]
        if self.lesions:
            count = len(self.lesions)
            here = self.lesions[self.lesion].peak[PLANES[view.plane].axis] == view.index
            one_of = f"lesion {self.lesion + 1} of {count}"
            words.append(one_of if here else f"{count} lesion{'s' if count > 1 else ''}")
        return " · ".join(words)

    def under(self, x_px: float, y_px: float) -> str:
        """What lies under a pixel of the frame, in words; "" between the panes."""
        found = voxel_at(self.panes, x_px, y_px)
        if found is None:
            return ""
        (scan, voxel), name = (found[0].scan, found[1]), found[0].title
        place = "voxel " + ", ".join(map(str, voxel))
        if scan.is_slice:  # as in the array that was given
            n_x, n_y, _ = scan.image.shape
            place = f"row {n_y - 1 - voxel[1]}, column {n_x - 1 - voxel[0]}"
        words = [f"{scan.unit} {scan.image[voxel]:.0f}", place]
        marked = {"truth": scan.truth, "prediction": scan.prediction}
        words += [label for label, mask in marked.items() if mask is not None and mask[voxel]]
        if scan.probability is not None:
            words.append(f"probability {scan.probability[voxel]:.2f}")
        return " · ".join([name, *words] if name else words)

    def alt_text(self, caption: str | None = None) -> str:
        """The picture in words, for people who do not see it; they begin with its caption."""
        low, high = self.view.window
        painted = " and ".join(words for words, _ in self.legend())
        overlay = f"{self.view.overlay} overlay of {painted}" if painted else "no overlay"
        if self.view.overlay == "heat map":
            overlay = "heat map of the probability" + (" and outline of truth" if painted else "")
        names = f" of {', '.join(self.scans)} side by side" if len(self.scans) > 1 else ""
        planes = ", all three planes" if self.view.all_planes else ""
        caption = f"CT{names}, {caption or self.caption()}{planes}"
        return f"{caption}, window {low:.0f} to {high:.0f} {self.scan.unit}, {overlay}"

    def __repr__(self) -> str:
        size = " × ".join(str(length) for length in self.scan.image.shape)
        spacing = " × ".join(f"{mm:g}" for mm in self.scan.spacing_mm)
        return f"SliceViewer({size} voxels of {spacing} mm; {self.caption()})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """What Jupyter shows: the widgets if it can, and always a picture for those who cannot."""
        from seg_lib.figure_style import figure_png
        from seg_lib.figures import contact_sheet

        sheet = figure_png(contact_sheet(self.scan, window=self.view.window), dpi=100)
        bundle = {"text/plain": repr(self), "image/png": base64.b64encode(sheet).decode("ascii")}
        if not widgets_can_display():
            return bundle
        if self._controls is None:
            from seg_lib.viewer_widgets import Controls

            self._controls = Controls(self)
        return {**self._controls.box._repr_mimebundle_(), **bundle}
