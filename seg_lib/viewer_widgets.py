"""The buttons and sliders of ``SliceViewer``. Imported only where widgets can be displayed.

One direction: a widget changes the viewer's view, and ``refresh`` then sets every widget from the
view and sends one picture.
"""

import base64
import html
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from seg_lib.data.hu import HU_WINDOWS
from seg_lib.rendering import OVERLAYS, PLANES, SHOWS

if TYPE_CHECKING:
    from seg_lib.viewer import SliceViewer

OWN_WINDOW = "own"  # the dropdown's entry while level and width are set by hand
PANEL_PX = 300


class Controls:
    """All widgets of one viewer; ``box`` is what is displayed."""

    def __init__(self, viewer: "SliceViewer") -> None:
        """Build the widgets, show the current view, then listen."""
        self.viewer = viewer
        self.picture = widgets.HTML()
        self._build_position()
        self._build_look()
        self.box = self._arranged()
        self.refresh()
        for name in ("plane", "index", "overlay", "opacity", "show"):
            self._on_change(name, lambda value, name=name: {name: value})
        self._on_change("preset", self._preset_window)
        self._on_change("level", lambda level: {"window": _limits(level, self.width.value)})
        self._on_change("width", lambda width: {"window": _limits(self.level.value, width)})
        self.previous.on_click(lambda _: viewer.previous_lesion())
        self.next.on_click(lambda _: viewer.next_lesion())

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
        """Set every widget from the viewer's view and send one picture."""
        view = self.viewer.view
        low, high = view.window
        self._listening = False  # what the view itself changes is not news
        self.plane.value = view.plane
        self.index.max = max(1, self.viewer.n_slices - 1)
        self.index.value = view.index
        self.index.disabled = self.viewer.n_slices == 1
        names = [name for name, limits in self.presets.items() if limits == view.window]
        self.preset.value = names[0] if names else OWN_WINDOW
        self.level.value, self.width.value = round((low + high) / 2), round(high - low)
        self.overlay.value, self.opacity.value = view.overlay, view.opacity
        self.opacity.disabled = view.overlay != "filled"
        self.show.value = view.show
        self._listening = True
        self.picture.value = picture_html(self.viewer)

    def _build_position(self) -> None:
        self.plane = _buttons("Plane", ["axial"] if self.viewer.scan.is_slice else list(PLANES))
        self.index = widgets.IntSlider(
            description="Slice",
            readout=False,  # the caption says it, counted as people count
            tooltip="Arrow keys: one slice. Page Up, Page Down: several. Home, End: the ends.",
            style={"description_width": "3em"},
            layout={"width": f"{self.viewer.view.size_px}px", "max_width": "100%"},
        )
        none = not self.viewer.lesions
        self.previous = widgets.Button(
            description="Previous lesion", icon="backward", disabled=none
        )
        self.next = widgets.Button(description="Next lesion", icon="forward", disabled=none)

    def _build_look(self) -> None:
        in_hu = self.viewer.scan.unit == "HU"
        self.presets = HU_WINDOWS if in_hu else {"grey": self.viewer.scan.default_window}
        lowest, highest = (-1024, 3071) if in_hu else (0, 255)
        self.preset = widgets.Dropdown(description="Window", options=[*self.presets, OWN_WINDOW])
        self.level = widgets.IntSlider(description="Level", min=lowest, max=highest)
        self.width = widgets.IntSlider(description="Width", min=1, max=highest - lowest + 1)
        self.overlay = _buttons("Overlay", OVERLAYS)
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


def picture_html(viewer: "SliceViewer") -> str:
    """The current frame as an <img> with alternative text, its caption and its legend.

    An ipywidgets ``Image`` would be shorter but has no alternative text.
    """
    width_px = viewer.view.size_px
    source = base64.b64encode(viewer.frame()).decode("ascii")
    square = "display:inline-block;width:.8em;height:.8em;margin-right:.4em;background:rgb"
    legend = "".join(
        f'<span style="margin-right:1.2em"><span style="{square}{colour}"></span>'
        f"{html.escape(words)}</span>"
        for words, colour in viewer.legend()
    )
    return (
        f'<figure style="margin:0;width:{width_px}px;max-width:100%;line-height:1.5">'
        f'<img alt="{html.escape(viewer.alt_text())}" decoding="sync" '
        'style="display:block;margin:0 auto;max-width:100%" '
        f'src="data:image/png;base64,{source}">'
        f"<figcaption>{html.escape(viewer.caption())}<br>{legend}&nbsp;</figcaption></figure>"
    )
