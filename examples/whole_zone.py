"""Every wavevector at once, and the modes a snapshot has of its own
=================================================================

A state along a reverse trajectory is not uniform, so that plane waves are not eigenvectors of the Jacobian. Three
questions, each answered by a few Jacobian-vector products: how fast does every plane wave grow (all of J by coloured
combs, or an estimate by random probes that assumes no locality), how far is it from an eigenvector, and which are the
eigenvectors?
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib.pyplot as plt
import numpy as np

import softjax as sj

dictionary = sj.PatchDictionary.ising(key=jr.key(0))
field = sj.PatchField(dictionary, sj.VP())
t, shape = 3.0, (64, 64)
ts = sj.log_grid(t_max=6.0, t_min=t, num_steps=100)
x = sj.simulate(field, ts, shape=shape, key=jr.key(1)).x
modes = sj.fourier_modes(shape, max_shell=6)


@jax.jit
def whole_zone(x):
    def drift(x):
        return sj.reverse_drift(field, t, x)

    exact = sj.local_dispersion(drift, x, radius=2)
    probed = sj.dispersion(drift, x, key=jr.key(2), num_probes=64)
    own = sj.leading_modes(drift, x, num=6, key=jr.key(3))
    return exact, probed, sj.mode_leakage(drift, x, modes), own


exact, probed, leak, own = whole_zone(x)
symmetric_point = sj.theory.dictionary_spectrum(dictionary, sj.VP(), t, shape)
content = jax.vmap(sj.spectral_content)(own.vectors)

print(
    f"growth rate of the uniform mode: {exact[0, 0].real:.4f}, at the symmetric point {symmetric_point[0, 0].real:.4f}"
)
inside = np.mean(np.abs((probed.rates - exact).real) < 2 * probed.standard_error.real)
print(f"64 random probes: {100 * inside:.1f}% of {x.size} wavevectors within two standard errors of the exact value")
residuals = np.asarray(modes.shell_mean(leak.direction_residual))
print(f"what plane waves of shells 0..6 lose to other wavevectors (1/t): {np.round(residuals, 2)}")
for value, residual, power in zip(own.values, own.residuals, content, strict=True):
    print(f"eigenvalue {value:.4f}, residual {residual:.0e}, strongest shell {int(jnp.argmax(power))}")

figure, (zone, cut, mode) = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
half = np.pi * (1 + 1 / shape[0])
picture = zone.imshow(
    np.fft.fftshift(np.asarray(exact.real)).T, origin="lower", extent=(-half, half, -half, half), cmap="viridis"
)
figure.colorbar(picture, ax=zone, label="growth rate Re λ(k) (1/t)")
zone.set(xlabel="$k_1$ (radians per site)", ylabel="$k_2$ (radians per site)", title="snapshot, every wavevector")

k = 2 * np.pi * np.arange(33) / 64
cut.plot(k, symmetric_point.real[:33, 0], color="0.6", label="x = 0, closed form")
cut.plot(k, exact.real[:33, 0], color="black", label="snapshot, exact")
cut.errorbar(k, *(part.real[:33, 0] for part in probed), fmt=".", label="64 random probes")
cut.axhline(0, color="0.3", linewidth=0.8)
cut.set(xlabel="$k_1$ at $k_2 = 0$ (radians per site)", ylabel="growth rate (1/t)", title="cut through the zone")
cut.legend()

leading = np.asarray(own.vectors[0].real)
bound = np.max(np.abs(leading))
mode.imshow(leading.T, origin="lower", cmap="RdBu", vmin=-bound, vmax=bound)
mode.set(title=f"leading eigenvector, λ = {own.values[0].real:.3f}", xticks=[], yticks=[])
figure.savefig("whole_zone.png", dpi=150)
