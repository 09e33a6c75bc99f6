"""What the scaling study says, in words; intervals decide."""

import numpy as np
import xarray as xr

from softjax.experiments._shared.summary import Row

ORDERED = 0.61069
"""Binder cumulant of the critical Ising model on a large square torus."""
PREDICTIONS = {"mean field (1/4)": 0.25, "2-D Ising model A (0.315)": 0.315, "coarsening (1/2)": 0.5}
"""Powers of the rate in the length that a quench leaves: 1/4, nu/(1 + nu z), and that of curvature-driven domains."""


def findings(dataset: xr.Dataset, rows: list[Row]) -> str:
    """What freezes, what orders, and with which exponents, in words; intervals decide."""
    sides, rates = dataset["side"].values.tolist(), dataset["stochasticity"].values.tolist()
    end = dataset.isel(time=-1)
    sentences = [_frozen(end.isel(stochasticity=0), f"At stochasticity {rates[0]:g}", dataset.sizes["trajectory"])]
    if len(rates) > 1:
        sentences.append(_ordered(end.isel(stochasticity=-1), f"At stochasticity {rates[-1]:g}"))
    crossings = [row for row in rows if row.name.startswith("crossing of U")]
    found = [f"{row.name.removeprefix('crossing of U, ')}: t = {row.text}" for row in crossings if row.value > 0]
    sentences.append(
        f"Cumulants of neighbouring sizes cross at {'; '.join(found)}."
        if found
        else "Cumulants of neighbouring sizes do not cross beyond their errors."
    )
    sentences += [
        _power(row, sides[-1])
        for row in rows
        if " at the end" in row.name and row.name.startswith("power") and row.interval
    ]
    return " ".join([*sentences, *(_collapsed(row) for row in rows if row.name.startswith("collapse"))])


def _frozen(end: xr.Dataset, where: str, samples: int) -> str:
    """Whether the susceptibility depends on the size, and whether the largest lattice is more than Gaussian."""
    chi, error = end["susceptibility"].values, end["susceptibility_error"].values
    mean = np.sum(chi / error**2) / np.sum(1 / error**2)
    spread = np.sum(((chi - mean) / error) ** 2)
    texts = ", ".join(f"{value:.1f} ± {one:.1f}" for value, one in zip(chi, error, strict=True))
    same = spread < chi.size - 1 + 2 * np.sqrt(2 * (chi.size - 1))
    verdict = (
        "which is one number within the errors: domains freeze at a size that the lattice does not know"
        if same
        else "which differ beyond the errors: the lattice is felt"
    )
    cumulant, scatter = float(end["binder"][-1]), np.sqrt(24 / samples) / 3
    gaussian = "is that of Gaussian m within the scatter" if abs(cumulant) < 2 * scatter else "is beyond the scatter"
    return (
        f"{where} chi at the end is {texts} on L = {', '.join(map(str, end['side'].values))}, {verdict} (chi^2 "
        f"{spread:.1f} for {chi.size - 1} degrees of freedom). The Binder cumulant of the largest, {cumulant:.2f}, "
        f"{gaussian} of {samples} samples, {scatter:.2f}."
    )


def _ordered(end: xr.Dataset, where: str) -> str:
    """Which sizes are ordered: cumulant within two errors of 2/3 or above the Ising model's critical one."""
    parts, ordered = [], []
    for side in end["side"].values:
        one = end.sel(side=side)
        value, error = float(one["binder"]), float(one["binder_error"])
        ratio = float(one["length_ratio"])
        shown = f"{ratio:.2f}" if np.isfinite(float(one["length_ratio_error"])) else "below its error"
        parts.append(f"L = {side}: U = {value:.3f} ± {error:.3f}, xi/L = {shown}")
        ordered += [str(side)] if value - 2 * error > ORDERED else []
    verdict = (
        f"lattices of L = {', '.join(ordered)} order (U above {ORDERED} by two errors)"
        if ordered
        else f"no lattice has U above {ORDERED} by two errors"
    )
    return f"{where} {verdict}: {'; '.join(parts)}."


def _good(row: Row) -> bool:
    """Whether chi^2 is within two of its standard deviations above its mean, and there is any."""
    also = dict(row.also)
    return bool(also["dof"] >= 1 and also["chi2/dof"] < 1 + 2 * np.sqrt(2 / also["dof"]))


def _power(row: Row, side: int) -> str:
    assert row.interval is not None
    low, high = row.interval
    inside = [name for name, value in PREDICTIONS.items() if low <= value <= high]
    outside = [name for name in PREDICTIONS if name not in inside]
    agreed = f"agrees with {', '.join(inside)}" if inside else "agrees with none of the predictions"
    excluded = f", not with {', '.join(outside)}" if inside and outside else ""
    said = f"which {agreed}{excluded}" if _good(row) else f"but chi^2/dof is {dict(row.also)['chi2/dof']:.1f}: no power"
    when = row.name.removeprefix("power of the stochasticity in xi ")
    return f"The length on L = {side} grows with the power {row.value:.3f} [{low:.3f}, {high:.3f}] {when}, {said}."


def _collapsed(row: Row) -> str:
    rates = row.name.removeprefix("collapse of m^2 at the end, exponent of L, ")
    if not np.isfinite(row.value):
        return f"There are too few quenches of {rates} for a collapse."
    assert row.interval is not None
    also, (low, high) = dict(row.also), row.interval
    inside = [name for name, power in PREDICTIONS.items() if low <= -1 / power <= high]
    agreed = f"as for {', '.join(inside)}" if inside else "as for none of the predictions"
    verb = "fall" if _good(row) else "do not fall"
    return (
        f"Second moments of all sizes at the end, {rates}, {verb} on one function of "
        f"stochasticity * L^{row.value:.2f} [{low:.2f}, {high:.2f}] (chi^2/dof {also['chi2/dof']:.2f}, "
        f"{also['dof']:.0f} dof)" + (f", {agreed}." if _good(row) else ": the exponent means nothing.")
    )
