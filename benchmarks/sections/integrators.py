"""Solvers: errors of what is measured against evaluations of the drift."""

import numpy as np

from sections.parts import Pictures, table

WANTED, CLEAR = 0.01, 1.5  # the error asked for; how much cheaper than all others a clear winner is
SCHEDULES = ("constant", "linear", "cosine")
Needs = dict[tuple[str, str, str], float]


def section(records: list[dict], pictures: Pictures) -> str:
    needs = _needs(records)
    parts = ["### Which solver needs the fewest evaluations of the drift?", _answer(needs)]
    parts += [_table(records, needs), _picture(records, pictures), _how(records)]
    return "\n\n".join(parts)


def _of(records: list[dict], name: str) -> list[str]:
    """The values of a field, in the order in which they were recorded."""
    return list(dict.fromkeys(record[name] for record in records))


def _curve(
    records: list[dict], schedule: str, solver: str, observable: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Evaluations, errors and standard errors."""
    wanted = {"schedule": schedule, "solver": solver, "observable": observable}
    found = [record for record in records if all(record[name] == value for name, value in wanted.items())]
    columns = [[record[name] for record in found] for name in ("evaluations", "error", "standard_error")]
    return tuple(np.array(column, float) for column in columns)  # pyright: ignore[reportReturnType]


def _needs(records: list[dict]) -> Needs:
    """Evaluations for an error of 1%, of each schedule, solver and observable; infinite where more than were tried."""
    return {
        (schedule, solver, observable): _crossing(*_curve(records, schedule, solver, observable)[:2])
        for observable in _of(records, "observable")
        for solver in _of(records, "solver")
        for schedule in SCHEDULES
        if len(_curve(records, schedule, solver, observable)[0]) > 1
    }


def _crossing(evaluations: np.ndarray, errors: np.ndarray) -> float:
    """Where the error falls below 1% for good, between two that were tried on a straight line in logarithms."""
    above = np.flatnonzero(errors > WANTED)
    if not above.size:
        return evaluations[0]
    last = above[-1]
    if last == len(errors) - 1:
        return np.inf
    (x0, x1), (y0, y1) = np.log(evaluations[last : last + 2]), np.log(np.maximum(errors[last : last + 2], 1e-6))
    return float(np.exp(x0 + (np.log(WANTED) - y0) * (x1 - x0) / (y1 - y0)))


def _answer(needs: Needs) -> str:
    """Whether one solver is ahead for every observable and schedule."""
    observables, schedules = (list(dict.fromkeys(case[place] for case in needs)) for place in (2, 0))
    firsts, margins = [], []
    for observable in observables:
        for schedule in schedules:
            found = {
                solver: needs.get((schedule, solver, observable), needs.get(("constant", solver, observable), np.inf))
                for solver in dict.fromkeys(case[1] for case in needs)
            }
            first, second = sorted(found, key=found.__getitem__)[:2]
            firsts.append(first)
            margins.append(found[second] / found[first] if np.isfinite(found[first]) else 1.0)
    names = list(dict.fromkeys(firsts))
    if len(names) == 1 and min(margins) >= CLEAR:
        return (
            f"`{names[0]}`, for everything that was measured and on every schedule: the next best solver needs "
            f"{min(margins):.1f} to {max(margins):.1f} times as many for errors of 1%."
        )
    counts = ", ".join(f"`{name}` in {firsts.count(name)}" for name in names)
    return (
        f"No solver is ahead by a factor of {CLEAR:g} everywhere. Of the {len(firsts)} cases (observable and schedule) "
        f"the fewest evaluations for errors of 1% are those of {counts}; the next best needs {min(margins):.1f} to "
        f"{max(margins):.1f} times as many."
    )


def _table(records: list[dict], needs: Needs) -> str:
    observables = _of(records, "observable")
    rows = []
    for solver in _of(records, "solver"):
        free = ("linear", solver, observables[0]) not in needs
        cells = [[needs.get((schedule, solver, o)) for schedule in SCHEDULES] for o in observables]
        most = max(record["evaluations"] for record in records if record["solver"] == solver)
        least = min(record["evaluations"] for record in records if record["solver"] == solver)
        said = [" / ".join(_said(need, least, most) for need in cell if need is not None) for cell in cells]
        rows.append([f"{solver} (any schedule)" if free else solver, *said])
    return table(["evaluations for 1% (" + " / ".join(SCHEDULES) + ")", *observables], rows)


def _said(need: float, least: float, most: float) -> str:
    if np.isinf(need):
        return f"> {most}"
    return f"≤ {least}" if need <= least else f"{need:.0f}"


def _picture(records: list[dict], pictures: Pictures) -> str:
    observables, solvers = _of(records, "observable"), _of(records, "solver")
    with pictures.draw("integrators", height=3.6) as figure:
        panels = np.atleast_1d(figure.subplots(1, len(observables), sharey=True))  # pyright: ignore[reportArgumentType]
        for axes, observable in zip(panels, observables, strict=True):
            for place, solver in enumerate(solvers):
                x, y, error = _curve(records, "constant", solver, observable)
                axes.errorbar(x, y, error, marker="o", ms=3, lw=1, color=f"C{place}", label=solver)
            axes.axhline(WANTED, color="0.6", lw=0.8, ls=":")
            axes.set(xscale="log", yscale="log", ylim=(5e-4, 2), title=observable, xlabel="evaluations of the drift")
        panels[0].set_ylabel("largest relative error of a mean")
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(solvers), fontsize=7
        )
    return pictures.link("integrators", "Errors of means against evaluations of the drift, constant schedule")


def _how(records: list[dict]) -> str:
    first = records[0]
    near = [record for record in records if WANTED / 3 < record["error"] < 3 * WANTED] or records
    paired, alone = (
        np.median([record[name] for record in near]) for name in ("standard_error", "standard_error_unpaired")
    )
    return (
        f"Means over {first['trajectories']} trajectories of {first['side']} × {first['side']} sites from noise to "
        "data, on grids with the same noise levels; errors are the largest over times (and shells), against 640 steps "
        f"of `dpmpp_2m` on the same Brownian paths. Standard errors where they are near 1%: {paired:.1%} (median; "
        f"{alone:.1%} if paths were not shared). Responses are compared, and clones part, at t = 2.5 and 1.1. Solvers "
        "for any schedule see signal and noise scales alone; `shark` evaluates twice in a step."
    )
