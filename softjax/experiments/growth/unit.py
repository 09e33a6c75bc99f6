"""One trajectory with what grows along it, as a unit of the engine."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from softjax._types import Array, Configuration, Int, PRNGKeyArray, Times
from softjax.dynamics import flow_drift, simulate
from softjax.dynamics._drift import sde_drift
from softjax.experiments._shared.trajectories import dims_of, labelled_field
from softjax.fields import AbstractField
from softjax.jacobian import lyapunov, mode_response
from softjax.spectral import FourierModes, spectral_content
from softjax.sweeps import Unit, measured, variable


class Growth(eqx.Module):
    """What grows along one trajectory, and what the snapshots on its way say."""

    rate: Array = measured(("time", "shell"), "1/t", "Rayleigh quotient of the followed drift, shell mean")
    magnitude: Array = measured(("time", "shell"), "1/t", "response magnitude of the followed drift, shell mean")
    amplification: Array = measured(("time", "shell"), "1", "mean of |M v|^2 over a shell, from t to the end")
    amplification_error: Array = measured(("time", "shell"), "1", "standard error of amplification")
    whole_amplification: Array = measured(("time",), "1", "the same, the mean over all directions")
    tangent_growth: Array = measured(("time", "tangent"), "1", "ln of the growth of a tangent since the start")
    tangent_change: Array = measured(("tangent",), "1", "what the last round of their search changed")
    tangent_content: Array = measured(("tangent", "wave_shell"), "1", "power of a tangent at the start in each shell")
    final_state: Any = measured()


class GrowthAlong(Unit):
    """A trajectory of Euler's method; member i has the key `jax.random.fold_in(paths, i)`, and class `labels[i]`."""

    field: AbstractField
    ts: Times
    modes: FourierModes
    labels: Int[Array, " trajectories"] | None
    paths: PRNGKeyArray
    shape: tuple[int, ...] = eqx.field(static=True)
    channels: int = eqx.field(static=True)
    kind: Literal["sde", "flow"] = eqx.field(static=True)
    num_tangents: int = eqx.field(static=True)
    iterations: int = eqx.field(static=True)
    num_probes: int = eqx.field(static=True)

    def __call__(self, member: Int[Array, ""], key: PRNGKeyArray) -> Growth:
        """The key is not used: a configuration's seed decides, in a sweep too."""
        del key
        path = {"key": jr.fold_in(self.paths, member), "shape": self.shape, "kind": self.kind}
        field = self.field if self.labels is None else labelled_field(self.field, self.labels[member])
        grown = lyapunov(
            field,
            self.ts,
            num=self.num_tangents,
            iterations=self.iterations,
            shells=self.modes,
            num_probes=self.num_probes,
            channels=self.channels,
            **path,
        )

        def snapshot(t: Array, x: Configuration) -> tuple[Array, Array]:
            found = mode_response(lambda x: self.drift(field, t, x), x, self.modes, channels=self.channels)
            return found.rayleigh, found.magnitude

        seen = simulate(field, self.ts, engine="scan", observe=snapshot, **path)
        rate, magnitude = seen.observed
        dims = dims_of(self.shape, self.channels)
        return Growth(
            rate=rate,
            magnitude=magnitude,
            amplification=grown.amplification,
            amplification_error=grown.amplification_error,
            whole_amplification=grown.whole_amplification,
            tangent_growth=grown.growth,
            tangent_change=grown.change,
            tangent_content=jax.vmap(lambda v: spectral_content(v, channels=self.channels))(grown.starts),
            final_state=variable("final_state", grown.x, dims, "data", "configuration at the end"),
        )

    def drift(self, field: AbstractField, t: Array, x: Configuration) -> Configuration:
        """The drift that is followed, per unit decrease of t."""
        return (sde_drift if self.kind == "sde" else flow_drift)(field, t, x)

    def free_rates(self) -> Array:
        """Rates that noise alone would have, (times,): those of a denoiser that does not see the state."""
        process = self.field.process
        share = 1.0 if self.kind == "sde" else 0.5

        def rate(t: Array) -> Array:
            return process.damping(t) - share * process.beta(t) / process.sigma(t) ** 2

        return jax.vmap(rate)(self.ts)


def log_growth(unit: GrowthAlong, rates: Array) -> Array:
    """Growth ln |prod (1 + h r)| from every time to the end, (times, ...), of rates (times, ...) of the drift."""
    h = -jnp.diff(unit.ts).reshape(-1, *(1,) * (rates.ndim - 1))
    steps = jnp.log(jnp.abs(1 + h * rates[:-1]))
    to_the_end = jnp.cumsum(steps[::-1], axis=0)[::-1]
    return jnp.concatenate([to_the_end, jnp.zeros_like(to_the_end[:1])])
