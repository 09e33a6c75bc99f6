r"""The derivatives of the steps of a trajectory, and what they carry along it, forwards or backwards."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from softjax._types import Array, Configuration, Float, Times
from softjax.dynamics._engines import EngineIntegrator
from softjax.fields import AbstractField
from softjax.jacobian._linearise import Drift, linearise, transpose

Then = Callable[[Array], tuple[Array, Any]]
"""What is done with vectors after a step: the vectors to go on with, and what to keep."""


class Steps(eqx.Module):
    r"""The steps $x_{n+1} = x_n + h_n f(t_n, x_n) + g_n W_n$ of Euler's method, and their derivatives.

    $J_n = I + h_n\,\partial f/\partial x\,(t_n, x_n)$ is that of the step itself, at any size of the step: the noise is
    additive, and has no part in it.

    * `states`: (times, *lattice), the path;
    * `batch_size`: vectors in memory at a time, or all.
    """

    field: AbstractField
    integrator: EngineIntegrator
    ts: Times
    states: Float[Array, "times ..."]
    batch_size: int | None = eqx.field(static=True)

    def push(self, vectors: Float[Array, "num ..."], then: Then) -> tuple[Array, Any]:
        """Vectors at the start carried to the end by $J_n$, and what `then` keeps at the end of each step."""
        return self._carry(vectors, then, False)

    def pull(self, vectors: Float[Array, "num ..."], then: Then) -> tuple[Array, Any]:
        """Vectors at the end carried to the start by $J_n^T$, and what `then` keeps at the start of each step."""
        return self._carry(vectors, then, True)

    def _carry(self, vectors: Array, then: Then, adjoint: bool) -> tuple[Array, Any]:
        def one(vectors: Array, step: tuple[Array, Array, Configuration]) -> tuple[Array, Any]:
            t, t_next, x = step
            jacobian = linearise(self._step(t, t_next), x)
            apply = transpose(jacobian, x) if adjoint else jacobian
            return then(jax.lax.map(apply, vectors, batch_size=self.batch_size or len(vectors)))

        steps = (self.ts[:-1], self.ts[1:], self.states[:-1])
        return jax.lax.scan(one, vectors, steps, reverse=adjoint)

    def _step(self, t: Array, t_next: Array) -> Drift:
        return lambda x: x + (t - t_next) * self.integrator.drift(self.field, t, x)


def orthonormal(vectors: Float[Array, "num ..."]) -> tuple[Float[Array, "num ..."], Float[Array, " num"]]:
    """Vectors made orthonormal in their order, and the logarithms of the lengths that this took from them."""
    q, r = jnp.linalg.qr(vectors.reshape(len(vectors), -1).T)
    return q.T.reshape(vectors.shape), jnp.log(jnp.abs(jnp.diagonal(r)))
