"""A first reverse trajectory: noise becomes domains
=================================================

The patch model sees each site's 5 x 5 neighbourhood and nothing else, yet its reverse diffusion grows domains much
larger than a patch. The state is not stored on the way: `observe` says what to keep.
"""

import jax.random as jr
import matplotlib.pyplot as plt

import softjax as sj

process = sj.VP(beta=1.0)
dictionary = sj.PatchDictionary.ising(patch_size=5, num_random=4, p_global=0.8, key=jr.key(0))
field = sj.PatchField(dictionary, process)
ts = sj.log_grid(t_max=6.0, t_min=1e-3, num_steps=400)


def observe(t, x):
    return {"length": sj.correlation_length(sj.binarize(x)), "magnetisation": sj.magnetisation(x)}


trajectory = sj.simulate(field, ts, shape=(64, 64), key=jr.key(1), observe=observe)

for index in range(0, 401, 80):
    print(f"t = {ts[index]:7.4f}   correlation length {trajectory.observed['length'][index]:5.2f} sites")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
left.semilogx(ts, trajectory.observed["length"], color="black")
left.invert_xaxis()
left.set(xlabel="diffusion time t", ylabel="correlation length (sites)")
right.imshow(trajectory.x, cmap="RdBu_r")
right.set(title=f"t = {ts[-1]:.3g}", xticks=[], yticks=[])
figure.savefig("first_trajectory.png", dpi=150)
