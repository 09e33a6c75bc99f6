r"""Leading eigenpairs of a drift's Jacobian by Krylov iteration (theory.md section 5).

An orthonormal basis Q is grown by one product $Jq$ at a time (Arnoldi 1951; for a symmetric operator this is
Lanczos 1950), every product being orthogonalised against the whole basis. The eigenpairs of the projection
$H = Q^TJQ$ are the Ritz pairs. With b starting vectors in place of one (Ruhe 1979), eigenvalues up to b-fold are
found with their multiplicity.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from softjax._checks import public, require
from softjax._linalg import matmul
from softjax._repr import readable, sides, spread
from softjax._types import Array, Complex, Configuration, Float, PRNGKeyArray
from softjax.jacobian._linearise import Drift, as_precise, linearise, transpose

_BREAKDOWN = 10.0
"""A product whose new part is below this many roundings of the operator's norm adds no direction."""


class Eigenpairs(eqx.Module):
    r"""Leading eigenpairs, by decreasing real part. Real for a symmetric operator, complex otherwise.

    * `values`: (num,), in units of 1/t;
    * `vectors`: (num, *lattice), each of unit Euclidean norm;
    * `residuals`: (num,), $\|Av - \lambda v\|$ in units of 1/t: for symmetric A, an eigenvalue lies within it.

    >>> def f(x):
    ...     return -x + 0.2 * sum(jnp.roll(x, s, a) for s in (1, -1) for a in (0, 1))
    >>> found = sj.leading_modes(f, jnp.zeros((4, 4)), key=jr.key(0), num=1, symmetric=True, num_matvecs=16)
    >>> print(np.asarray(found.values).round(3), found.vectors.shape, bool(found.residuals[0] < 1e-5))
    [-0.2] (1, 4, 4) True
    """

    values: Float[Array, " num"] | Complex[Array, " num"]
    vectors: Float[Array, "num ..."] | Complex[Array, "num ..."]
    residuals: Float[Array, " num"]

    @readable
    def __repr__(self) -> list[str]:
        count, *shape = self.vectors.shape
        real = f"real parts {spread(self.values.real)} per unit of t"
        return [f"{count} of {sides(shape)} components", real, f"residuals {spread(self.residuals)}"]


@public
def leading_modes(
    f: Drift,
    x: Configuration,
    *,
    num: int = 8,
    key: PRNGKeyArray,
    symmetric: bool = False,
    num_matvecs: int | None = None,
    num_starts: int = 1,
) -> Eigenpairs:
    r"""The `num` eigenpairs of largest real part of the Jacobian J of `f` at `x`, without assuming any symmetry.

    * `f`: a map of configurations that keeps their shape;
    * `x`: the state, of any shape, channels included;
    * `num`: how many pairs;
    * `key`: fixes the random starts;
    * `symmetric`: whether the symmetric part of J is meant;
    * `num_matvecs`: products and basis vectors held, by default 10 `num` + 60; at x.size, the most, the result is
      exact;
    * `num_starts`: random starts; each finds one vector of a degenerate eigenvalue.

    `symmetric=False` takes J itself, by Jacobian-vector products: asymptotic growth. A complex pair stands as two
    neighbours, positive imaginary part first. `symmetric=True` takes $\tfrac12(J + J^T)$, by products with J and its
    transpose: growth of the energy $\|x\|^2$ at this instant, and J's own modes where f is a gradient.

    Look at `residuals`, computed anew with the operator: where they are too large, raise `num_matvecs`.

    Not compiled here, as `mode_response`; CPU and CUDA only for `symmetric=False`. Raises `ValueError` for a state
    that is not finite, a drift of another shape, and numbers that do not fit: 1 <= num, num_starts <= num_matvecs <=
    x.size.

    >>> def f(x):
    ...     return -x + 0.2 * sum(jnp.roll(x, s, a) for s in (1, -1) for a in (0, 1))
    >>> found = sj.leading_modes(f, jnp.zeros((4, 4)), key=jr.key(0), num=2, symmetric=True, num_matvecs=16)
    >>> print(np.asarray(found.values).round(3))
    [-0.2 -0.6]
    """
    x = as_precise(f, x)
    jacobian = linearise(f, x)
    budget = min(x.size, 10 * num + 60) if num_matvecs is None else num_matvecs
    _require_counts(num, num_starts, budget, x.size)
    adjoint = transpose(jacobian, x) if symmetric else None
    apply = jacobian if adjoint is None else lambda v: 0.5 * (jacobian(v) + adjoint(v))
    basis, projection = _krylov(lambda q: apply(q.reshape(x.shape)).ravel(), x.ravel(), budget, num_starts, key)
    values, weights = _ritz(projection, symmetric)
    values, flat = values[:num], matmul(weights[:, :num].T, basis.astype(weights.dtype))
    lengths = jnp.linalg.norm(flat, axis=1, keepdims=True).astype(flat.dtype)
    vectors = (flat / lengths).reshape(num, *x.shape)
    return Eigenpairs(values, vectors, _residuals(apply, values, vectors))


def _require_counts(num: int, num_starts: int, num_matvecs: int, size: int) -> None:
    require(1 <= num <= size, f"num must lie between 1 and the {size} components of x, got {num}.")
    require(
        num <= num_matvecs <= size,
        f"num_matvecs must lie between num = {num} and the {size} components of x, got {num_matvecs}.",
    )
    require(1 <= num_starts <= num_matvecs, f"num_starts must lie between 1 and {num_matvecs}, got {num_starts}.")


def _krylov(
    apply: Callable[[Array], Array], like: Array, size: int, starts: int, key: PRNGKeyArray
) -> tuple[Float[Array, "size sites"], Float[Array, "size size"]]:
    """Orthonormal basis of the block Krylov space, one vector per row, and the operator's projection on it."""
    fresh = jr.normal(key, (starts, like.size), like.dtype)
    basis = jnp.zeros((size + starts, like.size), like.dtype).at[:starts].set(jnp.linalg.qr(fresh.T)[0].T)

    def step(j: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        basis, projection, norm = carry
        product = apply(basis[j])
        norm = jnp.maximum(norm, jnp.linalg.norm(product))
        remainder, overlap = _orthogonalise(product, basis)
        length = jnp.linalg.norm(remainder)
        exhausted = length <= _BREAKDOWN * jnp.finfo(like.dtype).eps * norm
        # An invariant subspace: go on in a random direction, which the operator does not couple to the ones before.
        other = jr.normal(jr.fold_in(key, j), like.shape, like.dtype)
        candidate = jnp.where(exhausted, other, remainder / jnp.where(exhausted, 1, length))
        unit = _normalise(_orthogonalise(candidate, basis)[0])
        column = overlap.at[starts + j].set(jnp.where(exhausted, 0, length))
        return basis.at[starts + j].set(unit), projection.at[:, j].set(column), norm

    empty = (basis, jnp.zeros((size + starts, size), like.dtype), jnp.zeros((), like.dtype))
    basis, projection, _ = jax.lax.fori_loop(0, size, step, empty)
    return basis[:size], projection[:size]


def _orthogonalise(v: Array, basis: Array) -> tuple[Array, Array]:
    """What is left of `v` outside the span of the basis, and its components inside; twice is enough."""
    first = matmul(basis, v)
    v = v - matmul(first, basis)
    second = matmul(basis, v)
    return v - matmul(second, basis), first + second


def _normalise(v: Array) -> Array:
    """`v` at unit length; zero stays zero, as when the basis spans the whole space."""
    length = jnp.linalg.norm(v)
    return v / jnp.where(length > 0, length, 1)


def _ritz(projection: Float[Array, "size size"], symmetric: bool) -> tuple[Array, Array]:
    """Eigenvalues of the projection by decreasing real part, and its eigenvectors in columns."""
    if symmetric:
        values, vectors = jnp.linalg.eigh(0.5 * (projection + projection.T))
        return values[::-1], vectors[:, ::-1]
    values, vectors = jnp.linalg.eig(projection)
    order = jnp.lexsort((-values.imag, -values.real))
    return values[order], vectors[:, order]


def _residuals(apply: Drift, values: Array, vectors: Array) -> Float[Array, " num"]:
    """Norm of A v - lambda v, by one more product per real vector."""
    products = jax.lax.map(apply, vectors.real)
    if jnp.iscomplexobj(vectors):
        products = jax.lax.complex(products, jax.lax.map(apply, vectors.imag))
    difference = products - values.reshape(-1, *(1,) * (vectors.ndim - 1)) * vectors
    return jnp.linalg.norm(difference.reshape(values.size, -1), axis=1)
