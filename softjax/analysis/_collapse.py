r"""Data collapse and power laws: exponents with intervals, and whether the law fits at all (theory.md section 9)."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from softjax._checks import public, require, require_positive
from softjax._repr import number, readable, with_error, with_interval
from softjax._types import Array, Float, PRNGKeyArray

_ITERATIONS = 40


class Collapse(eqx.Module):
    r"""A fit of $y = L^b f((x - x_c)\,L^a)$ to lattices of several sides L.

    * `critical`, `critical_interval`: $x_c$ and, (2,), its interval; the given value and NaN where it is not fitted;
    * `exponent`, `exponent_interval`: a, such as $1/\nu$;
    * `height`, `height_interval`: b, such as $\gamma/\nu$ for a susceptibility; given, or fitted;
    * `chi_squared_per_dof`: about 1 where the data do collapse, up to sqrt(2/dof); well above, exponents mean nothing;
    * `dof`: points less parameters, those of f included.

    >>> xs, sizes = np.linspace(0.9, 1.1, 9), np.asarray([[8.0], [16.0]])
    >>> values = np.tanh((xs - 1.0) * sizes)
    >>> found = sj.analysis.data_collapse(xs, values, 0.01 + 0 * values, sizes[:, 0], key=jr.key(0), num_bootstrap=4)
    >>> print(f"{found.critical:.2f} {found.exponent:.2f}", found.dof)
    1.00 1.00 10
    """

    critical: Float[Array, ""]
    critical_interval: Float[Array, "2"]
    exponent: Float[Array, ""]
    exponent_interval: Float[Array, "2"]
    height: Float[Array, ""]
    height_interval: Float[Array, "2"]
    chi_squared_per_dof: Float[Array, ""]
    dof: int = eqx.field(static=True)

    @readable
    def __repr__(self) -> list[str]:
        return [
            f"critical={with_interval(self.critical, self.critical_interval)}",
            f"exponent={with_interval(self.exponent, self.exponent_interval)}",
            f"height={with_interval(self.height, self.height_interval)}",
            f"chi2/dof={number(self.chi_squared_per_dof)}",
        ]


@public
def data_collapse(
    xs: Float[Array, " points"],
    values: Float[Array, "sizes points"],
    errors: Float[Array, "sizes points"] | Float[Array, "sizes points points"],
    sizes: Float[Array, " sizes"],
    *,
    key: PRNGKeyArray,
    critical: float | None = None,
    height: float | None = 0.0,
    logarithmic: bool = False,
    degree: int = 5,
    num_bootstrap: int = 200,
    confidence: float = 0.95,
) -> Collapse:
    r"""Fits the critical value and exponents with which curves of several sizes fall on one.

    * `xs`: (points,), couplings or times, the same for all sizes;
    * `values`: (sizes, points), a Binder cumulant, a length over L, a susceptibility;
    * `errors`: (sizes, points), standard errors of independent points; or (sizes, points, points), covariances of the
      points of one size, as those of one set of trajectories at several times are;
    * `sizes`: (sizes,), the sides L, at least two;
    * `critical`: $x_c$ where it is known, None to fit it;
    * `height`: b where it is known, None to fit it;
    * `logarithmic`: f is a polynomial in $\log((x - x_c) L^a)$, for a known $x_c$ below all points: scaling in a rate;
    * `degree`: of the polynomial f;
    * `key`, `num_bootstrap`, `confidence`: intervals are percentiles of fits to data drawn anew about the fitted curves
      with the given errors: they hold where the data collapse.

    The least squares start from several critical values and exponents. Where the curves say nothing of them, as
    constant ones, all is NaN but chi^2. Raises `ValueError` for shapes that do not fit, errors that are not positive,
    fewer points than parameters, and logarithms of what is not positive. Not for `jit`: computed in NumPy, in double
    precision.

    >>> xs, sizes = np.linspace(0.9, 1.1, 9), np.asarray([[8.0], [16.0], [32.0]])
    >>> values = np.tanh((xs - 1.0) * np.sqrt(sizes))
    >>> found = sj.analysis.data_collapse(xs, values, 0.01 + 0 * values, sizes[:, 0], key=jr.key(0), num_bootstrap=4)
    >>> print(f"{found.critical:.2f} {found.exponent:.2f}")
    1.00 0.50
    """
    shape = (sizes.shape[0], xs.shape[0])
    require(values.shape == shape, f"values must have shape (sizes, points) = {shape}, got {values.shape}.")
    require(
        errors.shape in (shape, (*shape, shape[1])),
        f"errors must have shape {shape}, or {(*shape, shape[1])} for covariances, got {errors.shape}.",
    )
    require_positive("errors", errors if errors.ndim == 2 else jnp.diagonal(errors, axis1=1, axis2=2))
    require_positive("sizes", sizes)
    require(len(set(sizes.tolist())) >= 2, f"a collapse needs at least two different sizes, got {sizes.tolist()}.")
    require(degree >= 1, f"degree must be at least 1, got {degree}.")
    require(num_bootstrap >= 2, f"num_bootstrap must be at least 2, got {num_bootstrap}.")
    require(0 < confidence < 1, f"confidence must lie between 0 and 1, got {confidence}.")
    require(
        not logarithmic or (critical is not None and bool(jnp.all(xs > critical))),
        "logarithmic needs a known critical value, below all xs.",
    )
    free = (critical is None, True, height is None)
    dof = values.size - sum(free) - degree - 1
    require(dof >= 1, f"{values.size} points are too few for {sum(free) + degree + 1} parameters.")
    xs64, values64, errors64, sizes64 = (np.asarray(array, float) for array in (xs, values, errors, sizes))
    problem = _Problem(xs64, _whitening(errors64), sizes64, np.asarray(free), degree, logarithmic)
    given = np.asarray([critical or 0.0, 0.0, height or 0.0])
    found, intervals, chi_squared = _collapsed(problem, values64, given, key, num_bootstrap, confidence)
    best, interval = jnp.asarray(found, xs.dtype), jnp.asarray(intervals, xs.dtype)
    quality = jnp.asarray(chi_squared / dof, xs.dtype)
    return Collapse(best[0], interval[0], best[1], interval[1], best[2], interval[2], quality, dof)


def _whitening(errors: np.ndarray) -> np.ndarray:
    """(sizes, points, points): what makes deviations independent and of unit size."""
    if errors.ndim == 2:
        return np.stack([np.diag(1 / one) for one in errors])
    return np.linalg.inv(np.linalg.cholesky(errors))


class _Problem(NamedTuple):
    """The axis and the errors, and what is fitted of critical value, exponent, height. NumPy: nothing to compile."""

    xs: np.ndarray
    whitening: np.ndarray
    sizes: np.ndarray
    free: np.ndarray
    degree: int
    logarithmic: bool

    def fitted(self, parameters: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Best curves (batch, sizes, points) at parameters (batch, 3); whitened residuals (batch, points in all)."""
        critical, exponent, height = (column[:, None, None] for column in parameters.T)
        size = (self.sizes / np.exp(np.mean(np.log(self.sizes))))[:, None]  # about 1, so that nothing overflows
        with np.errstate(all="ignore"):
            scaled = (self.xs - critical) * size**exponent
            scaled = np.log(scaled) if self.logarithmic else scaled
            low, high = (end(scaled, axis=(1, 2), keepdims=True) for end in (np.min, np.max))
            angle = np.arccos(np.clip(2 * (scaled - low) / (high - low) - 1, -1, 1))
            design = np.cos(angle[..., None] * np.arange(self.degree + 1)) * (size**height)[..., None]
        possible = np.isfinite(design).all(axis=(1, 2, 3))
        design = np.where(possible[:, None, None, None], design, 0)
        orthonormal, triangle = np.linalg.qr(self._whitened(design))
        target = self._whitened(values[..., None])
        projected = np.matmul(orthonormal.swapaxes(1, 2), target)
        coefficients = np.matmul(np.linalg.pinv(triangle), projected)
        residual = np.where(possible[:, None], (target - np.matmul(orthonormal, projected))[..., 0], np.inf)
        return np.matmul(design, coefficients[:, None])[..., 0], residual

    def _whitened(self, columns: np.ndarray) -> np.ndarray:
        mixed = np.matmul(self.whitening, columns)
        return mixed.reshape(mixed.shape[0], -1, mixed.shape[-1])

    def minimised(self, parameters: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Levenberg-Marquardt over the free parameters, from every start of a batch: parameters and chi^2."""
        chosen, damping = np.flatnonzero(self.free), np.full(len(parameters), 0.1)
        residual = self.fitted(parameters, values)[1]
        chi_squared = np.sum(residual**2, axis=1)
        for _ in range(_ITERATIONS):
            slope = self._slopes(parameters, values, residual, chosen)
            turned = slope.swapaxes(1, 2)
            curvature = np.matmul(turned, slope)
            diagonal = np.einsum("bii->bi", curvature) + 1e-12
            damped = curvature + (damping[:, None] * diagonal)[..., None] * np.eye(len(chosen))
            gradient = np.matmul(turned, np.nan_to_num(residual, posinf=0)[..., None])
            move = np.linalg.solve(damped, gradient)[..., 0]
            trial = parameters.copy()
            trial[:, chosen] -= move
            found = self.fitted(trial, values)[1]
            better = np.sum(found**2, axis=1) < chi_squared
            parameters = np.where(better[:, None], trial, parameters)
            residual = np.where(better[:, None], found, residual)
            chi_squared = np.sum(residual**2, axis=1)
            damping = np.clip(damping * np.where(better, 0.3, 4.0), 1e-6, 1e6)
        return parameters, chi_squared

    def _slopes(self, parameters: np.ndarray, values: np.ndarray, at: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Derivatives of the residuals, (batch, points in all, chosen), by small differences."""
        steps = np.asarray([1e-5 * np.ptp(self.xs), 1e-5, 1e-5])
        moved = [self.fitted(parameters + steps * (np.arange(3) == one), values)[1] for one in chosen]
        with np.errstate(invalid="ignore"):  # infinite where there is no curve
            columns = [(residual - at) / steps[one] for residual, one in zip(moved, chosen, strict=True)]
        return np.nan_to_num(np.stack(columns, axis=-1), posinf=0, neginf=0)

    def determined(self, parameters: np.ndarray, values: np.ndarray) -> bool:
        """Whether the fit depends on every parameter: over their range, by more than a millionth of an error."""
        residual, chosen = self.fitted(parameters, values)[1], np.flatnonzero(self.free)
        ranges = np.asarray([np.ptp(self.xs), 1.0, 1.0])[chosen]
        return bool(np.all(np.abs(self._slopes(parameters, values, residual, chosen) * ranges).max(axis=1) > 1e-6))

    def starts(self, given: np.ndarray) -> np.ndarray:
        """Where the search begins: critical values along the axis; exponents, of either sign where x_c is known."""
        fitted = bool(self.free[0])
        criticals = np.quantile(self.xs, [0.2, 0.4, 0.6, 0.8]) if fitted else given[:1]
        exponents = [0.4, 1.0, 2.0, 4.0] if fitted else [-4.0, -2.0, -1.0, -0.4, 0.4, 1.0, 2.0, 4.0]
        return np.asarray([[critical, exponent, given[2]] for critical in criticals for exponent in exponents])


def _collapsed(
    problem: _Problem, values: np.ndarray, given: np.ndarray, key: PRNGKeyArray, num_bootstrap: int, confidence: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """The best parameters, their intervals (3, 2), NaN where given, and chi^2."""
    starts = problem.starts(given)
    found, chi_squared = problem.minimised(starts, np.broadcast_to(values, (len(starts), *values.shape)))
    best = int(np.argmin(chi_squared))
    curves = problem.fitted(found[best : best + 1], values[None])[0]
    noise = np.asarray(jr.normal(key, (num_bootstrap, *values.shape)), float)
    drawn = curves + np.linalg.solve(problem.whitening, noise[..., None])[..., 0]
    replicas, _ = problem.minimised(np.repeat(found[best : best + 1], num_bootstrap, axis=0), drawn)
    tail = 0.5 * (1 - confidence)
    interval = np.quantile(replicas, [tail, 1 - tail], axis=0).T
    if not problem.determined(found[best : best + 1], values[None]):
        return np.full(3, np.nan), np.full((3, 2), np.nan), float(chi_squared[best])
    return found[best], np.where(problem.free[:, None], interval, np.nan), float(chi_squared[best])


class PowerLaw(eqx.Module):
    r"""A straight line through logarithms, $y = A x^p$.

    * `exponent`: p;
    * `standard_error`: of the exponent, multiplied by sqrt(chi^2/dof) where that exceeds 1;
    * `amplitude`: A, in the units of y;
    * `chi_squared_per_dof`: of the line; well above 1 there is no single power. NaN with two points.

    >>> found = sj.analysis.power_law([1.0, 2.0, 4.0], [3.0, 6.0, 12.0], [0.1, 0.1, 0.1])
    >>> print(f"{found.exponent:.3f} {found.amplitude:.3f} {found.chi_squared_per_dof:.3f}")
    1.000 3.000 0.000
    """

    exponent: Float[Array, ""]
    standard_error: Float[Array, ""]
    amplitude: Float[Array, ""]
    chi_squared_per_dof: Float[Array, ""]

    @readable
    def __repr__(self) -> list[str]:
        return [with_error(self.exponent, self.standard_error), f"chi2/dof={number(self.chi_squared_per_dof)}"]


@public
def power_law(xs: Float[Array, " points"], ys: Float[Array, " points"], errors: Float[Array, " points"]) -> PowerLaw:
    """Weighted least squares of log y on log x.

    * `xs`, `ys`: (points,), positive, in any units;
    * `errors`: (points,), standard errors of `ys`, independent of each other, in their units.

    Raises `ValueError` for shapes that differ, fewer than two points and numbers that are not positive.

    >>> found = sj.analysis.power_law([1.0, 2.0, 4.0], [2.0, 8.0, 32.0], [0.1, 0.4, 1.6])
    >>> print(f"{found.exponent:.3f} {found.amplitude:.3f}")
    2.000 2.000
    """
    require(
        xs.ndim == 1 and xs.shape == ys.shape == errors.shape and xs.shape[0] >= 2,
        f"xs, ys and errors must all be (points >= 2,), got {xs.shape}, {ys.shape} and {errors.shape}.",
    )
    for name, values in (("xs", xs), ("ys", ys), ("errors", errors)):
        require_positive(name, values)
    return _line(jnp.log(xs), jnp.log(ys), (ys / errors) ** 2)


@jax.jit
def _line(x: Array, y: Array, weight: Array) -> PowerLaw:
    total = jnp.sum(weight)
    x_mean, y_mean = jnp.sum(weight * x) / total, jnp.sum(weight * y) / total
    spread = jnp.sum(weight * (x - x_mean) ** 2)
    slope = jnp.sum(weight * (x - x_mean) * (y - y_mean)) / spread
    residual = y - y_mean - slope * (x - x_mean)
    freedom = x.size - 2
    quality = jnp.sum(weight * residual**2) / freedom if freedom else jnp.full_like(slope, jnp.nan)
    inflated = jnp.sqrt(jnp.maximum(quality, 1)) if freedom else 1.0
    return PowerLaw(slope, inflated / jnp.sqrt(spread), jnp.exp(y_mean - slope * x_mean), quality)
