"""The phase diagram of the patch model, as one sweep
==================================================

When order appears, by prior and patch size.

A unit of work is one trajectory on which the growth rate of the uniform mode is watched; the sweep runs it for every
prior, patch size and member, in packs, and keeps what is finished in phase.zarr. Where the mean rate passes zero is the
critical time; beside it stand mean field, exact for each dictionary, and the Hartree closure. Some 40 s on two cores.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import matplotlib.pyplot as plt
import numpy as np

import softjax as sj

SHAPE, PROCESS = (32, 32), sj.VP()
TS = sj.log_grid(t_max=8.0, t_min=1.5, num_steps=150)
UNIFORM = sj.fourier_modes(SHAPE, max_shell=0)
PRIORS, SIZES = np.linspace(0.5, 0.9, 9), (3, 5, 7)


def dictionary(p_global, patch_size):
    return sj.PatchDictionary.ising(patch_size, 4, p_global, key=jr.key(0))


class Watched(sj.sweeps.Unit):
    """A trajectory on which the growth rate of the uniform mode is watched."""

    probe: sj.ModeProbe

    def __call__(self, member, key):
        """The rate at every time of one member."""

        def rate(t, x):
            return self.probe(t, x).rayleigh[0]

        key = jr.fold_in(key, member)
        return {"rate": sj.simulate(self.probe.field, TS, shape=SHAPE, key=key, observe=rate).observed}


def unit(p_global, patch_size):
    padded = dictionary(p_global, patch_size).pad(max(SIZES))  # one program for all sizes
    return Watched(sj.ModeProbe(sj.PatchField(padded, PROCESS), UNIFORM))


sweep = sj.sweeps.Sweep(unit, {"p_global": PRIORS, "patch_size": SIZES}, members=16, key=jr.key(1))
print(sweep.explain())
data = sj.sweeps.run(sweep, "phase.zarr", progress=True)

figure, axis = plt.subplots(figsize=(6.2, 4.6), layout="constrained")
hartree = eqx.filter_jit(lambda patterns: sj.theory.hartree(PROCESS, TS, patterns, SHAPE).critical_time)
for size, color in zip(SIZES, plt.get_cmap("viridis")([0.1, 0.5, 0.8]), strict=True):
    rates = data["rate"].sel(patch_size=size).values  # (prior, member, time)
    points = [sj.zero_crossing(TS, jnp.asarray(curves), key=jr.key(2)) for curves in rates]
    measured = np.asarray([float(point.location) for point in points])
    low, high = np.asarray([point.interval for point in points]).T
    dictionaries = [dictionary(prior, size) for prior in PRIORS]
    mean_field = [float(sj.theory.dictionary_critical_time(one, PROCESS, SHAPE)) for one in dictionaries]
    closed = np.asarray([float(hartree(one)) for one in dictionaries])
    print(f"w = {size}: measured {measured.round(3)}, Hartree {closed.round(3)}, mean field {np.round(mean_field, 3)}")
    axis.errorbar(PRIORS, measured, [measured - low, high - measured], fmt="o", color=color, markersize=4, capsize=2)
    axis.plot(PRIORS, closed, color=color, label=f"w = {size}")
    axis.plot(PRIORS, mean_field, color=color, linestyle=":")
axis.plot([], [], "o", color="0.3", label="measured, 95%")
axis.plot([], [], color="0.3", label="Hartree")
axis.plot([], [], color="0.3", linestyle=":", label="mean field, x = 0")
axis.set(xlabel="prior of the two uniform patterns", ylabel="critical time $t_c$ of the uniform mode")
axis.set_title("order appears earlier (at larger t) for larger patches and priors")
axis.set_ylim(1.4, 5.3)
axis.legend(ncols=2)
figure.savefig("phase_diagram.png", dpi=150)
