"""Exact mode responses against the paper's finite differences
===========================================================

A finite difference needs a step, and every step is wrong in one of two ways: too small and rounding dominates, too
large and the posterior bends. A Jacobian-vector product has no step.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib.pyplot as plt

import softjax as sj

field = sj.PatchField(sj.PatchDictionary.ising(key=jr.key(0)), sj.VP())
modes = sj.fourier_modes((64, 64), max_shell=6)
t, x = 2.0, jr.normal(jr.key(1), (64, 64))


def drift(x):
    return sj.reverse_drift(field, t, x)


exact = jax.jit(lambda x: sj.mode_response(drift, x, modes))(x)
differences = jax.jit(lambda x, step: sj.mode_response(drift, x, modes, "finite_difference", step))

steps = jnp.logspace(-4, 2, 25)
errors = [float(jnp.max(jnp.abs(differences(x, step).rayleigh - exact.rayleigh))) for step in steps]
best = min(range(len(errors)), key=errors.__getitem__)
print(f"Rayleigh quotients of shells 0..6: {exact.rayleigh}")
print(f"best step {steps[best]:.2g}: error {errors[best]:.1e}; the exact value takes no step at all")

figure, axis = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
axis.loglog(steps, errors, "o-", color="black")
axis.set(xlabel="finite-difference step (units of the state)", ylabel="largest error over the shells (1/t)")
figure.savefig("exact_or_finite_difference.png", dpi=150)
