"""The picture, buttons and sliders of ``SliceViewer``. Imported only where they can be displayed.

One direction: a widget changes the viewer's view, and ``refresh`` then sets every widget from the
view and sends one picture. While a person scrolls, the browser asks for the next slices in advance
and says which of them it shows.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets as widgets
import traitlets

from seg_lib.data.hu import HU_WINDOWS
from seg_lib.panes import canvas_bytes, draw, voxel_at
from seg_lib.rendering import OVERLAYS, PLANES, SHOWS

if TYPE_CHECKING:
    from seg_lib.viewer import SliceViewer

OWN_WINDOW = "own"  # the dropdown's entry while level and width are set by hand
ALL_PLANES = "all three"
PANEL_PX = 300


class Picture(anywidget.AnyWidget):
    """The frame with its words; what mouse and keys do over it comes back as messages.

    An ipywidgets ``Image`` has neither alternative text nor wheel, keys or pointer, and a browser
    takes longer to open a PNG than to draw pixels.
    """

    _esm = Path(__file__).with_name("viewer_picture.js")
    frame = traitlets.Bytes().tag(sync=True)  # panes.canvas_bytes
    words = traitlets.Dict().tag(sync=True)  # Controls._shown; they change with every frame
    under = traitlets.Unicode().tag(sync=True)  # what lies under the pointer


class Controls:
    """All widgets of one viewer; ``box`` is what is displayed."""

    def __init__(self, viewer: "SliceViewer") -> None:
        """Build the widgets, show the current view, then listen."""
        self.viewer = viewer
        self.picture = Picture()
        self._turn = self._move = 0
        self._sending = True
        self._build_position()
        self._build_look()
        self.box = self._arranged()
        self.refresh()
        for name in ("index", "overlay", "opacity", "show"):
            self._on_change(name, lambda value, name=name: {name: value})
        self._on_change("plane", self._chosen_planes)
        self._on_change("preset", self._preset_window)
        self._on_change("level", lambda level: {"window": _limits(level, self.width.value)})
        self._on_change("width", lambda width: {"window": _limits(self.level.value, width)})
        self.previous.on_click(lambda _: viewer.previous_lesion())
        self.next.on_click(lambda _: viewer.next_lesion())
        self.picture.on_msg(lambda _, message, __: self.hear(message))

    def hear(self, message: dict[str, Any]) -> None:
        """Do what mouse and keys over the picture ask for (viewer_picture.js sends it)."""
        viewer = self.viewer
        if "ahead" in message:
            self._send_ahead(**message)
        elif "rest" in message:
            self.refresh()
        elif "under" in message:
            self.picture.under = viewer.under(*message["under"])
        elif "lesion" in message:
            viewer.next_lesion(message["lesion"])
        elif "scroll" in message:
            found = voxel_at(viewer.panes, *message["at"]) if "at" in message else None
            viewer.scroll(message["scroll"], found[0].view.plane if found else None)
        elif found := voxel_at(viewer.panes, *message["click"]):
            viewer.go_to(found[1])
            self.picture.under = viewer.under(*message["click"])

    def _chosen_planes(self, name: str) -> dict[str, Any]:
        return {"all_planes": True} if name == ALL_PLANES else {"all_planes": False, "plane": name}

    def _on_change(self, widget: str, change_of: Callable[[Any], dict[str, Any]]) -> None:
        """Hand what ``change_of`` makes of a widget's new value to the viewer."""

        def hand_over(event: Any) -> None:
            changes = change_of(event.new) if self._listening else {}
            if changes:
                self.viewer.change(**changes)

        getattr(self, widget).observe(hand_over, "value")

    def _preset_window(self, name: str) -> dict[str, Any]:
        return {} if name == OWN_WINDOW else {"window": self.presets[name]}

    def refresh(self) -> None:
        """Send one picture of the viewer's view, then set every widget from it."""
        if self._sending:
            self._turn += 1
            with self.picture.hold_sync():  # words and picture in one message
                self.picture.words, self.picture.frame = self._shown(self.viewer)
        self._set_widgets()

    def _send_ahead(self, ahead: list[int], index: int | None = None, move: int = 0) -> None:
        """Send slices in advance; then go to ``index``, which the browser shows already."""
        for there in ahead:
            words, frame = self._shown(self.viewer.at_slice(there))
            self.picture.send({"ahead": words}, buffers=[frame])
        if index is None:
            return
        self._sending, self._move = False, move
        try:
            self.viewer.change(index=index)
        finally:
            self._sending = True

    def _shown(self, viewer: "SliceViewer") -> tuple[dict[str, Any], bytes]:
        """A frame with its words, and what tells the browser whether it may be kept for later.

        index of n_slices (0: slices are not fetched in advance), look (all of the view but the
        slice), turn (another with each refresh), move (the last that the browser made by itself).
        """
        panes, view = viewer.panes, viewer.view  # the slice is read once
        caption = viewer.caption(panes)
        legend = [(words, f"rgb{colour}") for words, colour in viewer.legend()]
        words = {"alt": viewer.alt_text(caption), "caption": caption, "legend": legend}
        look = f"{dataclasses.replace(view, index=0)} {viewer.lesion}"
        n_slices = 0 if view.all_planes else viewer.n_slices
        place = {"index": view.index, "n_slices": n_slices, "look": look}
        words |= place | {"turn": self._turn, "move": self._move}
        return words, canvas_bytes(draw(panes, viewer.voxel))

    def _set_widgets(self) -> None:
        view = self.viewer.view
        low, high = view.window
        self._listening = False  # what the view itself changes is not news
        self.plane.value = ALL_PLANES if view.all_planes else view.plane
        self.index.max = max(1, self.viewer.n_slices - 1)
        self.index.value = view.index
        self.index.disabled = self.viewer.n_slices == 1
        names = [name for name, limits in self.presets.items() if limits == view.window]
        self.preset.value = names[0] if names else OWN_WINDOW
        self.level.value, self.width.value = round((low + high) / 2), round(high - low)
        self.overlay.value, self.opacity.value = view.overlay, view.opacity
        self.opacity.disabled = view.overlay not in ("filled", "heat map")
        self.show.value = view.show
        self._listening = True

    def _build_position(self) -> None:
        planes = ["axial"] if self.viewer.scan.is_slice else [*PLANES, ALL_PLANES]
        self.plane = _buttons("Plane", planes)
        self.index = widgets.IntSlider(
            description="Slice",
            readout=False,  # the caption says it, counted as people count
            tooltip="Arrow keys: one slice. Page Up, Page Down: several. Home, End: the ends.",
            style={"description_width": "3em"},
            layout={"width": f"{self.viewer.view.size_px}px", "max_width": "100%"},
        )
        off = not self.viewer.lesions
        self.previous = widgets.Button(description="Previous lesion", icon="backward", disabled=off)
        self.next = widgets.Button(description="Next lesion", icon="forward", disabled=off)

    def _build_look(self) -> None:
        in_hu = self.viewer.scan.unit == "HU"
        self.presets = HU_WINDOWS if in_hu else {"grey": self.viewer.scan.default_window}
        lowest, highest = (-1024, 3071) if in_hu else (0, 255)
        self.preset = widgets.Dropdown(description="Window", options=[*self.presets, OWN_WINDOW])
        self.level = widgets.IntSlider(description="Level", min=lowest, max=highest)
        self.width = widgets.IntSlider(description="Width", min=1, max=highest - lowest + 1)
        heat = self.viewer.has_probability
        overlays = [name for name in OVERLAYS if heat or name != "heat map"]
        self.overlay = _buttons("Overlay", overlays)
        self.opacity = widgets.FloatSlider(description="Opacity", min=0.1, max=1.0, step=0.1)
        self.show = widgets.Dropdown(description="Show", options=SHOWS)

    def _arranged(self) -> widgets.Widget:
        """The picture with its slider on the left, the controls on the right; narrow: below."""
        scan = self.viewer.scan
        masks = [mask for mask in (scan.truth, scan.prediction) if mask is not None]
        parts = [self.preset, self.level, self.width]
        if not scan.is_slice:
            parts.insert(0, self.plane)
        if masks:
            parts += [self.overlay, self.opacity]
        if len(masks) == 2:
            parts.append(self.show)
        for part in parts:
            part.layout.width = f"{PANEL_PX}px"
            part.style.description_width = "5em"
        if masks and not scan.is_slice:
            parts.append(widgets.HBox([self.previous, self.next]))
        # The slider stands above the picture, so that it stays put when a plane is less high.
        left = widgets.VBox([self.picture] if scan.is_slice else [self.index, self.picture])
        panel = widgets.VBox(parts, layout={"margin": "0 0 0 16px"})
        return widgets.HBox([left, panel], layout={"flex_flow": "row wrap"})


def _limits(level: float, width: float) -> tuple[float, float]:
    return level - width / 2, level + width / 2


def _buttons(description: str, options: Any) -> widgets.ToggleButtons:
    buttons = widgets.ToggleButtons(description=description, options=options)
    buttons.style.button_width = "auto"
    buttons.add_class("jupyter-widgets")  # these two put the label beside the buttons, not above
    buttons.add_class("widget-inline-hbox")
    return buttons
