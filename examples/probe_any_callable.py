"""Mode responses of any drift, or of a denoiser of your own
=========================================================

`mode_response` takes a function from one configuration to a drift. Here the denoiser is a hand-made one, which
softjax knows nothing about: it blurs, then saturates. Its soft mode is not the uniform one.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib.pyplot as plt

import softjax as sj

process = sj.VP()
modes = sj.fourier_modes((48, 48), max_shell=12)


def my_denoiser(t, x):
    """Couples sites at distance 4 along the axes with a negative sign: it prefers stripes."""
    neighbours = sum(jnp.roll(x, step, axis) for axis in (0, 1) for step in (-4, 4))
    return jnp.tanh((process.alpha(t) / process.sigma(t) ** 2) * (2 * x - neighbours))


def drift(t, x):
    score = (process.alpha(t) * my_denoiser(t, x) - x) / process.sigma(t) ** 2
    return process.beta(t) * (0.5 * x + score)


@jax.jit
def growth_rates(t, x):
    return sj.mode_response(lambda x: drift(t, x), x, modes).rayleigh


x = 0.1 * jr.normal(jr.key(0), (48, 48))
figure, axis = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
for t in (3.0, 2.0, 1.2):
    rates = growth_rates(t, x)
    softest = int(jnp.argmax(rates))
    print(
        f"t = {t}: softest shell n = {softest}, wavelength {48 / max(softest, 1):.1f} sites, {rates[softest]:+.3f} / t"
    )
    axis.plot(modes.wavenumbers, rates, "o-", label=f"t = {t}")
axis.axhline(0, color="0.3", linewidth=0.8)
axis.set(xlabel="wavenumber k (rad / site)", ylabel="growth rate (1/t)")
axis.legend()
figure.savefig("probe_any_callable.png", dpi=150)
