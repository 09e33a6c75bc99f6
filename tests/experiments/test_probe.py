"""Any denoiser under the microscope: the same numbers as the experiments on our networks, and any kind of target."""

import sys
from dataclasses import replace
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import xarray as xr
from flax import nnx
from helpers import assert_close

import softjax as sj
from softjax import cli
from softjax.convert import save_network
from softjax.experiments import edm2, fashion, load_results, probe
from softjax.experiments._shared import target
from softjax.experiments.configs import EDM2Config, FashionConfig, NoiseGrid, Probe, ProbeConfig, TimeGrid
from softjax.experiments.probe.study import softness
from softjax.networks import EDM2, UNet, UNetConfig
from softjax.networks import EDM2Config as NetworkConfig
from softjax.spectral import free_field_spectrum

pytestmark = pytest.mark.slow

TINY = Probe(max_shell=2, num_fit_shells=2)
SMALL = ProbeConfig(num_trajectories=2, num_steps=5, num_zone_times=2, num_states=1, num_modes=2, probe=TINY)
SMALL_OPTIONS = ["--num-trajectories", "2", "--num-steps", "4", "--probe.max-shell", "2", "--probe.num-fit-shells", "2"]
SMALL_OPTIONS += ["--num-zone-times", "2", "--num-states", "1", "--num-modes", "1"]
SHARED = ("correlation_length", "magnetisation", "rayleigh", "magnitude", "equilibrium_length", "final_state")


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unet")
    network = UNet(UNetConfig(widths=(8, 8), num_middle_blocks=1, embedding_size=16), rngs=nnx.Rngs(0))
    save_network(folder, network, sj.VP(1.0), "noise", {"training": {"t_max": 8.0, "variant": "binary"}})
    return str(folder)


@pytest.fixture(scope="module")
def edm2_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edm2")
    config = NetworkConfig(
        img_resolution=8, img_channels=3, label_dim=4, model_channels=8, channel_mult=(1,), num_blocks=1
    )
    save_network(folder, EDM2(config, rngs=nnx.Rngs(0)), sj.EDM(0.5), "denoiser")
    return str(folder)


def test_our_u_net_gives_the_numbers_of_its_own_experiment(unet):
    config = FashionConfig(
        weights=unet,
        grid_size=8,
        num_trajectories=2,
        num_equivariance_times=0,
        time=TimeGrid(t_max=8.0, num_steps=5),
        probe=TINY,
        seed=3,
    )
    wanted = fashion.run(config)
    found = probe.run(replace(SMALL, target=unet, shape=(8, 8), seed=3, num_zone_times=0, num_modes=0))
    assert "No Gaussian null is known" in fashion.findings(wanted, fashion.summary(wanted))
    assert_close(found["time"].values, wanted["time"].values)
    for name in SHARED:
        assert_close(found[name].values, wanted[name].values)


@pytest.fixture(scope="module")
def probed_edm2(edm2_folder):
    return probe.run(replace(SMALL, target=edm2_folder, num_trajectories=3))


def test_an_edm2_network_gives_the_numbers_of_its_own_experiment(edm2_folder, probed_edm2):
    wanted = edm2.run(EDM2Config(weights=edm2_folder, num_trajectories=3, noise=NoiseGrid(num_steps=5), probe=TINY))
    np.testing.assert_array_equal(probed_edm2["label"], [0, 1, 2])
    for name in SHARED:
        assert_close(probed_edm2[name].values, wanted[name].values)


def test_colours_have_their_zone_modes_and_figure(probed_edm2, tmp_path):
    data = probed_edm2
    assert data["zone_rate"].dims == ("state", "equivariance_time", "ky", "kx")
    assert data["leading_mode"].dims == ("state", "rank", "y", "x", "channel")
    np.testing.assert_allclose(data["leading_content"].sum("wave_shell"), 1, rtol=1e-5)
    assert float(data["leading_residual"].max()) < 1e-3 * float(np.abs(data["leading_rate"]).max())
    rows = probe.summary(data)
    assert len({row.name for row in rows}) == len(rows)
    assert {"leakage of shell 1", "reach of the denoiser"} <= {row.name for row in rows}
    assert "of those of noise alone" in probe.findings(data, rows)
    probe.figure(data).savefig(tmp_path / "probe.png")


def test_a_gaussian_field_softens_as_its_spectrum_says():
    """The response of shell n is |a - w/sigma^2 (1 - g)|, g = alpha^2 S / (alpha^2 S + sigma^2), whatever the state."""
    spectrum = free_field_spectrum((8, 8), 0.2, 1.0)
    field, ts = sj.GaussianField(spectrum, sj.VP()), sj.log_grid(4.0, 0.05, 12)
    data = sj.probe(field, ts, key=jr.key(0), shape=(8, 8), num=2, max_shell=2, num_zone_times=2, num_states=1)
    process, t = field.process, jnp.asarray(data["time"].values)
    functions = (process.alpha, process.sigma, process.drift_weight, process.damping)
    alpha, sigma, weight, damping = (np.asarray(jax.vmap(function)(t)) for function in functions)
    for shell in (0, 1, 2):
        power = float(spectrum[shell, 0])
        gain = alpha**2 * power / (alpha**2 * power + sigma**2)
        exact = damping - weight / sigma**2 * (1 - gain)
        assert_close(data["magnitude"].sel(shell=shell).values[0], np.abs(exact))
    assert_close(data["free_response"].values, np.abs(damping - weight / sigma**2))
    np.testing.assert_allclose(softness(data)[0, 2], 1, atol=0.1)
    assert float(data["leakage"].max()) < 1e-3
    uniform = data["leading_mode"].values[0, 0]
    assert_close(np.abs(uniform), np.full((8, 8), 1 / 8))


def test_a_gaussian_field_is_all_null():
    """Held against itself it has no excess; its own few samples give a null that softens less."""
    field, ts = sj.GaussianField(free_field_spectrum((16, 16), 0.05, 1.0), sj.VP()), sj.log_grid(6.0, 0.2, 40)
    ask = {"key": jr.key(0), "shape": (16, 16), "num": 16, "num_modes": 0, "num_zone_times": 0}
    data = sj.probe(field, ts, **ask, null_field=field)
    rows = {row.name: row for row in probe.summary(data)}
    assert rows["peak minus the null's"].value == pytest.approx(0, abs=1e-3)
    assert rows["xi_eq minus the null's at the peak"].value == pytest.approx(0, abs=1e-3)
    own = sj.probe(field, ts, **ask)
    assert own.attrs["null"] == "covariance of its own 16 samples, shrunk"
    assert_close(data["null_magnitude"].values, data["magnitude"].values[0])
    assert float(own["null_length"].max()) < float(data["null_length"].max())  # shrunk towards white data


def test_an_edm2_network_s_null_is_that_of_its_own_samples(probed_edm2):
    assert probed_edm2.attrs["null"] == "covariance of its own 3 samples, shrunk"
    assert probed_edm2["null_magnitude"].dims == ("time", "shell")
    assert "which has no patterns" in probe.findings(probed_edm2, probe.summary(probed_edm2))


@pytest.mark.parametrize(
    ("shape", "channels", "dims"),
    [((16,), 0, ("x",)), ((12, 2), 2, ("x", "channel")), ((6, 6, 6), 0, ("z", "y", "x")), ((8, 6, 1), 1, None)],
)
def test_lattices_of_any_dimension_are_probed_and_drawn(shape, channels, dims, tmp_path):
    field = sj.NetworkField(lambda t, x: x / (1 + t**2), sj.EDM(), "denoiser", channels=channels)
    ts = sj.karras_grid(5.0, 0.1, 4)[:-1]
    data = sj.probe(field, ts, key=jr.key(1), shape=shape, num=2, max_shell=2, num_zone_times=2, num_modes=2)
    assert data["final_state"].shape == (2, *shape)
    assert data["final_state"].dims == ("trajectory", *(dims or ("y", "x", "channel")))
    np.testing.assert_allclose(data["effective_radius"], 0, atol=1e-4)  # the field acts on each site alone
    probe.figure(data).savefig(tmp_path / "probe.png")
    assert probe.findings(data, probe.summary(data))


MODULE = """
import equinox as eqx, flax.linen as linen, jax, jax.numpy as jnp, jax.random as jr
from flax import nnx
import softjax as sj

class Linen(linen.Module):
    @linen.compact
    def __call__(self, x, t):
        return linen.Conv(1, (3, 3), padding="CIRCULAR", param_dtype=float)(x) + t

variables = Linen().init(jr.key(0), jnp.zeros((1, 8, 8, 1)), 1.0)
from_linen = jax.tree_util.Partial(lambda v, t, x: Linen().apply(v, x[None, ..., None], t)[0, ..., 0], variables)
conv = nnx.Conv(1, 1, (3, 3), padding="CIRCULAR", param_dtype=float, rngs=nnx.Rngs(0))
from_nnx = sj.NetworkField(lambda t, x: conv(x[..., None])[..., 0], sj.RectifiedFlow(), "flow")
from_equinox = eqx.nn.Lambda(lambda x: 0.5 * x)
def field():
    return sj.NetworkField(lambda t, x: from_equinox(x), sj.EDM(), "denoiser")
number = 3
"""
WITH_TORCH = """
import torch

class Torch(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 1, 3, padding="same", padding_mode="circular")
    def forward(self, x, t):
        return self.conv(x) + t[:, None, None, None]

from_torch = Torch().eval()
"""
needs_torch = pytest.mark.skipif(find_spec("torchax") is None, reason="needs torchax (make torch)")


@pytest.fixture
def models(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text(MODULE + WITH_TORCH * (find_spec("torchax") is not None))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("my_models", None)


@pytest.mark.parametrize(
    ("name", "sampler"),
    [
        ("from_linen", "sde"),
        ("from_nnx", "flow"),
        ("field", "heun"),
        pytest.param("from_torch", "sde", marks=needs_torch),
    ],
)
def test_models_of_any_framework_are_probed_by_one_command(models, name, sampler, capsys):
    cli.main(["probe", f"my_models:{name}", *SMALL_OPTIONS, "--shape", "8", "8", "--out", name])
    assert "of those of noise alone" in capsys.readouterr().out
    data = load_results(models / name)
    assert data.attrs["sampler"] == sampler
    assert data["final_state"].shape == (2, 8, 8)
    assert (models / name / "probe.png").exists()


@needs_torch
def test_a_folder_of_diffusers_is_probed_by_one_command(tmp_path, monkeypatch, capsys):
    diffusers = pytest.importorskip("diffusers")
    network = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        num_class_embeds=2,
    )
    network.save_pretrained(tmp_path / "model" / "unet")
    diffusers.DDPMScheduler().save_pretrained(tmp_path / "model" / "scheduler")
    monkeypatch.chdir(tmp_path)
    cli.main(["probe", "model", *SMALL_OPTIONS, "--num-zone-times", "0", "--num-modes", "0", "--out", "out"])
    assert "of those of noise alone" in capsys.readouterr().out
    data = load_results(tmp_path / "out")
    np.testing.assert_array_equal(data["label"], [0, 1])
    assert data["final_state"].shape == (2, 8, 8, 3)
    assert data.attrs["sampler"] == "sde"
    assert 0 < float(data["time"][-1]) < float(data["time"][0]) <= 999


def test_edited_source_is_another_target(models):
    config = replace(SMALL, target="my_models:from_equinox", process="edm", prediction="denoiser", shape=(8, 8))
    before = probe.STUDY.weights(config)
    sys.modules.pop("my_models")
    (models / "my_models.py").write_text(MODULE.replace("0.5 * x", "0.25 * x"))
    assert probe.STUDY.weights(replace(config, num_steps=6)) == before  # one process keeps what it has imported
    target._of_name.cache_clear()
    assert probe.STUDY.weights(config) != before


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"target": "nowhere"}, FileNotFoundError, "no folder, no network that ships, and not of the form"),
        ({"target": "no_such_module:f"}, FileNotFoundError, "there is no module no_such_module"),
        ({"target": "my_models:nothing"}, ValueError, "my_models has no nothing"),
        ({"target": "my_models:number"}, ValueError, r"is a int: wanted a field, or a callable \(t, x\)"),
        ({"target": "my_models:from_linen"}, ValueError, "does not say its lattice: give --shape"),
        ({"target": "my_models:from_linen", "process": "ve"}, ValueError, "process must be vp, edm, flow, ddpm"),
        ({"target": "my_models:from_linen", "shape": (8, 8, 3)}, ValueError, "may hold channels: give --channels"),
        ({"target": "edm2-fashion", "channels": 3}, ValueError, "--channels 3 does not fit the target, which has 1"),
        ({"target": "edm2-fashion", "labels": (11,)}, ValueError, "labels must lie between 0 and 9"),
        ({"target": "fashion-binary", "labels": (1,)}, ValueError, "unconditional"),
        ({"target": "fashion-binary", "t_max": 20.0}, ValueError, "was trained on times up to 8.0, not 20.0"),
        ({"target": "fashion-binary", "t_max": 1.0, "t_min": 2.0}, ValueError, "t_min"),
    ],
)
def test_what_makes_no_sense_is_said(models, changes, error, message):
    with pytest.raises(error, match=message):
        probe.STUDY.unit(replace(SMALL, **changes))


@needs_torch
def test_a_folder_without_a_model_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no config\.json"):
        probe.STUDY.unit(replace(SMALL, target=str(tmp_path)))


def test_a_probe_is_resumed_from_its_folder(tmp_path):
    field = sj.GaussianField(free_field_spectrum((8, 8), 0.2, 1.0), sj.VP())
    ask = {"key": jr.key(0), "shape": (8, 8), "num": 2, "num_modes": 1, "num_zone_times": 1}
    first = sj.probe(field, sj.log_grid(4.0, 0.1, 5), **ask, path=tmp_path / "data")
    again = sj.probe(field, sj.log_grid(4.0, 0.1, 5), **ask, path=tmp_path / "data")
    xr.testing.assert_identical(first, again)
    with pytest.raises(FileExistsError, match="another configuration"):
        sj.probe(field, sj.log_grid(4.5, 0.1, 5), **ask, path=tmp_path / "data")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (8, 8, 3)}, "two shells at least"),
        ({"shape": (8, 8, 3), "channels": 3}, "channels=3 does not fit GaussianField, which has channels=0"),
        ({"shape": (2, 2)}, "a probe needs two shells at least"),
        ({"num": 0}, "members must be a whole number"),
        ({"sampler": "heun"}, "heun is the sampler of an EDM process, not of VP"),
        ({"labels": (1.5,)}, "labels"),
    ],
)
def test_the_function_refuses_what_does_not_fit(changes, message):
    field = sj.GaussianField(free_field_spectrum((8, 8), 0.2, 1.0), sj.VP())
    with pytest.raises(ValueError, match=message):
        sj.probe(field, sj.log_grid(4.0, 0.1, 5), **{"key": jr.key(0), "shape": (8, 8), **changes})
