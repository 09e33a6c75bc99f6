"""A sweep over the patch size, by jax.vmap
========================================

Fluctuations shift the transition: below mean field, by how much depends on the patch.

Dictionaries of several patch sizes are padded with zeros to one size; sites that are added carry no evidence. Then the
field itself is a batch axis, and one compiled program runs all models and all trajectories at once.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib.pyplot as plt

import softjax as sj

process = sj.VP()
sizes = (3, 5, 7)
ts = sj.log_grid(t_max=8.0, t_min=1.5, num_steps=150)
uniform = sj.fourier_modes((32, 32), max_shell=0)

padded = [sj.PatchDictionary.two_pattern(w).pad(max(sizes)) for w in sizes]
dictionaries = jax.tree.map(lambda *leaves: jnp.stack(leaves), *padded)


@eqx.filter_jit
def growth_rates(dictionaries, key):
    """Rayleigh quotient of the uniform mode, (models, trajectories, times)."""

    def one(dictionary):
        field = sj.PatchField(dictionary, process)

        def observe(t, x):
            return sj.mode_response(lambda x: sj.reverse_drift(field, t, x), x, uniform).rayleigh[0]

        return sj.simulate_ensemble(field, ts, shape=(32, 32), num=16, key=key, observe=observe).observed

    return eqx.filter_vmap(one)(dictionaries)


rates = growth_rates(dictionaries, jr.key(0))

figure, axis = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
for w, curves in zip(sizes, rates, strict=True):
    mean_field = float(sj.theory.critical_time(process, w**2))
    measured = sj.zero_crossing(ts, curves, key=jr.key(1))
    low, high = measured.interval
    print(f"w = {w}: mean field t_c = {mean_field:.3f}, measured {measured.location:.3f} [{low:.3f}, {high:.3f}]")
    (line,) = axis.plot(ts, curves.mean(0), label=f"w = {w}")
    axis.axvline(mean_field, color=line.get_color(), linestyle=":")
axis.axhline(0, color="0.3", linewidth=0.8)
axis.invert_xaxis()
axis.set(xlabel="diffusion time t", ylabel="growth rate of the uniform mode (1/t)")
axis.legend(title="dotted: mean field")
figure.savefig("patch_size_sweep.png", dpi=150)
