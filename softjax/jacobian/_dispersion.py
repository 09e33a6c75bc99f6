r"""Every wavevector at once: the site-averaged kernel of a Jacobian in Fourier space (theory.md section 5).

The phase-averaged Rayleigh quotient of $e^{ik\cdot r}$ is $\lambda(k) = \sum_r K(r)e^{ik\cdot r}$, the transform of
$K(r) = \frac1N\sum_i J_{i,i+r}$: the eigenvalue, where J is a convolution. Its real part is the growth rate, its
imaginary part minus the angular frequency. Order and signs are those of `theory.dictionary_spectrum`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from softjax._checks import lattice_of, public, require
from softjax._repr import readable, sides, spread
from softjax._types import Array, Channel, Complex, Configuration, Float, PRNGKeyArray
from softjax.jacobian._channels import on_lattice
from softjax.jacobian._linearise import Drift, as_precise, linearise


class Dispersion(NamedTuple):
    r"""The dispersion of a Jacobian by random probes; each (*lattice), complex, in FFT order and units of 1/t.

    With `channel="block"` each is (*lattice, channels, channels), the channel of the response first.

    * `rates`: $\lambda(k)$, its real part the growth rate, its imaginary part minus the angular frequency;
    * `standard_error`: `.real` and `.imag` are those of the two parts.

    >>> def f(x):
    ...     return -x + 0.2 * sum(jnp.roll(x, s, a) for s in (1, -1) for a in (0, 1))
    >>> found = sj.dispersion(f, jnp.zeros((4, 4)), key=jr.key(0))
    >>> print(np.asarray(found.rates.real[0]).round(3), f"{abs(found.standard_error).max():.3f}")
    [-0.2 -0.6 -1.  -0.6] 0.000
    """

    rates: Complex[Array, "..."]
    standard_error: Complex[Array, "..."]

    @readable
    def __repr__(self) -> list[str]:
        growth, error = (spread(part.real) for part in self)
        return [f"{sides(self.rates.shape)} rates", f"growth {growth} per unit of t", f"standard error {error}"]


@public
def dispersion(
    f: Drift,
    x: Configuration,
    *,
    key: PRNGKeyArray,
    num_probes: int = 16,
    batch_size: int = 16,
    channels: int | None = None,
    channel: Channel = "equal",
) -> Dispersion:
    r"""$\lambda(k)$ of any drift `f` at `x` by random probes, and its standard error, in units of 1/t.

    * `f`: a map of configurations that keeps their shape;
    * `x`: (*lattice), or (*lattice, channels), in units of the data;
    * `key`: probe i depends on the key and i only;
    * `num_probes`: how many, at least 2;
    * `batch_size`: probes at a time, which bounds the memory;
    * `channels`: how many channels the last axis of `x` holds, 0 for none; to be said where the shape does not;
    * `channel`: "equal", the Jacobian of what is equal in all channels, (*lattice); a number, that of one channel;
      "block", all of them as a matrix at each k, (*lattice, channels, channels), whose eigenvalues are those of a
      convolution.

    A probe is real noise z with random phases and $|\hat z(k)|^2 = N$ at every k: $\hat z^*(k)(Jz)^\wedge(k)/N$ has the
    mean $\lambda(k)$, and its variance is the squared length of the k-th row of J in Fourier space without the
    diagonal. A convolution has none: there a probe is exact.

    The standard errors are from the scatter of the probes: few probes have the tails of Student's t. One linearisation
    serves all. Not compiled here, as `mode_response`. Raises `ValueError` for a state that is not finite, a drift of
    another shape, a shape that may be a lattice or have channels, and fewer than two probes.

    >>> def f(x):
    ...     return -x + 0.2 * sum(jnp.roll(x, s, a) for s in (1, -1) for a in (0, 1))
    >>> rates, standard_error = sj.dispersion(f, jnp.zeros((4, 4)), key=jr.key(0), num_probes=4)
    >>> print(np.asarray(rates.real[0]).round(3))
    [-0.2 -0.6 -1.  -0.6]
    """
    lattice = lattice_of("x", x.shape, channels)
    _require_batch(batch_size)
    require(num_probes >= 2, f"num_probes must be at least 2, for a standard error; got {num_probes}.")
    x = as_precise(f, x)
    jacobian = on_lattice(linearise(f, x), channels, channel)

    def estimate(index: Array) -> Array:
        phases = random_phases(jr.fold_in(key, index), lattice, x.dtype)
        z = jnp.fft.ifftn(phases, norm="ortho").real
        response = jnp.fft.fftn(jacobian(z), axes=range(len(lattice)), norm="ortho")
        return jnp.conj(phases).reshape(*lattice, *(1,) * (response.ndim - len(lattice))) * response

    samples = jax.lax.map(estimate, jnp.arange(num_probes), batch_size=batch_size)
    errors = [jnp.std(part, 0, ddof=1) / float(np.sqrt(num_probes)) for part in (samples.real, samples.imag)]
    return Dispersion(jnp.mean(samples, 0), jax.lax.complex(*errors))


def random_phases(key: PRNGKeyArray, shape: Sequence[int], dtype: Any) -> Complex[Array, "..."]:
    """Orthonormal spectrum, of modulus 1, of a real field; the mean and the Nyquist modes are 1 or -1."""
    spectrum = jnp.fft.fftn(jr.normal(key, shape, dtype))
    return spectrum / jnp.abs(spectrum).astype(spectrum.dtype)


@public
def local_dispersion(
    f: Drift,
    x: Configuration,
    radius: int | Sequence[int],
    *,
    batch_size: int = 16,
    channels: int | None = None,
    channel: Channel = "equal",
) -> Complex[Array, "..."]:
    r"""$\lambda(k)$ of a local drift `f` at `x`, exact at every k; (*lattice), in units of 1/t.

    * `f`: a map of configurations that keeps their shape, local;
    * `x`: (*lattice), or (*lattice, channels), in units of the data;
    * `radius`: how far f sees, in sites, along every axis or one number per axis: for a patch field `patch_size // 2`;
    * `batch_size`: products in memory at a time;
    * `channels`, `channel`: as for `local_kernel`, which says the cost and what is refused too.

    `channel="block"` gives (*lattice, channels, channels). What lies beyond is folded into the window, silently;
    `dispersion` assumes no locality and shows it.

    >>> def f(x):
    ...     return -x + 0.2 * sum(jnp.roll(x, s, a) for s in (1, -1) for a in (0, 1))
    >>> print(np.asarray(sj.local_dispersion(f, jnp.zeros((8, 8)), radius=1).real[0, :3]).round(3))
    [-0.2   -0.317 -0.6  ]
    """
    lattice = lattice_of("x", x.shape, channels)
    ndim = len(lattice)
    kernel = local_kernel(f, x, radius, batch_size=batch_size, channels=channels or 0, channel=channel)
    mean = jnp.mean(kernel, axis=tuple(range(ndim, 2 * ndim)))
    places = [_displacements(side, n) % n for side, n in zip(mean.shape[:ndim], lattice, strict=True)]
    whole = jnp.zeros((*lattice, *mean.shape[ndim:]), mean.dtype).at[np.ix_(*places)].set(mean)
    return jnp.conj(jnp.fft.fftn(whole, axes=range(ndim)))


@public
def local_kernel(
    f: Drift,
    x: Configuration,
    radius: int | Sequence[int],
    *,
    batch_size: int = 16,
    channels: int | None = None,
    channel: Channel = "equal",
) -> Float[Array, "..."]:
    r"""The whole Jacobian of a local drift, $K_i(r) = J_{i,i+r}$, as (*window, *lattice), in units of 1/t.

    * `f`: a map of configurations that keeps their shape;
    * `x`: (*lattice), or (*lattice, channels), in units of the data;
    * `radius`: how many sites away `f` sees, along each axis of the lattice or per axis;
    * `batch_size`: products at a time, which bounds the memory;
    * `channels`: how many channels the last axis of `x` holds, 0 for none; to be said where the shape does not;
    * `channel`: "equal", what is equal in all channels; a number, one channel; "block", all of them, as
      (*window, *lattice, channels, channels), the channel of the response first.

    The window has min(2 radius + 1, L) displacements per axis, the zero one at index side // 2. Sites of one colour are
    at least a window apart on the periodic lattice, so that the response to all of them at once, a comb, keeps
    their kernels apart. On L sites $\lceil L/\lfloor L/w\rfloor\rceil$ colours per axis suffice, the fewest possible;
    there is one Jacobian-vector product per colour, `batch_size` at a time.

    Raises `ValueError` for a state that is not finite, a drift of another shape, a shape that may be a lattice or have
    channels, and a radius that does not fit.

    >>> def f(x):
    ...     return -x + 0.2 * sum(jnp.roll(x, s, a) for s in (1, -1) for a in (0, 1))
    >>> kernel = sj.local_kernel(f, jnp.zeros((8, 8)), radius=1)
    >>> print(kernel.shape, np.asarray(kernel[:, :, 0, 0]).round(3)[1])
    (3, 3, 8, 8) [ 0.2 -1.   0.2]
    """
    lattice = lattice_of("x", x.shape, channels)
    _require_batch(batch_size)
    x = as_precise(f, x)
    jacobian = on_lattice(linearise(f, x), channels, channel)
    sides, ndim = _window(radius, lattice), len(lattice)
    colours = [_colours(n, side) for n, side in zip(lattice, sides, strict=True)]
    counts = [int(np.max(colour)) + 1 for colour in colours]

    def response(index: Array) -> Array:
        wanted = jnp.unravel_index(index, counts)
        combs = [(jnp.asarray(c) == w).astype(x.dtype) for c, w in zip(colours, wanted, strict=True)]
        return jacobian(jnp.prod(jnp.stack(jnp.meshgrid(*combs, indexing="ij")), axis=0))

    total = int(np.prod(counts))
    kernel = jax.lax.map(response, jnp.arange(total), batch_size=batch_size)
    kernel = kernel.reshape(*counts, *kernel.shape[1:])
    for axis, (colour, side) in enumerate(zip(colours, sides, strict=True)):
        sites = np.arange(colour.size)
        source = colour[(sites + _displacements(side, colour.size)[:, None]) % colour.size]
        by_colour = jnp.moveaxis(kernel, (axis, ndim + axis), (0, 1))
        kernel = jnp.moveaxis(by_colour[source, sites], (0, 1), (axis, ndim + axis))
    return kernel


def _require_batch(batch_size: int) -> None:
    require(batch_size >= 1, f"batch_size must be at least 1, got {batch_size}.")


def _window(radius: int | Sequence[int], shape: Sequence[int]) -> list[int]:
    """Displacements per axis."""
    radii = [radius] * len(shape) if isinstance(radius, int) else list(radius)
    require(
        len(radii) == len(shape) and all(r >= 0 for r in radii),
        f"radius must be a number of sites, or one for each of the {len(shape)} axes of the lattice; got {radius}.",
    )
    return [min(2 * r + 1, n) for r, n in zip(radii, shape, strict=True)]


def _displacements(side: int, length: int) -> np.ndarray:
    """Displacements of a window, the zero one at index side // 2."""
    assert side <= length
    return np.arange(side) - side // 2


def _colours(length: int, side: int) -> np.ndarray:
    """Colour of each site of a periodic axis; sites of one colour are at least `side` apart.

    The axis is cut into as many blocks of at least `side` sites as fit, of sizes that differ by one at most; the
    colour is the place in the block.
    """
    blocks = length // side
    sizes = length // blocks + (np.arange(blocks) < length % blocks)
    return np.concatenate([np.arange(size) for size in sizes])
