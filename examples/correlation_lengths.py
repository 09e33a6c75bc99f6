"""Which correlation length? Estimators beside an exact value
==========================================================

The free lattice field has a correlation length that is known, so estimators can be judged. The first moment, the
paper's, is a measure of domains in one picture and no estimate of the length. The second moment and the plateau of the
effective mass of the plane-averaged correlator agree with the exact value within their errors.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib.pyplot as plt

import softjax as sj

side = 32
exact = (2.0, 3.0, 4.0)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
rows = []
for number, length in enumerate(exact):
    spectrum = sj.spectral.free_field_spectrum((side, side), mass=1.0, stiffness=length**2)
    fields = jax.vmap(lambda key, s=spectrum: sj.spectral.gaussian_random_field(s, key=key))(
        jr.split(jr.key(number), 400)
    )
    first = jnp.mean(jax.vmap(lambda x: sj.correlation_length(sj.binarize(x)))(fields))
    second, second_error = sj.second_moment_length(jax.vmap(sj.structure_factor)(fields))
    correlators = jax.vmap(lambda x: sj.plane_correlation(x, connected=False))(fields)
    plane = sj.plane_correlation_length(correlators, (int(length / 2), int(3 * length)))
    rows.append((first, second, second_error, plane.length, plane.standard_error))
    print(
        f"exact {length:g}: first moment {first:.2f}, second moment {second:.2f}({second_error:.2f}), "
        f"plane-averaged {plane.length:.2f}({plane.standard_error:.2f})"
    )
    distances = jnp.arange(10)
    left.errorbar(
        distances, plane.effective_mass[:10], plane.mass_error[:10], fmt="o", markersize=3, color=f"C{number}"
    )
    # The lattice's own relation between the exponential and the length of the free field.
    mass = 2 * jnp.arcsinh(1 / (2 * length))
    left.axhline(mass, color=f"C{number}", linewidth=0.9, label=f"exact length {length:g}")
left.set(xlabel="distance r (sites)", ylabel="effective mass (1/site)", ylim=(0, 0.7))
left.legend()
first, second, second_error, plane, plane_error = jnp.asarray(rows).T
right.plot([0, 5], [0, 5], color="0.6", linewidth=0.9)
right.plot(exact, first, "s", color="0.4", label="first moment of the signs")
right.errorbar(exact, second, second_error, fmt="o", color="C0", label="second moment", capsize=3)
right.errorbar(exact, plane, plane_error, fmt="x", color="C3", label="plane-averaged, plateau", capsize=3)
right.set(xlabel="exact length (sites)", ylabel="estimate (sites)", ylim=(0, 5))
right.legend()
figure.savefig("correlation_lengths.png", dpi=150)
