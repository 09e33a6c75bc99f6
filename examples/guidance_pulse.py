"""When does guidance act?
=======================

The class of images is pushed in a short window of noise levels, at one level after another.

The small EDM2 that ships with softjax draws shirts from the same starts; only the centre of the pulse differs. Any
two fields of one process can guide each other: `sj.GuidedField(field, guide, weight)`.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib.pyplot as plt
import numpy as np

import softjax as sj
from softjax.convert import load_module, load_network, shipped

SHIRT = 6
field, null = (load_network(shipped("edm2-fashion"), label) for label in (SHIRT, None))
classifier = load_module(shipped("classifier-grey"))
ts = sj.karras_grid(sigma_max=80.0, sigma_min=0.01, num_steps=12)


@jax.jit
def draw(weight):
    """Eight shirts, and how probable the classifier finds them to be shirts."""
    guided = sj.GuidedField(field, null, weight)
    images = sj.heun_ensemble(guided, ts, num=8, key=jr.key(0), shape=(32, 32, 1)).x[..., 0]
    logits = jax.vmap(classifier)(jnp.clip(images[:, 2:30, 2:30], -1, 1))
    return images, jax.nn.softmax(logits)[:, SHIRT].mean()


centers = np.geomspace(50.0, 0.05, 7)
pulses = [sj.pulse(center, width=1.0, strength=5.0, edges="smooth").with_dose(4.0, ts) for center in centers]
unguided, probability = draw(sj.pulse(1.0, width=1.0, strength=1.0, edges="smooth"))
drawn = [draw(pulse) for pulse in pulses]
best = int(np.argmax([score for _, score in drawn]))

figure, (top, middle, curve) = plt.subplots(1, 3, figsize=(12, 3), layout="constrained", width_ratios=[1.3, 1.3, 1])
for axis, images, title in ((top, unguided, "no guidance"), (middle, drawn[best][0], f"pulse at {centers[best]:.2g}")):
    axis.imshow(np.concatenate(np.concatenate(np.reshape(images, (2, 4, 32, 32)), axis=1), axis=1), cmap="gray")
    axis.set(xticks=[], yticks=[], title=title)
curve.semilogx(centers, [score for _, score in drawn], "o-", label="pulses of equal dose")
curve.axhline(probability, color="0.4", linestyle="--", label="no guidance")
curve.invert_xaxis()
curve.set(xlabel=r"centre of the pulse $\sigma$  (noise to the left)", ylabel="probability of the class")
curve.margins(y=0.4)
curve.legend()
figure.savefig("guidance_pulse.png", dpi=150)
print(f"shirt: {probability:.2f} without guidance, {drawn[best][1]:.2f} with a pulse at sigma = {centers[best]:.2g}")
