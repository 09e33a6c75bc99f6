"""Are exact products worth it?"""

import numpy as np

from sections.parts import Pictures, seconds, table

COLORS = {"float32": "#c1272d", "float64": "0.45"}
WAYS = {"differences": "0.45", "linearize": "#c1272d", "jvp": "#e08214", "reverse": "#4575b4", "ModeProbe": "#1a9850"}
PAPER = 1e-2
SUBJECTS = ("patch field", "LocalField", "U-Net", "EDM2", "torch module")


def section(records: list[dict], pictures: Pictures) -> str:
    def of(series: str) -> list[dict]:
        found = [record for record in records if record["series"] == series]
        return sorted(found, key=lambda record: (SUBJECTS.index(record["subject"]), record.get("directions", 0)))

    parts = ["### Are exact Jacobian-vector products worth it, against central differences?"]
    if of("step"):
        parts += [_accuracy(of("step")), _errors(of("step")), _curves(of("step"), pictures)]
    if of("cost"):
        parts += [_crossover(of("cost")), _costs(of("cost")), _per_direction(of("cost"), pictures)]
    if of("step"):
        parts.append(_reverse(of("step")))
    if of("trajectory"):
        parts += [_along(of("trajectory")), _paths(of("trajectory")), _path_curves(of("trajectory"), pictures)]
    return "\n\n".join(parts)


def _best(record: dict, precision: str) -> tuple[float, float]:
    place = int(np.nanargmin(record[precision]))
    return record[precision][place], record["steps"][place]


def _of_paper(record: dict, precision: str = "float32") -> float:
    return record[precision][int(np.argmin(np.abs(np.log(np.asarray(record["steps"]) / PAPER))))]


def _accuracy(records: list[dict]) -> str:
    gains = [_best(record, "float32")[0] / record["exact_float32"] for record in records]
    paper = [_of_paper(record) / record["exact_float32"] for record in records]
    exact = _range([record["exact_float32"] for record in records])
    return (
        f"In float32 exact products are good to {exact} of their norm. The paper's differences (step 0.01 sigma) are "
        f"{_range(paper)} times less accurate, and even at the best step of each function, known only once the exact "
        f"answer is, {_range(gains)} times."
    )


def _range(values: list[float]) -> str:
    low, high = (f"{value:.0f}" if value >= 10 else f"{value:.2g}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _errors(records: list[dict]) -> str:
    rows = [
        [
            record["subject"],
            f"{record['exact_float32']:.1e}",
            f"{_of_paper(record):.1e}",
            *(f"{_best(record, precision)[0]:.1e} at {_best(record, precision)[1]:.1e}" for precision in COLORS),
        ]
        for record in records
    ]
    header = ["function", "exact, float32", "differences at 0.01 sigma", "best step, float32", "best step, float64"]
    return table(header, rows)


def _curves(records: list[dict], pictures: Pictures) -> str:
    with pictures.draw("derivatives-step", width=11.0, height=2.8) as figure:
        panels = figure.subplots(1, len(records), sharey=True, squeeze=False)[0]
        for axes, record in zip(panels, records, strict=True):
            for precision, color in COLORS.items():
                axes.plot(record["steps"], record[precision], color=color, label=f"differences, {precision}")
            axes.axhline(record["exact_float32"], color=COLORS["float32"], ls=":", label="exact, float32")
            axes.axvline(PAPER, color="0.8", lw=0.9, zorder=0)
            axes.set(xscale="log", yscale="log", title=record["subject"], ylim=(1e-14, 10), xticks=[1e-8, 1e-4, 1])
        panels[0].set_ylabel("relative error of J v")
        panels[0].legend(loc="lower left", fontsize=6.5)
        figure.supxlabel("step / sigma (the grey line is the paper's)", fontsize=10)
    return pictures.link("derivatives-step", "Error of central differences against their step, U-shaped, per function")


def _names(records: list[dict]) -> list[str]:
    return list(dict.fromkeys(record["subject"] for record in records))


def _exact(record: dict) -> tuple[str, float]:
    """The faster of the exact forward ways, and its seconds."""
    ways = {way: record["seconds"][way][0] for way in ("ModeProbe", "linearize", "jvp") if way in record["seconds"]}
    return min(ways.items(), key=lambda pair: pair[1])


def _crossover(records: list[dict]) -> str:
    said = []
    for name in _names(records):
        mine = sorted((r for r in records if r["subject"] == name), key=lambda record: record["directions"])
        faster = [_exact(record)[1] < 0.9 * record["seconds"]["differences"][0] for record in mine]
        last = mine[-1]
        most = f"{last['seconds']['differences'][0] / _exact(last)[1]:.1f} times faster at {last['directions']}"
        if all(faster):
            said.append(f"{name}: from 1 direction on, {most}")
        elif faster[-1]:
            first = len(faster) - faster[::-1].index(False)
            between = f"between {mine[first - 1]['directions']} and {mine[first]['directions']} directions, {most}"
            said.append(f"{name}: {between}")
        else:
            said.append(f"{name}: not up to {last['directions']} ({most})")
    return "Where exact products become the cheaper ones. " + "; ".join(said) + "."


def _costs(records: list[dict]) -> str:
    rows = []
    for record in records:
        times = [seconds(record["seconds"][way]) if way in record["seconds"] else "" for way in WAYS]
        ratio = record["seconds"]["differences"][0] / _exact(record)[1]
        rows.append(
            [record["subject"], record["directions"], seconds(record["seconds"]["one evaluation"]), *times, ratio]
        )
    return table(["function", "directions", "one evaluation", *WAYS, "differences / best exact"], rows)


def _per_direction(records: list[dict], pictures: Pictures) -> str:
    names = _names(records)
    with pictures.draw("derivatives-cost", width=11.0, height=2.8) as figure:
        panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, names, strict=True):
            mine = sorted((r for r in records if r["subject"] == name), key=lambda record: record["directions"])
            for way, color in WAYS.items():
                seen = [r for r in mine if way in r["seconds"]]
                cost = [r["seconds"][way][0] / r["directions"] / r["seconds"]["one evaluation"][0] for r in seen]
                axes.plot([r["directions"] for r in seen], cost, "o-", color=color, label=way, markersize=3.5)
            axes.set(xscale="log", yscale="log", title=name, xticks=[1, 9, 57], xticklabels=["1", "9", "57"])
            axes.set_xlim(0.8, 80)
            axes.minorticks_off()
        panels[0].set_ylabel("cost per direction,\nin evaluations")
        panels[0].legend(loc="lower left", fontsize=7)
        figure.supxlabel("directions", fontsize=10)
    return pictures.link("derivatives-cost", "Cost per direction, in evaluations of the function, against directions")


def _reverse(records: list[dict]) -> str:
    far = ", ".join(f"{record['subject']} {record['asymmetry']:.1e}" for record in records)
    return (
        "Reverse mode gives J^T v: the Rayleigh quotients of any Jacobian, but magnitudes only where J is symmetric. "
        f"Relative distance of J^T v from J v, for two directions: {far}. Times are those of Rayleigh quotients and "
        "magnitudes at one state, in turn; all ways are vectorised over the directions, differences over both signs."
    )


def _along(records: list[dict]) -> str:
    said = []
    for name in _names(records):
        mine = {record["step"]: record for record in records if record["subject"] == name}
        exact, paper = mine[None], mine[PAPER]
        moved = abs(paper["critical"] / paper["critical_exact"] - 1)
        point = f"the critical point by {moved:.1e} of itself" if np.isfinite(moved) else "there is no peak"
        lengths = f"{paper['worst_length']:.2g} sites ({exact['worst_length']:.1e})"
        searched = f"{paper['worst_length_searched']:.1e} (longest: {paper['longest']:.3g})"
        said.append(
            f"{name}: the paper's differences in float32 miss single responses by up to {paper['worst_response']:.1%} "
            f"(exact products by {exact['worst_response']:.1e}), equilibrium lengths by up to {lengths}, in the range "
            f"searched for a peak by {searched}, and {point}"
        )
    return "Along whole trajectories. " + ". ".join(said) + "."


def _paths(records: list[dict]) -> str:
    rows = [
        [
            record["subject"],
            "exact" if record["step"] is None else f"differences, {record['step']:g} sigma",
            f"{record['worst_response']:.1e} at {record['worst_response_at']:.2g}",
            f"{record['worst_length']:.1e} at {record['worst_length_at']:.2g}",
            f"{record['worst_length_searched']:.1e}",
            f"{record['critical']:.6g}",
            f"{abs(record['critical'] / record['critical_exact'] - 1):.1e}",
        ]
        for record in records
    ]
    header = ["function", "float32, by", "response, relative, at t", "length, sites, at t", "length, searched"]
    return table([*header, "critical point", "its relative error"], rows)


def _path_curves(records: list[dict], pictures: Pictures) -> str:
    names = _names(records)
    with pictures.draw("derivatives-path", height=3.0) as figure:
        panels = figure.subplots(1, len(names), squeeze=False)[0]
        for axes, name in zip(panels, names, strict=True):
            mine = [record for record in records if record["subject"] == name]
            colors = {None: "#c1272d", 1e-3: "0.75", PAPER: "0.2", 1e-1: "0.55"}
            for record in mine:
                label = "exact" if record["step"] is None else f"differences, {record['step']:g} sigma"
                axes.plot(record["times"], record["response_error"], color=colors[record["step"]], label=label)
            axes.axvline(mine[0]["critical_exact"], color="0.8", lw=0.9, zorder=0)
            axes.set(xscale="log", yscale="log", title=f"{name}, {mine[0]['trajectories']} trajectories")
            axes.set(xlabel="time t" if name == "patch field" else "noise level sigma")
            axes.invert_xaxis()
            axes.set_ylim(1e-10, 10)
            axes.legend(loc="lower right")
        panels[0].set_ylabel("largest relative error\nof a response, float32")
    return pictures.link("derivatives-path", "Largest relative error of a mode response along trajectories, in float32")
