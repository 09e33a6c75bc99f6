"""Growth of time, compile time and memory with sizes."""

from typing import NamedTuple

import numpy as np
from matplotlib.ticker import NullFormatter

from sections.parts import Pictures, seconds, table

AXES = {
    "sites": "sites",
    "batch": "states",
    "patterns": "patterns of the dictionary",
    "directions": "directions",
    "patches": "patches",
    "images": "images",
    "pack": "units in a pack",
}
FITTED = 3  # the largest sizes, where what does not grow is smallest


class Curve(NamedTuple):
    """A series: its sizes, seconds, seconds to compile, bytes of temporary memory, and the fitted power law."""

    sizes: np.ndarray
    seconds: np.ndarray
    compile_s: np.ndarray
    memory: list[int | None]
    exponent: float
    error: float


def section(records: list[dict], pictures: Pictures) -> str:
    curves = _curves(records)
    parts = ["### How does it scale?", _answer(curves), _packs(curves, records)]
    parts += [_table(curves), _picture(curves, pictures), _how()]
    return "\n\n".join(part for part in parts if part)


def _curves(records: list[dict]) -> dict[tuple[str, str], Curve]:
    found: dict[tuple[str, str], list[dict]] = {}
    for record in records:
        if record["series"] in AXES:
            found.setdefault((record["series"], record["what"]), []).append(record)
    ordered = sorted(found, key=lambda name: list(AXES).index(name[0]))
    return {name: _curve(sorted(found[name], key=lambda one: one["size"])) for name in ordered}


def _curve(series: list[dict]) -> Curve:
    sizes, times = (
        np.array(column, float) for column in zip(*((r["size"], r["seconds"][0]) for r in series), strict=True)
    )
    exponent, error = fitted(sizes[-FITTED:], times[-FITTED:])
    compile_s = np.array([record["compile_s"] for record in series])
    return Curve(sizes, times, compile_s, [record["temporary_bytes"] for record in series], exponent, error)


def fitted(sizes: np.ndarray, times: np.ndarray) -> tuple[float, float]:
    """Exponent of a power law by least squares of logarithms, and its standard error from the residuals."""
    if len(sizes) < 2:
        return np.nan, np.nan
    x, y = np.log(sizes) - np.mean(np.log(sizes)), np.log(times) - np.mean(np.log(times))
    exponent = float(np.sum(x * y) / np.sum(x**2))
    freedom = len(x) - 2
    return exponent, float(np.sqrt(np.sum((y - exponent * x) ** 2) / freedom / np.sum(x**2))) if freedom > 0 else np.nan


def _answer(curves: dict[tuple[str, str], Curve]) -> str:
    largest = {name: curve for name, curve in curves.items() if name[0] != "pack"}
    worse = [name for name, curve in largest.items() if curve.exponent - np.nan_to_num(curve.error) > 1.1]
    steep = ", ".join(f"{name[1]} as {AXES[name[0]]} to the power {_power(largest[name])}" for name in worse)
    said = f"{steep}; all else grows at most in proportion" if worse else "All grows at most in proportion to its size"
    return f"{said[0].upper()}{said[1:]}. {_routes(curves)}".strip()


def _routes(curves: dict[tuple[str, str], Curve]) -> str:
    """Which of the two routes of a dictionary is faster, and where that changes."""
    if not {("patterns", "fused"), ("patterns", "einsum")} <= set(curves):
        return ""
    fused, einsum = curves["patterns", "fused"], curves["patterns", "einsum"]
    shared, mine, theirs = np.intersect1d(fused.sizes, einsum.sizes, return_indices=True)
    ratio = einsum.seconds[theirs] / fused.seconds[mine]
    ahead = shared[ratio > 1]
    limit = f"up to {ahead.max():.0f} patterns" if ahead.size else "for no dictionary that was tried"
    return (
        f"The fused loop is faster than matrix products {limit} ({ratio[0]:.1f} times at {shared[0]:.0f} patterns, "
        f"{ratio[-1]:.2f} at {shared[-1]:.0f}), and compiles in {seconds(fused.compile_s[-1])} at "
        f"{fused.sizes[-1]:.0f}, where matrix products take {seconds(einsum.compile_s[theirs][-1])}."
    )


def _packs(curves: dict[tuple[str, str], Curve], records: list[dict]) -> str:
    said = []
    for (series, _), curve in curves.items():
        if series == "pack":
            each = curve.seconds / curve.sizes
            best = int(np.argmin(each))
            if best == 0:
                said.append(
                    f"A unit of a sweep takes {seconds(each[0])} in the smallest pack, and no less in larger ones."
                )
                continue
            said.append(
                f"A unit of a sweep takes {seconds(each[best])} in a pack of {curve.sizes[best]:.0f}, against "
                f"{seconds(each[0])} in one of {curve.sizes[0]:.0f}: {each[0] / each[best]:.2f} times as fast."
            )
    for record in records:
        if record["series"] == "devices":
            ratio = record["peer_seconds"] / record["seconds"]
            said.append(
                f"A pack of {record['width']} over {record['size']} devices is {ratio:.2f} times as fast as on one "
                f"({seconds(record['seconds'])} a unit against {seconds(record['peer_seconds'])})."
            )
    return " ".join(said)


def _table(curves: dict[tuple[str, str], Curve]) -> str:
    rows = [
        [
            what,
            f"{AXES[series]}, {curve.sizes[0]:.0f} to {curve.sizes[-1]:.0f}",
            f"{seconds(curve.seconds[0])} … {seconds(curve.seconds[-1])}",
            _power(curve),
            f"{seconds(curve.compile_s[0])} … {seconds(curve.compile_s[-1])}",
            f"{_bytes(curve.memory[0])} … {_bytes(curve.memory[-1])}",
        ]
        for (series, what), curve in curves.items()
    ]
    return table(["what", "grows with", "time", "exponent", "compile time", "temporary memory"], rows)


def _power(curve: Curve) -> str:
    return f"{curve.exponent:.2f}" + (f" ± {curve.error:.2f}" if np.isfinite(curve.error) else "")


def _bytes(count: int | None) -> str:
    return "?" if count is None else f"{count / 2**20:.3g} MiB"


def _picture(curves: dict[tuple[str, str], Curve], pictures: Pictures) -> str:
    shown = [series for series in AXES if any(name[0] == series for name in curves)]
    rows = -(-len(shown) // 4)
    with pictures.draw("scaling", height=2.6 * rows) as figure:
        for place, series in enumerate(shown):
            axes = figure.add_subplot(rows, 4, place + 1)
            for color, ((_, what), curve) in enumerate(item for item in curves.items() if item[0][0] == series):
                label = f"{what.split(',')[0]}: {curve.exponent:.2f}"
                axes.loglog(curve.sizes, curve.seconds, "o-", ms=3, lw=1, color=f"C{color}", label=label)
                axes.loglog(curve.sizes, curve.compile_s, "x:", ms=3, lw=0.8, color=f"C{color}")
            axes.set(xlabel=AXES[series])
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_ylabel("seconds" if place % 4 == 0 else "")
            axes.legend(fontsize=6, title="exponent", title_fontsize=6)
    return pictures.link("scaling", "Time (points, with the fitted exponent) and compile time (crosses) against size")


def _how() -> str:
    return (
        f"Exponents are least squares over the {FITTED} largest sizes, with the standard error from their residuals. "
        "Packs are units of the patch experiment: 32 × 32 sites, 100 steps, all probes on."
    )
