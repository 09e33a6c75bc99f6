r"""Growth along a trajectory: finite-time Lyapunov exponents, and how much each Fourier shell is amplified.

The rates of a Jacobian at one time are no growth: it changes along the path, and need not be normal. With $J_n$ the
derivative of step n of the integrator (theory.md section 5), small changes of the noise at t become
$M(t)\,\delta x_t$ at the end, $M(t_n) = J_{N-1}\cdots J_{n+1}J_n$.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from softjax._checks import concrete, public, require, require_channel, require_shape
from softjax._linalg import matmul
from softjax._repr import readable, spread, times
from softjax._types import Array, ArrayLike, Channel, Configuration, Float, PRNGKeyArray, Times
from softjax.dynamics._engines import Kind
from softjax.dynamics._simulate import finished, prepare, run_one
from softjax.dynamics._stochasticity import integrator_of
from softjax.fields import AbstractField, channels_of
from softjax.jacobian._dispersion import random_phases
from softjax.jacobian._steps import Steps, orthonormal
from softjax.spectral import FourierModes, in_channels

_OWN = 2**32 - 1  # sets the keys of tangents and probes apart from those of the members of an ensemble


class PathGrowth(eqx.Module):
    r"""Growth along one trajectory. Under `jax.vmap` every array gains a leading axis.

    * `ts`: (times,), the grid, decreasing;
    * `log_snr`: (times,), $\ln(\alpha^2/\sigma^2)$ on it;
    * `x`: (*lattice), the final configuration, that of `simulate` for the same key;
    * `growth`: (times, num), natural logarithm of the growth of each tangent from `ts[0]` on, without unit, 0 at first;
    * `change`: (num,), by how much the growth to the end differs between the last way back and the last way forward of
      the search; NaN for given starts;
    * `starts`, `ends`: (num, *lattice), the orthonormal tangents at `ts[0]`, and what they are turned into at the end;
    * `amplification`, `amplification_error`: (times, shells), mean of $\|M(t)v\|^2$ over the unit directions v of each
      shell, from t to the end, and its standard error; no columns without shells;
    * `whole_amplification`: (times,), the mean over all directions of the lattice and channels, $\|M(t)\|_F^2/N$; NaN
      without shells. A shell of m directions has the share m `amplification` / (N `whole_amplification`) of what
      white noise at t adds to the final configuration.

    >>> field = sj.GaussianField(jnp.ones((4, 4)), sj.VP())
    >>> found = sj.lyapunov(field, [3.0, 2.0, 1.0], key=jr.key(0), num=2, shape=(4, 4), kind="flow")
    >>> print(found.growth.shape, bool(abs(found.exponents).max() < 1e-5))
    (3, 2) True
    """

    ts: Times
    log_snr: Float[Array, " times"]
    x: Configuration
    growth: Float[Array, "times num"]
    change: Float[Array, " num"]
    starts: Float[Array, "num ..."]
    ends: Float[Array, "num ..."]
    amplification: Float[Array, "times shells"]
    amplification_error: Float[Array, "times shells"]
    whole_amplification: Times

    @readable
    def __repr__(self) -> list[str]:
        shells = self.amplification
        seen = [f"{shells.shape[-1]} shells amplified by {spread(shells[..., 0, :])}"] if shells.shape[-1] else []
        return [times(self.ts), f"{self.growth.shape[-1]} exponents {spread(self.exponents)} per unit of t", *seen]

    @property
    def exponents(self) -> Float[Array, "... num"]:
        """Finite-time exponents: growth per unit of reverse time, (num,)."""
        return self.growth[..., -1, :] / (self.ts[..., 0] - self.ts[..., -1])[..., None]

    @property
    def exponents_per_log_snr(self) -> Float[Array, "... num"]:
        """Growth per unit of the log signal-to-noise ratio, (num,); 0 on a grid that ends without noise."""
        return self.growth[..., -1, :] / (self.log_snr[..., -1] - self.log_snr[..., 0])[..., None]


@public(mixed=True)
def lyapunov(
    field: AbstractField,
    ts: Times,
    *,
    key: PRNGKeyArray,
    num: int,
    shape: Sequence[int] | None = None,
    x0: Configuration | None = None,
    kind: Kind = "sde",
    stochasticity: ArrayLike | None = None,
    start: Float[Array, "num ..."] | None = None,
    iterations: int = 3,
    shells: FourierModes | None = None,
    num_probes: int = 16,
    batch_size: int | None = None,
    channels: int | None = None,
    channel: Channel = "equal",
) -> PathGrowth:
    r"""Growth of small changes along the trajectory of `simulate(field, ts, key=key, engine="scan")`.

    * `field`: a field of configurations (*lattice), or (*lattice, channels);
    * `ts`: (times,), the grid, decreasing;
    * `key`: fixes the path, which is that of `simulate`, and the probes;
    * `num`: how many tangents, at most the components of x;
    * `shape`, `x0`, `kind`, `stochasticity`: as for `simulate`, whose Euler's method it is;
    * `start`: (num, *lattice), the tangents at `ts[0]`, made orthonormal in their order; by default those that grow the
      most until the end, which are searched for;
    * `iterations`: rounds of that search, each from the end back to `ts[0]` and to the end again;
    * `shells`: `fourier_modes(lattice, ...)`, the directions whose amplification is estimated; by default none;
    * `num_probes`: for the amplification, at least 2;
    * `batch_size`: tangents and probes in memory at a time, by default all;
    * `channels`: how many channels the last axis of x holds, by default what the field says;
    * `channel`: directions of `shells` that are equal in all channels, in one, or, "block", the mean over all of them.

    Tangents take the derivative $J_n = I + h_n\,\partial f/\partial x$ of each step, one linearisation for all:
    $J_nV_n = V_{n+1}R_n$ (QR), and $\ln|R_{ii}|$ adds up to `growth` (Benettin et al. 1980). The search is a subspace
    iteration with $M^TM$: at its end the first tangents are right singular vectors of $M$, the growth to the end its
    largest $\ln$ singular values. Where these lie close it converges slowly, and out of order; a large `change`
    shows it, a small one does not exclude it: double `iterations` and compare. The sum over all x.size tangents is
    $\sum_n\ln|\det J_n|$ whatever the start: in the limit of small steps
    $\int\mathrm{tr}\,\partial f/\partial x\,d\tau$, for the flow the change of $-\ln p$. A direction that a step takes
    to nothing has growth $-\infty$; one that a single step shrinks below the others by more than the rounding (1e-16,
    1e-7 in single precision: the last step to a noise of 0) is lost in theirs, and its growth is a bound from above.

    For noise z at the end, $E\,zz^T = I$, the power of $M(t)^Tz$ in a shell has the mean
    $E\sum_v(v\cdot M^Tz)^2 = \sum_v\|Mv\|^2$: probes pulled back once give all shells at all times. They are those of
    `dispersion`, with modulus 1 at every k, and exact where every step is a convolution.

    The path is stored: times x.size numbers; beside it, tangents and probes at one step. Cost in products with $J_n$
    per step: 2 `iterations` x `num` + `num_probes`. Members of an ensemble are
    `jax.vmap(lambda i: sj.lyapunov(..., key=jax.random.fold_in(key, i)))`.

    Warns and raises as `simulate` does; `ValueError` also for a start or shells of another shape and for numbers out of
    range.

    >>> field = sj.GaussianField(jnp.ones((4, 4)), sj.VP())
    >>> found = sj.lyapunov(field, [3.0, 2.0, 1.0], key=jr.key(0), num=1, shape=(4, 4))
    >>> print(f"{found.growth[-1, 0]:.3f} {2 * np.log(0.5):.3f}")
    -1.386 -1.386
    """
    _require_counts(num, iterations, num_probes, batch_size)
    integrator = integrator_of(kind, "euler", "scan", stochasticity)
    run, ts, x0 = prepare(field, ts, integrator, shape=shape, x0=x0, observe=_state)
    lattice = run.shape
    require(num <= int(np.prod(lattice)), f"num must be at most the components of x, of shape {lattice}; got {num}.")
    channels = channels_of(field, channels)
    require_channel(channel, channels)
    modes = None if shells is None else in_channels(shells, lattice, channels, channel)
    if start is not None:
        require_shape("start", start.shape, (num, *lattice))
        _require_independent(start)
    trajectory = finished(run_one, run, ts, x0, key)
    steps = Steps(field, integrator, ts, trajectory.observed, batch_size)
    return _grow(steps, jr.fold_in(key, _OWN), num, start, iterations, modes, num_probes, bool(channels))


def _state(t: Array, x: Configuration) -> Configuration:
    return x


def _require_counts(num: int, iterations: int, num_probes: int, batch_size: int | None) -> None:
    require(num >= 1, f"num must be at least 1, got {num}.")
    require(iterations >= 1, f"iterations must be at least 1, got {iterations}; give start for none.")
    require(num_probes >= 2, f"num_probes must be at least 2, for a standard error; got {num_probes}.")
    require(batch_size is None or batch_size >= 1, f"batch_size must be at least 1, got {batch_size}.")


def _require_independent(start: Array) -> None:
    """Refuses tangents of which one is zero or a sum of the others: the growth would be that of an arbitrary one."""
    if (known := concrete(start)) is None:
        return
    rows = known.reshape(len(known), -1)
    lengths = np.linalg.norm(rows, axis=1)
    require(bool(np.all(lengths > 0)), "start must hold no zero tangent.")
    own = np.abs(np.diagonal(np.linalg.qr((rows / lengths[:, None]).T)[1]))
    least = rows.shape[1] * np.finfo(rows.dtype).eps
    require(bool(np.all(own > least)), "the tangents of start must be linearly independent.")


@eqx.filter_jit
def _grow(
    steps: Steps,
    key: PRNGKeyArray,
    num: int,
    start: Array | None,
    iterations: int,
    modes: FourierModes | None,
    num_probes: int,
    has_channels: bool,
) -> PathGrowth:
    key_tangents, key_probes = jr.split(key)
    x = steps.states[-1]
    if start is None:
        random = jr.normal(key_tangents, (num, *x.shape), x.dtype)
        starts, ends, logs, change = _fastest(steps, orthonormal(random)[0], iterations)
    else:
        starts, change = orthonormal(start.astype(x.dtype))[0], jnp.full(num, jnp.nan, x.dtype)
        ends, logs = steps.push(starts, orthonormal)
    growth = jnp.concatenate([jnp.zeros_like(logs[:1]), jnp.cumsum(logs, axis=0)])
    none = jnp.zeros((len(steps.ts), 0), x.dtype)
    amplified = (none, none, jnp.full(len(steps.ts), jnp.nan, x.dtype))
    if modes is not None:
        lattice = x.shape[:-1] if has_channels else x.shape
        amplified = _amplification(steps, modes, _probes(key_probes, num_probes, x, lattice))
    log_snr = jax.vmap(steps.field.process.log_snr)(steps.ts).astype(x.dtype)
    return PathGrowth(steps.ts, log_snr, x, growth, change, starts, ends, *amplified)


def _fastest(steps: Steps, ends: Array, iterations: int) -> tuple[Array, Array, Array, Array]:
    """Tangents that grow the most: at the start, at the end, their growth per step, and what the last round changed."""

    def round_trip(_: Array, carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        starts, pulled = steps.pull(carry[1], orthonormal)
        ends, pushed = steps.push(starts, orthonormal)
        return starts, ends, pushed, jnp.abs(jnp.sum(pushed, axis=0) - jnp.sum(pulled, axis=0))

    logs = jnp.zeros((len(steps.ts) - 1, len(ends)), ends.dtype)
    return jax.lax.fori_loop(0, iterations, round_trip, (ends, ends, logs, logs[0]))


def _probes(key: PRNGKeyArray, num: int, x: Configuration, lattice: tuple[int, ...]) -> Float[Array, "probes ..."]:
    """White noise of modulus 1 at every k, (probes, *x.shape); independent in every channel."""

    def one(key: PRNGKeyArray) -> Array:
        return jnp.fft.ifftn(random_phases(key, lattice, x.dtype), norm="ortho").real

    count = x.size // int(np.prod(lattice))
    noise = jax.vmap(jax.vmap(one, out_axes=-1))(jr.split(key, (num, count)))
    return noise.reshape(num, *x.shape)


def _amplification(steps: Steps, modes: FourierModes, probes: Array) -> tuple[Array, Array, Array]:
    """Mean power per direction of each shell in the probes pulled back to every time, its error, and that of all."""
    directions = modes.directions.reshape(len(modes.directions), -1).astype(probes.dtype)

    def measure(vectors: Array) -> tuple[Array, tuple[Array, Array, Array]]:
        flat = vectors.reshape(len(vectors), -1)
        power = modes.shell_mean(matmul(directions, flat.T) ** 2)
        error = jnp.std(power, axis=1, ddof=1) / float(np.sqrt(len(vectors)))
        return vectors, (jnp.mean(power, axis=1), error, jnp.mean(flat**2))

    carried, last = steps.pull(probes, measure)[1], measure(probes)[1]
    kept = [jnp.concatenate([each, end[None]]) for each, end in zip(carried, last, strict=True)]
    return kept[0], kept[1], kept[2]
