"""The Ginzburg-Landau equation beside the patch model it stands for
=================================================================

One cell of the Landau field is one 5 x 5 patch. Its coefficients follow the process in time; they come from the
patch score, projected on a cubic at the fluctuations that the Hartree closure predicts. Domains and structure factors
of the two models are then alike, far beyond the transition, for waves longer than a few patches.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib.pyplot as plt

import softjax as sj

process, w, length = sj.VP(), 5, 240
cells = length // w
ts = sj.log_grid(t_max=8.0, t_min=0.2, num_steps=200)
chosen = (50, 100, 150)

field = sj.PatchField(sj.PatchDictionary.two_pattern(w), process)
model = sj.theory.LandauModel(process, w, spacing=w, hartree=sj.theory.hartree(process, ts, w, (60, 60)))


def patch_observer(t, x):
    return sj.radial_average(sj.structure_factor(x))


def landau_observer(t, x):
    return sj.radial_average(w**2 * sj.structure_factor(x))  # of a mean over w^2 sites, per site


patch = sj.simulate_ensemble(field, ts, shape=(length, length), num=3, key=jr.key(0), observe=patch_observer)


@jax.jit
@jax.vmap
def landau(key):
    key_start, key_noise = jr.split(key)
    x0 = jr.normal(key_start, (cells, cells)) / w
    return sj.dynamics.simulate_landau(model, ts, x0=x0, key=key_noise, observe=landau_observer)


continuum = landau(jr.split(jr.key(1), 12))

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
left.imshow(patch.x[0], cmap="RdBu_r", vmin=-1.5, vmax=1.5)
middle.imshow(continuum.x[0], cmap="RdBu_r", vmin=-1.5, vmax=1.5)
for axis, name in ((left, "patch model"), (middle, "Ginzburg-Landau, one cell per patch")):
    axis.set(title=f"{name}, t = {ts[-1]:.2g}", xticks=[], yticks=[])
shells = jnp.arange(1, cells // 3)
for number, index in enumerate(chosen):
    sites, field_mean = (jnp.mean(run.observed[:, index], axis=0)[shells] for run in (patch, continuum))
    print(
        f"t = {ts[index]:.2f}   S(k -> 0): patch {sites[:4].mean():5.2f}   Ginzburg-Landau {field_mean[:4].mean():5.2f}"
    )
    k = 2 * jnp.pi * shells / length
    right.semilogy(k, sites, color=f"C{number}", label=f"t = {ts[index]:.2g}")
    right.semilogy(k, field_mean, color=f"C{number}", linestyle="--")
right.set(xlabel="wavenumber k (rad / site)", ylabel="structure factor S(k)", ylim=(1, 300))
right.legend(title="solid: patch model\ndashed: Ginzburg-Landau", loc="upper right")
figure.savefig("ginzburg_landau.png", dpi=150)
