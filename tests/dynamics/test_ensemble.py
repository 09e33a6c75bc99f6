import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import assert_close

import softjax as sj

DICTIONARY = sj.PatchDictionary.ising(patch_size=3, num_random=1, p_global=0.7, ndim=1, key=jr.key(3))
FIELD = sj.PatchField(DICTIONARY, sj.VP())
TS = sj.log_grid(4.0, 0.05, 40)


def magnetisation(t, x):
    return jnp.mean(x)


def ensemble(num, chunk=None, **options):
    options = {"shape": (30,), "observe": magnetisation} | options
    trajectories = sj.simulate_ensemble(FIELD, TS, key=jr.key(11), num=num, chunk=chunk, **options)
    return trajectories.x, trajectories.observed


@pytest.fixture(scope="module")
def eight():
    return ensemble(8)


def test_members_are_single_trajectories_of_folded_keys():
    ends, observed = ensemble(3)
    for i in (0, 2):
        one = sj.simulate(FIELD, TS, shape=(30,), key=jr.fold_in(jr.key(11), i), observe=magnetisation)
        assert_close((ends[i], observed[i]), (one.x, one.observed), loosen=20)  # another batch, another rounding


@pytest.mark.float32
@pytest.mark.parametrize(("num", "chunk"), [(1, None), (3, 2), (8, 1), (8, 3), (8, 20)])
def test_trajectory_depends_on_its_key_whatever_the_batch(eight, num, chunk):
    for got, want in zip(ensemble(num, chunk), eight, strict=True):
        if jax.default_backend() == "cpu":
            np.testing.assert_array_equal(got, want[:num])
        else:
            assert_close(got, want[:num], loosen=20)  # other kernels for other batches


def test_members_differ(eight):
    ends, observed = eight
    assert np.unique(np.asarray(ends)[:, 0]).size == 8
    assert observed.shape == (8, 41)


def test_chunks_of_given_starts_are_the_starts_own():
    x0 = jr.normal(jr.key(0), (3, 30))
    ends, _ = ensemble(3, chunk=2, shape=None, x0=x0)
    for i in range(3):
        one = sj.simulate(FIELD, TS, x0=x0[i], key=jr.fold_in(jr.key(11), i), observe=magnetisation)
        assert_close(ends[i], one.x, loosen=20)


@pytest.mark.parametrize(("process", "scale"), [(sj.VP(), 1.0), (sj.VP.linear(), 1.0), (sj.EDM(), 80.0)])
def test_trajectories_start_from_the_noise_of_the_process(process, scale):
    field, ts = sj.EmpiricalField(np.ones((2, 200, 100)), process), sj.log_grid(scale, 0.5, 2)
    start = sj.simulate(field, ts, shape=(200, 100), key=jr.key(0), observe=lambda t, x: x).observed[0]
    assert abs(np.mean(start)) < 4 * scale / np.sqrt(20_000)
    assert abs(np.std(start) / scale - 1) < 4 / np.sqrt(2 * 20_000)
