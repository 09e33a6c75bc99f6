r"""Ginzburg-Landau dynamics of a lattice field (theory.md section 4; Eq. 19).

$\partial_\tau\varphi = r\varphi + \kappa\nabla^2\varphi - u\varphi^3 + \sqrt\beta\,\eta$ in reverse time $\tau = -t$,
by an exponential splitting: half a step of the cubic term, solved exactly site by site, a step of the linear Langevin
equation, solved exactly mode by mode with its noise, and half a step of the cubic term. Second order in the step.
"""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from softjax._checks import public, require, require_not_negative
from softjax._types import Array, ArrayLike, Configuration, Float, PRNGKeyArray, Times
from softjax.dynamics._scan import Observe, scan_grid
from softjax.dynamics._simulate import Trajectory, finished, lattice_and_times
from softjax.spectral import wavevectors


class LandauCoefficients(eqx.Module):
    """Coefficients of the Landau theory at one time, per unit of t.

    * `mass`: r, the growth rate of the uniform mode;
    * `stiffness`: kappa, in sites squared: one number, or (ndim,), one per axis;
    * `quartic`: u, at least 0;
    * `noise`: beta, the rate at which noise adds variance.

    >>> free = sj.dynamics.LandauCoefficients(mass=-0.5, stiffness=1.0, quartic=0.0, noise=0.0)
    >>> path = sj.dynamics.simulate_landau(free, [3.0, 2.0, 1.0], key=jr.key(0), x0=jnp.ones((4, 4)))
    >>> print(f"{path.x[0, 0]:.3f}")
    0.368
    """

    mass: Float[Array, ""]
    stiffness: Float[Array, "..."]
    quartic: Float[Array, ""]
    noise: Float[Array, ""]

    @public
    def __init__(self, mass: ArrayLike, stiffness: ArrayLike, quartic: ArrayLike, noise: ArrayLike):
        self.mass, self.stiffness, self.quartic, self.noise = (
            jnp.asarray(value) for value in (mass, stiffness, quartic, noise)
        )


Coefficients = LandauCoefficients | Callable[[Array], LandauCoefficients]

# Gauss-Legendre nodes of a step, at which coefficients that depend on time are evaluated, and their weights.
_NODES, _WEIGHTS = ((0.5 * values).tolist() for values in np.polynomial.legendre.leggauss(4))


@public(mixed=True)
def simulate_landau(
    coefficients: Coefficients,
    ts: Times,
    *,
    key: PRNGKeyArray,
    shape: Sequence[int] | None = None,
    x0: Configuration | None = None,
    observe: Observe | None = None,
) -> Trajectory:
    r"""Integrate the Ginzburg-Landau equation, Eq. (19), over the decreasing grid `ts`, from noise to data.

    * `coefficients`: fixed, or a function of t; `softjax.theory.LandauModel` takes them from a process;
    * `ts`: (times,), the grid, decreasing and positive; with fixed coefficients only its differences matter;
    * `key`: fixes start and noise;
    * `shape`: of the field, to start from unit white noise; or give
    * `x0`: (*lattice), the start itself;
    * `observe`: called with (t, x) on every grid point, returns what to keep.

    The Laplacian is the lattice's, $-\sum_a 4\sin^2(k_a/2)$.

    Without the cubic term every Fourier mode is an Ornstein-Uhlenbeck process and exact for any step; for coefficients
    that depend on time up to their variation within a quarter of a step. With it the error is of second order in the
    step, and no step is unstable. A batch is `jax.vmap` over keys or starts.

    Raises `ValueError` as `simulate` does, and for a negative stiffness, quartic coefficient or noise that is fixed;
    `FloatingPointError` when the trajectory stops being finite (outside `jit` only).

    >>> ordered = sj.dynamics.LandauCoefficients(mass=1.0, stiffness=1.0, quartic=4.0, noise=0.0)
    >>> ts = jnp.linspace(10.0, 0.1, 100)
    >>> path = sj.dynamics.simulate_landau(ordered, ts, key=jr.key(0), x0=jnp.ones((4, 4)))
    >>> print(f"{path.x[0, 0]:.3f}")
    0.499
    """
    lattice, ts = lattice_and_times(ts, shape, x0)
    if isinstance(coefficients, LandauCoefficients):
        _check_fixed(coefficients, len(lattice))
    return finished(_run, coefficients, ts, lattice, x0, key, observe)


@eqx.filter_jit
def _run(
    coefficients: Coefficients,
    ts: Times,
    shape: tuple[int, ...],
    x0: Configuration | None,
    key: PRNGKeyArray,
    observe: Observe | None,
) -> Trajectory:
    key_start, key_noise = jr.split(key)
    start = jr.normal(key_start, shape, ts.dtype) if x0 is None else x0

    def step(index: Array, t: Array, t_next: Array, x: Configuration) -> Configuration:
        noise = jr.normal(jr.fold_in(key_noise, index), shape, ts.dtype)
        return _step(coefficients, t, t - t_next, x, noise)

    return Trajectory(ts, *scan_grid(step, ts, start, observe))


def _step(coefficients: Coefficients, t: Array, h: Array, x: Configuration, noise: Array) -> Configuration:
    if isinstance(coefficients, LandauCoefficients):
        at_nodes = [coefficients] * len(_NODES)
    else:
        at_nodes = [coefficients(t - h * (0.5 + node)) for node in _NODES]
    at_nodes = jax.tree.map(lambda value: value.astype(x.dtype), at_nodes)
    cubic = h * jnp.sum(jnp.stack([weight * c.quartic for weight, c in zip(_WEIGHTS, at_nodes, strict=True)]))
    growth, variance = _ornstein_uhlenbeck(at_nodes, h, x.shape)
    x = _decay(0.5 * cubic, x)
    modes, added = jnp.fft.rfftn(x), jnp.fft.rfftn(noise)
    modes = jnp.exp(growth).astype(modes.dtype) * modes + jnp.sqrt(variance).astype(modes.dtype) * added
    return _decay(0.5 * cubic, jnp.fft.irfftn(modes, s=x.shape, axes=range(x.ndim)))


def _ornstein_uhlenbeck(at_nodes: list[LandauCoefficients], h: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Growth exponent and added variance of every mode over a step of piecewise constant coefficients."""
    k = wavevectors(shape)[..., : shape[-1] // 2 + 1, :]
    k_squared = jnp.asarray(4 * np.sin(0.5 * k) ** 2, h.dtype)
    total = variance = jnp.zeros(k.shape[:-1], h.dtype)
    for weight, c in zip(_WEIGHTS, at_nodes, strict=True):
        growth = weight * h * (c.mass - jnp.sum(c.stiffness * k_squared, axis=-1))
        total = total + growth
        variance = jnp.exp(2 * growth) * variance + weight * h * c.noise * _mean_exponential(2 * growth)
    return total, variance


def _mean_exponential(z: Array) -> Array:
    """(exp(z) - 1) / z, and 1 at z = 0."""
    safe = jnp.where(z == 0, 1, z)
    return jnp.where(z == 0, 1, jnp.expm1(safe) / safe)


def _decay(strength: Array, x: Configuration) -> Configuration:
    """Solution of dx/dtau = -u x^3 after a time with u tau = `strength`."""
    return x / jnp.sqrt(1 + 2 * strength * x**2)


def _check_fixed(c: LandauCoefficients, ndim: int) -> None:
    for name in ("stiffness", "quartic", "noise"):
        require_not_negative(name, getattr(c, name))
    require(
        c.stiffness.shape in ((), (ndim,)),
        f"stiffness must be one number, or one per axis, ({ndim},); got shape {c.stiffness.shape}.",
    )
