"""Figures and states as text that stands in a page: SVG, and PNG in data URIs."""

import base64
import io
import re

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.image import AxesImage, imsave

from softjax.plotting import FIELD_LIMITS, STYLE

_LARGEST = 1_000_000
"""Bytes of one SVG; larger figures are embedded as PNG."""


def drawing(figure: Figure, name: str, alt: str, largest: int = _LARGEST) -> Markup:
    """A figure for the page: SVG with ids that begin with `name`, or PNG where that is larger than `largest` bytes.

    `alt` is what a reader who does not see it is told. Parts whose gid is `frame-i-...` get the classes of frame i.
    """
    for image in figure.findobj(AxesImage):
        assert isinstance(image, AxesImage)
        if image.get_interpolation() == "nearest":
            image.set_interpolation("none")  # pixels as they are, which the reader's device enlarges
    for mesh in figure.findobj(QuadMesh):
        mesh.set_rasterized(True)
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        text = _slim(file.getvalue(), name, alt)
        if len(text) <= largest:
            return Markup(text)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", metadata={"Software": ""})
    return Markup('<img alt="{}" src="{}">').format(alt, _data_uri(picture.getvalue()))


def _slim(svg: str, name: str, alt: str) -> str:
    """Without what a page has no use for, two decimals in paths, and with ids of its own."""
    box = re.search(r'viewBox="0 0 ([\d.]+) [^"]*"', svg)
    assert box is not None
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    for waste in (r"<!--.*?-->", r"<metadata>.*?</metadata>", r"<style.*?</style>"):
        body = re.sub(waste, "", body, flags=re.DOTALL)
    body = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path.group()), body)
    body = re.sub(r'<g id="frame-(\d+)-[^"]*"', r'<g class="frame" data-frame="\1"', body)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", body)
    body = re.sub(r"\s*\n\s*", "\n", body)
    return f'<svg {box.group()} style="--natural: {box[1]}pt" role="img" aria-label="{escape(alt)}">{body.strip()}'


def seen(figure: Figure) -> str:
    """What a figure shows, in words: its titles."""
    titles = [axis.get_title() for axis in figure.axes]
    panels = [re.sub(r"[$\\{}]", "", title) for title in titles if len(title) > 8]
    return "; ".join([part for part in (figure.get_suptitle(), *dict.fromkeys(panels)) if part])


def picture(state: np.ndarray, side: int = 192) -> str:
    """A state (y, x), or (y, x, channels) grey or in colours, as a PNG in a data URI.

    Values are divided by their root mean square where that is above 1; of a state of more than `side` sites across,
    every second, third, ... one is shown. Sites that do not exist (NaN, in sweeps over the size) are left out.
    """
    there = np.isfinite(state).reshape(*state.shape[:2], -1).any(2)
    state = state[np.any(there, axis=1)][:, np.any(there, axis=0)]
    step = -(-max(*state.shape[:2], 1) // side)
    state = np.asarray(state[::step, ::step], float)
    state = state / max(1.0, float(np.sqrt(np.nanmean(state**2)))) if state.size else np.zeros((1, 1))
    file = io.BytesIO()
    if state.ndim == 3 and state.shape[-1] == 3:
        imsave(file, np.clip(0.5 + 0.5 * state, 0, 1), format="png", metadata={"Software": ""})
    else:
        plane, (low, high) = (
            state.reshape(*state.shape[:2], -1)[..., 0],
            (FIELD_LIMITS[name] for name in ("vmin", "vmax")),
        )
        imsave(file, plane, low, high, STYLE["image.cmap"], "png", metadata={"Software": ""})
    return _data_uri(file.getvalue())


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
