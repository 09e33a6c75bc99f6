r"""Excess of measured softening over the Gaussian null (theory.md section 10).

Gaussian data soften too: their response has a peak of $\xi_{eq}$ wherever $\alpha^2\nu_{max} \approx 1$, without any
pattern. What a model's peak says is its difference from that of the null.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from softjax._checks import concrete, public, require, require_positive
from softjax._repr import number, readable, with_interval
from softjax._types import Array, Float, PRNGKeyArray, Times
from softjax.analysis._bootstrap import expanded_tails, nominal_tails, resampled_means, resampled_medians, resamples
from softjax.analysis._critical import CriticalPoint, critical_point, within
from softjax.analysis._length import equilibrium_correlation_length
from softjax.analysis._locate import curve_peak
from softjax.analysis._smoothing import local_quadratic


class Excess(eqx.Module):
    r"""Measured minus null: responses, equilibrium lengths and critical points.

    * `response`: (times, shells), mean over trajectories of the difference of the responses, per unit of t;
    * `response_interval`: (times, shells, 2), lower and upper end of its interval;
    * `length`, `null_length`: (times,), median over trajectories of $\xi_{eq}$, in sites, measured and of the null;
    * `length_excess`: (times,), their difference, in sites;
    * `length_interval`: (times, 2), lower and upper end of its interval;
    * `point`, `null_point`: where these medians peak, each a `CriticalPoint`;
    * `shift`: location of the measured peak minus that of the null's, in units of t; NaN where either has no peak;
    * `shift_interval`: (2,), lower and upper end of its interval; NaN without a shift.

    All intervals are bootstrap percentiles over trajectories, each time and shell by itself, those of responses and
    lengths with the longer tails that few trajectories need.

    >>> ts = sj.log_grid(8.0, 1.0, 20)
    >>> modes = sj.fourier_modes((8, 8), 3)
    >>> field = sj.GaussianField(sj.spectral.free_field_spectrum((8, 8), 0.1, 1.0), sj.VP())
    >>> null = sj.theory.gaussian_responses(field, ts, modes).magnitude
    >>> found = sj.excess(ts, jnp.stack([null, 1.1 * null]), null, modes.wavenumbers, key=jr.key(0))
    >>> print(found.response.shape, found.length_excess.shape)
    (21, 4) (21,)
    """

    response: Float[Array, "times shells"]
    response_interval: Float[Array, "times shells 2"]
    length: Float[Array, " times"]
    null_length: Float[Array, " times"]
    length_excess: Float[Array, " times"]
    length_interval: Float[Array, "times 2"]
    point: CriticalPoint
    null_point: CriticalPoint
    shift: Float[Array, ""]
    shift_interval: Float[Array, "2"]

    @readable
    def __repr__(self) -> list[str]:
        points = f"peak at {number(self.point.location)}, the null's at {number(self.null_point.location)}"
        known = concrete(self.shift)
        if known is None or known.ndim:
            return [points]
        if not jnp.isfinite(known):
            return [f"no shift: {self.reason}"]
        verdict = "explained" if bool(self.explained) else "not explained"
        return [points, f"shift {with_interval(self.shift, self.shift_interval)}", f"{verdict} by the null"]

    @property
    def explained(self) -> Array:
        """Whether the null explains where the peak is: the interval of the shift contains 0. False without a shift."""
        return (self.shift_interval[..., 0] <= 0) & (self.shift_interval[..., 1] >= 0)

    @property
    def reason(self) -> str:
        """Why there is no shift, or what is to be known about the two peaks; empty for good ones. Outside `jit`."""
        found = {"measured": self.point.reason, "null": self.null_point.reason}
        return "; ".join(f"{name}: {reason}" for name, reason in found.items() if reason)


@public
def excess(
    ts: Times,
    magnitudes: Float[Array, "trajectories times shells"],
    null: Float[Array, "... times shells"],
    wavenumbers: Float[Array, " shells"],
    num_shells: int = 3,
    *,
    key: PRNGKeyArray,
    num_bootstrap: int = 1000,
    confidence: float = 0.95,
    window: tuple[float, float] | None = None,
    bandwidth: float = 0.05,
) -> Excess:
    r"""How far measured mode responses exceed those of the null.

    * `ts`: (times,), positive and decreasing, in units of the process's time;
    * `magnitudes`: (trajectories, times, shells), response magnitudes $\|Jv\|$ along trajectories, per unit of t;
    * `null`: (times, shells), those of the null on the same grid, such as `theory.gaussian_responses(...).magnitude`;
      or (trajectories, times, shells), one null for each trajectory, such as that of its class;
    * `wavenumbers`: (shells,), in radians per site, shell 0 first: `modes.wavenumbers`;
    * `num_shells`: shells 1 to this one enter the fits of $\xi_{eq}$;
    * `key`: fixes the resamples;
    * `num_bootstrap`, `confidence`: the number of resamples and the level of all intervals;
    * `window`: lowest and highest time between which the peaks are looked for; by default the whole grid;
    * `bandwidth`: in log t, of the smoothing before peaks are looked for, as in `critical_point`.

    Measured and null are resampled together, trajectory by trajectory, so that what both have in common drops out. A
    null that all trajectories share is taken as exact: intervals do not hold the error of the samples that it was
    estimated from; to see it, repeat with the nulls of resampled data. With one trajectory intervals have no width.
    For the patch model the null is its linearisation at x = 0.

    `point` is what `critical_point` gives with this key. Equal locations do not say that heights agree:
    `length_excess` does. Raises `ValueError` for shapes that do not fit, and as `critical_point` and
    `equilibrium_correlation_length` do.

    >>> ts = sj.log_grid(8.0, 1.0, 20)
    >>> modes = sj.fourier_modes((8, 8), 3)
    >>> field = sj.GaussianField(sj.spectral.free_field_spectrum((8, 8), 0.1, 1.0), sj.VP())
    >>> null = sj.theory.gaussian_responses(field, ts, modes).magnitude
    >>> found = sj.excess(ts, jnp.stack([null, null]), null, modes.wavenumbers, key=jr.key(0))
    >>> print(f"{abs(found.response).max():.3f}", found.length.shape)
    0.000 (21,)
    """
    require(
        magnitudes.ndim == 3 and magnitudes.shape[0] >= 1 and magnitudes.shape[1] == ts.shape[0],
        f"magnitudes must have shape (trajectories, times = {ts.shape[0]}, shells), got {magnitudes.shape}.",
    )
    require(
        null.shape in (magnitudes.shape, magnitudes.shape[1:]),
        f"null must have the shape of magnitudes, {magnitudes.shape}, or {magnitudes.shape[1:]}; got {null.shape}.",
    )
    require_positive("magnitudes", magnitudes)
    require_positive("null", null)
    both = jnp.stack([magnitudes, jnp.broadcast_to(null, magnitudes.shape)])
    lengths = equilibrium_correlation_length(wavenumbers, both, num_shells).length
    options = {"key": key, "num_bootstrap": num_bootstrap, "confidence": confidence}
    options |= {"window": window, "bandwidth": bandwidth}
    point, null_point = (critical_point(ts, curves, **options) for curves in lengths)
    inside = slice(None) if window is None else within(ts, window)
    counts = resamples(key, num_bootstrap, magnitudes.shape[0])
    count, dtype = magnitudes.shape[0], magnitudes.dtype
    levels = [expanded_tails(confidence, count, shrunk=shrunk) for shrunk in (True, False)]
    tails = jnp.asarray([*levels, nominal_tails(confidence)], dtype)
    smoothing = jnp.asarray(bandwidth, magnitudes.dtype) if bandwidth else None
    return _compared(both, lengths, ts[inside], lengths[..., inside], (point, null_point), counts, tails, smoothing)


@eqx.filter_jit
def _compared(
    both: Float[Array, "2 trajectories times shells"],
    lengths: Float[Array, "2 trajectories times"],
    ts: Float[Array, " inside"],
    inside: Float[Array, "2 trajectories inside"],
    points: tuple[CriticalPoint, CriticalPoint],
    counts: Array,
    tails: Float[Array, "3 2"],
    bandwidth: Array | None,
) -> Excess:
    """The differences, and the same of every resample; tails are those of means, medians and peaks."""
    differences, medians, log_t = both[0] - both[1], jnp.median(lengths, axis=1), jnp.log(ts)
    means, resampled = resampled_means(differences, counts), resampled_medians(jnp.moveaxis(lengths, 0, 1), counts)
    peaked = resampled_medians(jnp.moveaxis(inside, 0, 1), counts)
    peaked = peaked if bandwidth is None else local_quadratic(log_t, peaked, bandwidth)
    places = jnp.exp(jax.vmap(jax.vmap(lambda curve: curve_peak(log_t, curve).anywhere))(peaked))
    shift = points[0].location - points[1].location
    return Excess(
        response=jnp.mean(differences, axis=0),
        response_interval=jnp.moveaxis(jnp.quantile(means, tails[0], axis=0), 0, -1),
        length=medians[0],
        null_length=medians[1],
        length_excess=medians[0] - medians[1],
        length_interval=jnp.quantile(resampled[:, 0] - resampled[:, 1], tails[1], axis=0).T,
        point=points[0],
        null_point=points[1],
        shift=shift,
        shift_interval=jnp.where(jnp.isfinite(shift), jnp.quantile(places[:, 0] - places[:, 1], tails[2]), jnp.nan),
    )
