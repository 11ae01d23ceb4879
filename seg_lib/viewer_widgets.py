"""The buttons and sliders of ``SliceViewer``. Imported only where widgets can be displayed.

One direction: a widget changes the viewer's view, and ``refresh`` then sets every widget from the
view and sends one picture. Keyboard: Tab reaches each control; on the slice slider the arrow keys
move one slice, Page Up and Page Down several, Home and End to the ends (ipywidgets does this).
"""

import base64
import contextlib
import html
from collections.abc import Iterator
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
        self._listening = False
        self.picture = widgets.HTML()
        self._build_position()
        self._build_window()
        self._build_overlay()
        self.box = self._arranged()
        self.refresh()
        self._connect()

    def refresh(self) -> None:
        """Set every widget from the viewer's view and send one picture."""
        view = self.viewer.view
        low, high = view.window
        with self._quiet():
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
        self.picture.value = picture_html(self.viewer)

    def _build_position(self) -> None:
        self.plane = _buttons("Plane", ["axial"] if self.viewer.scan.is_slice else list(PLANES))
        self.index = widgets.IntSlider(
            description="Slice",
            min=0,
            max=1,
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

    def _build_window(self) -> None:
        scan = self.viewer.scan
        self.presets = HU_WINDOWS if scan.unit == "HU" else {"grey": scan.default_window}
        widest = 4096 if scan.unit == "HU" else 256
        lowest, highest = (-1024, 3071) if scan.unit == "HU" else (0, 255)
        self.preset = widgets.Dropdown(description="Window", options=[*self.presets, OWN_WINDOW])
        self.level = widgets.IntSlider(description="Level", min=lowest, max=highest)
        self.width = widgets.IntSlider(description="Width", min=1, max=widest)

    def _build_overlay(self) -> None:
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

    def _connect(self) -> None:
        for name in ("plane", "index", "overlay", "opacity", "show"):
            getattr(self, name).observe(self._changed(name), "value")
        self.preset.observe(self._preset_chosen, "value")
        self.level.observe(self._window_moved, "value")
        self.width.observe(self._window_moved, "value")
        self.previous.on_click(lambda _: self.viewer.previous_lesion())
        self.next.on_click(lambda _: self.viewer.next_lesion())

    def _changed(self, name: str) -> Any:
        """A listener that hands the widget's new value to the view's field ``name``."""

        def hand_over(change: Any) -> None:
            if self._listening:
                self.viewer.change(**{name: change.new})

        return hand_over

    def _preset_chosen(self, change: Any) -> None:
        if self._listening and change.new != OWN_WINDOW:
            self.viewer.change(window=self.presets[change.new])

    def _window_moved(self, _: Any) -> None:
        if self._listening:
            level, half = self.level.value, self.width.value / 2
            self.viewer.change(window=(level - half, level + half))

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """While the view is written to the widgets, their changes are not news."""
        self._listening = False
        try:
            yield
        finally:
            self._listening = True


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
