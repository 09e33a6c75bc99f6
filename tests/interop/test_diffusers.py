"""Pipelines of diffusers in a folder: parity with diffusers itself on random weights."""

import importlib.util
import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT, X64

import softjax as sj
from softjax.interop._schedulers import schedule

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("torchax", "diffusers"))), reason="needs torchax and diffusers"
    ),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

CLOSE = 1e-9 if X64 else 1e-5
ROUNDED = 1e-6 if X64 else 1e-5  # diffusers rounds its sinusoids to single precision: the last bit may differ
DTYPE = torch.float64 if X64 else torch.float32
PLAIN = {
    **{"sample_size": 8, "in_channels": 2, "out_channels": 2, "layers_per_block": 1, "norm_num_groups": 4},
    **{"block_out_channels": (8, 16), "down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2},
    "add_attention": False,
}
ATTENTION = {
    **{"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")},
    **{"add_attention": True, "attention_head_dim": 4},
}
CONSISTENCY = {
    **{"down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"), "attention_head_dim": 8},
    **{"up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"), "resnet_time_scale_shift": "scale_shift"},
    **{"downsample_type": "resnet", "upsample_type": "resnet", "attn_norm_num_groups": 4, "add_attention": True},
    "num_class_embeds": 5,
}
KINDS = {
    "plain": {},
    "attention": ATTENTION,
    "classes, scale-shift": {"num_class_embeds": 4, "resnet_time_scale_shift": "scale_shift", "flip_sin_to_cos": False},
    "one channel, learned variance": {"in_channels": 1, "out_channels": 2, "freq_shift": 1},
    "learned times": {"time_embedding_type": "learned", "num_train_timesteps": 50},
}


def random_unet(changes):
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    unet = UNet2DModel(**{**PLAIN, **changes}).to(DTYPE).eval()
    for parameter in unet.parameters():  # some start at zero
        torch.nn.init.normal_(parameter, 1.0 if parameter.ndim == 1 else 0.0, 0.2)
    return unet.requires_grad_(False)


def scheduler(name="DDPMScheduler", **config):
    import diffusers

    return getattr(diffusers, name)(**config)


def pipeline(folder, unet, of, flat=False, safe=True):
    unet.save_pretrained(folder if flat else folder / "unet", safe_serialization=safe)
    of.save_pretrained(folder if flat else folder / "scheduler")
    return folder


def images(x):
    """One configuration as a batch of torch's."""
    x = torch.tensor(np.asarray(x), dtype=DTYPE)
    return (x[None] if x.ndim == 2 else x.permute(2, 0, 1))[None]


def configuration(y):
    return y[0, 0].numpy() if y.shape[1] == 1 else y[0].permute(1, 2, 0).numpy()


def close(actual, wanted, bound=ROUNDED):
    assert actual.shape == wanted.shape
    assert actual.dtype == FLOAT
    np.testing.assert_allclose(np.asarray(actual), wanted, rtol=0, atol=bound * np.max(np.abs(wanted)))


@eqx.filter_jit
def denoise(field, t, x):
    return field.denoise(t, x)


def state(model):
    return jnp.asarray(np.random.default_rng(1).normal(size=model.shape), FLOAT)


@pytest.mark.parametrize(
    "kind", [pytest.param("plain", marks=pytest.mark.float32), *(k for k in KINDS if k != "plain")]
)
def test_the_noise_of_every_kind_of_network_is_that_of_diffusers(kind, tmp_path):
    unet, of = random_unet(KINDS[kind]), scheduler(num_train_timesteps=50)
    model = sj.interop.load_diffusers(pipeline(tmp_path, unet, of))
    classes = unet.config["num_class_embeds"]
    field = model.field if classes is None else model.field.with_label(classes - 1)
    assert model.channels == unet.config["in_channels"]
    assert model.num_classes == classes
    assert model.field.channels == (0 if len(model.shape) == 2 else 2)  # probes need not be told
    assert model.process is model.field.process
    x = state(model)
    labels = None if classes is None else torch.tensor([classes - 1])
    for t in (3, 42):
        noise = configuration(unet(images(x), torch.tensor([t]), labels).sample[:, : model.channels])
        alpha, sigma = (np.asarray(scale(t)) for scale in (model.process.alpha, model.process.sigma))
        close(denoise(field, float(t), x) * alpha, x - sigma * noise, ROUNDED if kind[:3] == "one" else CLOSE)


SCHEDULERS = {
    "linear": ("DDPMScheduler", {"beta_schedule": "linear", "num_train_timesteps": 100}),
    "scaled linear": ("DDIMScheduler", {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}),
    "cosine": ("DPMSolverMultistepScheduler", {"beta_schedule": "squaredcos_cap_v2"}),
    "sigmoid": ("DDPMScheduler", {"beta_schedule": "sigmoid"}),
    "trained": ("DDPMScheduler", {"trained_betas": [0.01, 0.02, 0.3, 0.1]}),
    "zero signal": ("DDIMScheduler", {"rescale_betas_zero_snr": True}),
}


@pytest.mark.parametrize(("name", "config"), SCHEDULERS.values(), ids=SCHEDULERS.keys())
def test_the_process_is_the_schedulers_table(name, config, tmp_path):
    of = scheduler(name, **config)
    of.save_pretrained(tmp_path)
    path = tmp_path / "scheduler_config.json"
    process = schedule(path, json.loads(path.read_text()), False).process
    wanted = of.alphas_cumprod.numpy().astype(float)
    steps = jnp.arange(len(wanted) - (wanted[-1] == 0), dtype=FLOAT)
    found = np.asarray(jax.vmap(process.alpha)(steps)) ** 2
    np.testing.assert_allclose(found, wanted[: len(found)], rtol=2e-4)  # diffusers multiplies in single precision


def test_predictions_are_read_as_diffusers_reads_them(tmp_path):
    unet = random_unet({})
    of = scheduler(num_train_timesteps=50, prediction_type="v_prediction", clip_sample=False)
    model = sj.interop.load_diffusers(pipeline(tmp_path, unet, of))
    x, t = state(model), 20
    wanted = of.step(unet(images(x), t).sample, t, images(x)).pred_original_sample
    np.testing.assert_allclose(denoise(model.field, float(t), x), configuration(wanted), rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("config", "prediction"),
    [
        ({}, "noise"),
        ({"prediction_type": "v_prediction"}, "velocity"),
        ({"prediction_type": "sample"}, "denoiser"),
        ({"predict_epsilon": False}, "denoiser"),
    ],
)
def test_each_prediction_has_its_name(config, prediction):
    found = schedule(Path("scheduler.json"), {"_class_name": "DDPMScheduler", **config}, False)
    assert found.prediction == prediction
    assert found.preconditioning is None


@pytest.mark.parametrize(
    ("config", "preconditioning"),
    [
        ({"_class_name": "KarrasEDMScheduler", "precondition_type": "cm_edm"}, (0.5, 250, 1)),
        ({"_class_name": "KarrasEDMScheduler"}, (0.5, 0.25, 1)),
        ({"_class_name": "EDMDPMSolverMultistepScheduler", "sigma_data": 1}, (1, 0.25, 1)),
        ({"_class_name": "EDMEulerScheduler", "prediction_type": "v_prediction"}, (0.5, 0.25, -1)),
    ],
)
def test_each_scheduler_of_edm_has_its_preconditioning(config, preconditioning):
    found = schedule(Path("scheduler.json"), config, False)
    assert found.preconditioning == preconditioning
    assert found.process.has_edm_clock()


def consistency_denoiser(unet, x, sigma, label=3):
    """OpenAI's Karras denoiser of the EDM networks that consistency models are distilled from."""
    scale = (sigma**2 + 0.25) ** 0.5
    t = torch.tensor([250 * np.log(sigma)], dtype=DTYPE)
    output = unet(images(x) / scale, t, torch.tensor([label])).sample
    return 0.25 / scale**2 * images(x) + sigma * 0.5 / scale * output


def test_the_edm_network_of_consistency_models(tmp_path):
    unet, of = random_unet(CONSISTENCY), scheduler("CMStochasticIterativeScheduler")
    with pytest.raises(ValueError, match="scheduler of consistency models.*not denoisers.*denoiser=True"):
        sj.interop.load_diffusers(pipeline(tmp_path, unet, of))
    model = sj.interop.load_diffusers(tmp_path, label=3, denoiser=True)
    assert model.num_classes == 5
    assert model.process.has_edm_clock()
    assert "sigma_data 0.5, network time 250 ln sigma" in model.description
    x = state(model)
    for sigma in (0.05, 1.0, 20.0):
        wanted = configuration(consistency_denoiser(unet, sigma * x, sigma))
        close(denoise(model.field, sigma, sigma * x), wanted)


def test_the_preconditioning_of_diffusers_edm_schedulers(tmp_path):
    unet, of = random_unet({}), scheduler("EDMEulerScheduler", sigma_data=0.7, prediction_type="v_prediction")
    model = sj.interop.load_diffusers(pipeline(tmp_path, unet, of))
    assert "sigma_data 0.7, network time 0.25 ln sigma" in model.description
    x, sigma = 2 * state(model), 1.5
    output = unet(of.precondition_inputs(images(x), sigma), torch.tensor([np.log(sigma) / 4], dtype=DTYPE)).sample
    wanted = configuration(of.precondition_outputs(images(x), output, torch.tensor(sigma, dtype=DTYPE)))
    close(denoise(model.field, sigma, x), wanted)


def test_flat_folders_bin_files_parts_and_old_names_hold_the_same(tmp_path):
    unet, of = random_unet(ATTENTION), scheduler(num_train_timesteps=50)
    models = [sj.interop.load_diffusers(pipeline(tmp_path / "new", unet, of))]
    models += [sj.interop.load_diffusers(pipeline(tmp_path / "flat", unet, of, flat=True, safe=False))]
    unet.save_pretrained(tmp_path / "parts" / "unet", max_shard_size="10KB")
    of.save_pretrained(tmp_path / "parts" / "scheduler")
    models += [sj.interop.load_diffusers(str(tmp_path / "parts"))]
    path = tmp_path / "flat" / "diffusion_pytorch_model.bin"
    tensors = torch.load(path)
    for new, old in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
        tensors = {name.replace(f".{new}.", f".{old}."): value for name, value in tensors.items()}
    torch.save(tensors, path)
    models += [sj.interop.load_diffusers(tmp_path / "flat")]
    first, *others = (model.field.network for model in models)
    assert len(jax.tree.leaves(first)) > 50
    for other in others:
        assert jax.tree.all(jax.tree.map(np.array_equal, jax.tree.leaves(other), jax.tree.leaves(first)))


def test_another_lattice_may_be_chosen(tmp_path):
    model = sj.interop.load_diffusers(
        pipeline(tmp_path, random_unet({"sample_size": None}), scheduler()), shape=(8, 12)
    )
    assert model.shape == (8, 12, 2)
    assert repr(model).startswith("DiffusersModel(NetworkField(")
    assert repr(model).endswith("shape (8, 12, 2), no classes)")


def test_a_cache_of_hugging_face_is_read_through_its_links(tmp_path):
    made = pipeline(tmp_path / "made", random_unet({}), scheduler())
    snapshot = tmp_path / "models--a--b" / "snapshots" / "1234"
    blobs = tmp_path / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    for i, path in enumerate(path for path in made.rglob("*") if path.is_file()):
        path.rename(blobs / str(i))
        link = snapshot / path.relative_to(made)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blobs / str(i))
    assert sj.interop.load_diffusers(snapshot).shape == (8, 8, 2)
