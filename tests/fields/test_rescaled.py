import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj

pytestmark = pytest.mark.float32

SHAPE = (4, 5)
PROCESSES = [sj.VP(1.5), sj.VP.linear(), sj.VP.cosine(), sj.EDM()]


def gaussian(process):
    return sj.GaussianField(jnp.full(SHAPE, 0.5, FLOAT), process, mean=0.4)


@pytest.mark.parametrize("process", PROCESSES, ids=str)
@pytest.mark.parametrize("of", PROCESSES, ids=str)
def test_it_is_the_field_that_knows_the_process_by_itself(process, of):
    x = jr.normal(jr.key(0), SHAPE, FLOAT)
    rescaled, direct = sj.RescaledField(gaussian(of), process), gaussian(process)
    for t in (0.02, 0.4, 0.9):
        assert_close(rescaled.denoise(t, x), direct.denoise(t, x), loosen=32)
        assert_close(rescaled.score(t, x), direct.score(t, x), loosen=200)


def test_rescaling_twice_gives_the_field_back():
    x = jr.normal(jr.key(0), SHAPE, FLOAT)
    there = sj.RescaledField(gaussian(sj.VP()), sj.EDM())
    assert_close(sj.RescaledField(there, sj.VP()).denoise(0.7, x), gaussian(sj.VP()).denoise(0.7, x), loosen=32)


def test_a_vp_field_is_sampled_by_heun_with_churn():
    """Gaussian data of variance 1/2 and mean 0.4: 4000 sites in 200 samples, errors of 0.011 of both."""
    field, ts = sj.RescaledField(gaussian(sj.VP()), sj.EDM()), sj.karras_grid(50.0, 0.002, 40)
    draw = jax.jit(lambda key: sj.heun_ensemble(field, ts, key=key, num=200, shape=SHAPE, churn=sj.Churn(10.0)).x)
    x = np.asarray(draw(jr.key(1)), float)
    assert abs(np.mean(x) - 0.4) < 0.035
    assert abs(np.var(x) - 0.5) < 0.035
