"""Every wavevector: what it costs, and how exact it is."""

import numpy as np

from sections.parts import Pictures, seconds, table

WANTED = 0.01
CASES = {"noise": "noise, before the transition", "domains": "domains, inside the transition"}


def section(records: list[dict], pictures: Pictures) -> str:
    ways = [record for record in records if record["series"] == "way"]
    shares = [record for record in records if record["series"] == "against directions"]
    parts = ["### What does the whole Brillouin zone cost?", _answer(ways, shares)]
    if ways:
        parts += [_table(ways), _picture(ways, pictures), _how(ways)]
    return "\n\n".join(parts)


def _answer(ways: list[dict], shares: list[dict]) -> str:
    said = []
    found = {record["what"]: record for record in ways}
    if found:
        zone, peer = found["ZoneProbe"], found["mode by mode, differences"]
        ratio = peer["seconds"][0] / zone["seconds"][0]
        said.append(
            f"`ZoneProbe` gives all {zone['side'] ** 2} growth rates, magnitudes and leakages of a dictionary field in "
            f"{seconds(zone['seconds'])}, to {_largest(zone):.0e}: {ratio:.0f} times faster than central differences "
            f"mode by mode, which are good to {_worst(peer):.0e}; `local_dispersion`, for any local drift, takes "
            f"{seconds(found['local_dispersion']['seconds'])}."
        )
    for record in shares:
        said.append(
            f"At {record['batch']} states inside the transition the zone takes {record['share']:.2f} of the time of a "
            f"`ModeProbe` of {record['directions']} directions ({seconds(record['seconds'])} against "
            f"{seconds(record['peer_seconds'])})."
        )
    return " ".join(said)


def _table(ways: list[dict]) -> str:
    rows = [
        [
            record["what"],
            record["products"] or "none",
            seconds(record["seconds"]),
            *(f"{record['errors'][case]['growth rate']:.1e}" for case in CASES),
            _price(record),
        ]
        for record in ways
    ]
    header = ["way", "products", "time", *(f"error, {case}" for case in CASES), "time to 1% at every k, domains"]
    return table(header, rows)


def _price(record: dict) -> str:
    """The time at which the error of every wavevector is 1%; random probes need more with the square of the error."""
    error = record["errors"]["domains"]["growth rate"]
    if error <= WANTED:
        return seconds(record["seconds"])
    return f"{seconds(record['seconds'][0] * (error / WANTED) ** 2)} (as 1/√probes)"


def _picture(ways: list[dict], pictures: Pictures) -> str:
    with pictures.draw("zone", width=6.0) as figure:
        axes = figure.add_subplot()
        for place, (case, label) in enumerate(CASES.items()):
            color = f"C{place}"
            probes = [record for record in ways if record["what"].startswith("dispersion")]
            axes.loglog(*_points(probes, case), "o--", color=color, mfc="white", label=f"random probes: {label}")
            others = [record for record in ways if record not in probes]
            axes.loglog(*_points(others, case), "o", color=color, label=f"exact, or differences: {label}")
        for record in ways:
            place = record["seconds"][0], _worst(record)
            name = record["what"].replace("mode by mode, exact", "every mode").replace("mode by mode, ", "")
            name = name.replace("dispersion, ", "")
            axes.annotate(name, place, xytext=(0, 7), textcoords="offset points", fontsize=7, ha="center")
        axes.axhline(WANTED, color="0.6", lw=0.8, ls=":")
        axes.margins(0.16)
        axes.set(xlabel="seconds", ylabel="largest error of the zone")
        axes.legend(fontsize=6, loc="center left")
    return pictures.link("zone", "Largest error of the growth rates of the whole zone against the time that it took")


def _points(ways: list[dict], case: str) -> tuple[np.ndarray, np.ndarray]:
    found = [(record["seconds"][0], record["errors"][case]["growth rate"]) for record in ways]
    return np.array(found).reshape(-1, 2).T[0], np.array(found).reshape(-1, 2).T[1]


def _worst(record: dict) -> float:
    """The larger of the two states' errors of the growth rates."""
    return max(errors["growth rate"] for errors in record["errors"].values())


def _largest(record: dict) -> float:
    """The largest error of anything."""
    return max(error for errors in record["errors"].values() for error in errors.values())


def _how(ways: list[dict]) -> str:
    side = ways[0]["side"]
    return (
        f"One state of {side} × {side}, patch field with 10 patterns of 5 × 5; errors in units of ‖Jv‖ at that "
        "wavevector, against Jacobian-vector products of every mode in float64. Products are Jacobian-vector products, "
        "for differences evaluations of the drift; their step, 0.1, is the best of five."
    )
