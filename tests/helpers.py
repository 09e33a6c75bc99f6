"""What many tests share: tolerances, comparisons, orders of convergence."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

FLOAT = jnp.result_type(float)
"""The default float type of this run."""

X64 = jnp.dtype("float64") == FLOAT

needs_x64 = pytest.mark.skipif(not X64, reason="needs double precision: JAX_ENABLE_X64=1")


def tolerance(dtype: Any = FLOAT) -> float:
    """Relative error that rounding alone explains in a short computation: 8e-6 in float32, 1.4e-14 in float64."""
    return 64 * float(jnp.finfo(dtype).eps)


def assert_close(actual: Any, expected: Any, loosen: float = 1.0) -> None:
    """Equal pytrees up to `loosen` tolerances of each array's own dtype, relative to its largest entry."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for got, want in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        exact = not jnp.issubdtype(jnp.result_type(got), jnp.inexact)
        bound = 0.0 if exact else loosen * tolerance(jnp.result_type(got))
        want = np.asarray(want)
        np.testing.assert_allclose(
            np.asarray(got), want, rtol=bound, atol=bound * np.max(np.abs(want), initial=0.0), strict=False
        )
        assert np.shape(got) == want.shape


def within_standard_errors(value: Any, expected: Any, standard_error: Any, k: float = 4.0) -> bool:
    """Whether every value lies within k standard errors of what is expected; the errors must be positive."""
    error = np.asarray(standard_error)
    assert np.all(np.isfinite(error))
    assert np.all(error > 0)
    return bool(np.all(np.abs(np.asarray(value) - np.asarray(expected)) <= k * error))


def convergence_order(steps: Sequence[float], errors: Sequence[float]) -> float:
    """Least-squares slope of log(error) against log(step), over at least four levels."""
    assert len(steps) == len(errors) >= 4
    assert np.all(np.asarray(errors) > 0)
    return float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


def strong_order(solve: Callable[[int], Any], num_steps: Sequence[int], exact: Any) -> float:
    """Strong order of a solver from its root-mean-square error at four or more step counts.

    `solve(n)` returns the end points of sample paths after n steps, (paths, ...), driven by the same Brownian paths for
    every n; `exact` holds the end points of those paths for vanishing steps.
    """
    errors = [float(np.sqrt(np.mean((np.asarray(solve(n)) - np.asarray(exact)) ** 2))) for n in num_steps]
    return convergence_order([1 / n for n in num_steps], errors)
