"""Folders that are broken or hostile: refused in one sentence that names file and reason, and nothing is run."""

import importlib.util
import json
import os
import pickle
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import softjax as sj

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("torchax", "diffusers"))), reason="needs torchax and diffusers"
    ),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

CONFIG, WEIGHTS = "unet/config.json", "unet/diffusion_pytorch_model.safetensors"
SCHEDULER, INDEX = "scheduler/scheduler_config.json", "unet/diffusion_pytorch_model.safetensors.index.json"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    from diffusers import DDPMScheduler, UNet2DModel

    folder = tmp_path_factory.mktemp("good")
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    sizes = {"in_channels": 1, "out_channels": 1, "layers_per_block": 1, "block_out_channels": (4, 4)}
    UNet2DModel(sample_size=4, norm_num_groups=2, attention_head_dim=4, **blocks, **sizes).save_pretrained(
        folder / "unet"
    )
    DDPMScheduler(num_train_timesteps=10).save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture
def folder(good, tmp_path):
    return shutil.copytree(good, tmp_path / "copy")


def refused(folder, message, error: type[Exception] = ValueError, **arguments):
    with pytest.raises(error, match=f"(?s){message}") as caught:
        sj.interop.load_diffusers(folder, **arguments)
    assert len(str(caught.value)) < 1000


def edit(path, **changes):
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in values.items() if value is not ...}))


def edit_weights(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (CONFIG, "unet holds no config.json"),
        (WEIGHTS, "unet holds no diffusion_pytorch_model.safetensors or"),
        (SCHEDULER, "holds no scheduler/scheduler_config.json"),
    ],
)
def test_missing_parts(folder, name, message):
    (folder / name).unlink()
    refused(folder, f"{message}.*it holds", FileNotFoundError)


def test_no_folder_and_no_download(tmp_path):
    refused(tmp_path / "google" / "ddpm", "is no folder. Nothing is downloaded", FileNotFoundError)
    refused("google/ddpm-cifar10-32", "Nothing is downloaded", FileNotFoundError)


CONFIGS = {
    "another class": ({"_class_name": "UNet2DConditionModel"}, "config.json: _class_name is 'UNet2DCond.*UNet2DModel"),
    "a module": ({"_class_name": ["mine", "UNet2DModel"]}, "_class_name is"),
    "code": ({"auto_map": {"AutoModel": "mine.Model"}}, r"config.json names code to run \(auto_map\), which is never"),
    "unknown entry": ({"hook": "mine.py"}, r"config.json has entries that no UNet2DModel has: \['hook'\]"),
    "unknown block": ({"down_block_types": ["DownBlock2D", "os.system"]}, "down_block_types is.*os.system"),
    "huge width": ({"block_out_channels": [4, 10**9]}, "block_out_channels is.*from 1 to 16384"),
    "many layers": ({"layers_per_block": 64}, "config.json asks for 2 levels of 64 blocks, it is too small"),
    "absurd layers": ({"layers_per_block": 10**12}, "layers_per_block is 1000000000000, wanted a whole number"),
    "wide": ({"block_out_channels": [4096, 16384]}, r"another network:.*; conv_in.weight has shape \(4, 1, 3, 3\)"),
    "huge image": ({"sample_size": 10**6}, "sample_size is 1000000"),
    "no image": ({"sample_size": None}, r"no sample_size: give shape=\(height, width\)"),
    "three sizes": ({"sample_size": [4, 4, 4]}, "sample_size is .* one or two"),
    "truth": ({"layers_per_block": True}, "layers_per_block is True"),
    "text": ({"norm_eps": "0"}, "norm_eps is '0', wanted a number"),
    "negative": ({"freq_shift": -1}, "freq_shift is -1"),
    "levels": ({"block_out_channels": [4]}, "no UNet2DModel can be built of it: Must provide the same number"),
    "groups": ({"norm_num_groups": 3}, "no UNet2DModel can be built of it: num_channels .* must be divisible"),
    "channels": ({"out_channels": 3}, "config.json: out_channels must be in_channels = 1 or twice that, got 3"),
    "act": ({"act_fn": "__import__"}, "act_fn is '__import__'"),
    "fourier": ({"time_embedding_type": "fourier"}, "models of ScoreSDE are not supported"),
    "classes": ({"class_embed_type": "timestep"}, "class_embed_type is 'timestep'"),
    "flag": ({"add_attention": "yes"}, "add_attention is 'yes', wanted true or false"),
    "odd lattice": ({"sample_size": 3}, "module can't be called like this"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), CONFIGS.values(), ids=CONFIGS.keys())
def test_configurations(folder, changes, message):
    edit(folder / CONFIG, **changes)
    refused(folder, message)


SCHEDULERS = {
    "unknown": ({"_class_name": "MineScheduler"}, "config.json: _class_name is 'MineScheduler', wanted one of"),
    "none": ({"_class_name": ...}, "_class_name is None"),
    "code": ({"auto_map": "mine.py"}, "names code to run"),
    "schedule": ({"beta_schedule": "laplace"}, "beta_schedule is 'laplace', wanted one of 'linear'"),
    "prediction": ({"prediction_type": "score"}, "prediction_type is 'score'"),
    "steps": ({"num_train_timesteps": 10**9}, "num_train_timesteps is 1000000000"),
    "betas": ({"trained_betas": [0.1, 2]}, r"trained_betas is \[0.1, 2\]"),
    "no betas": ({"trained_betas": "0.1"}, "trained_betas is '0.1'"),
    "beta": ({"beta_end": -1}, "beta_end is -1"),
    "underflow": ({"num_train_timesteps": 100000, "beta_end": 1}, "its table of noise can't be used"),
    "flow": ({"use_flow_sigmas": True}, "use_flow_sigmas is True, wanted false"),
    "continuous": ({"timestep_type": "continuous"}, "timestep_type is 'continuous'"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), SCHEDULERS.values(), ids=SCHEDULERS.keys())
def test_schedulers(folder, changes, message):
    edit(folder / SCHEDULER, **changes)
    refused(folder, message)


@pytest.mark.parametrize("name", [CONFIG, SCHEDULER])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        *[("[1]", "holds a list, wanted an object"), ("{", "is damaged"), ("", "is damaged")],
        *[('{"beta_end": NaN}', "NaN is no number"), ("[" * 10**5, "is damaged"), (" " * 2**21, "is larger than")],
        ("9" * 10**4, "is damaged"),
    ],
    ids=["list", "cut", "empty", "nan", "deep", "large", "long number"],
)
def test_json_that_is_none(folder, name, text, message):
    (folder / name).write_text(text)
    refused(folder, f"{os.path.basename(name)} {message}" if message[0] in "hi" else message)


def test_bytes_that_are_no_text(folder):
    (folder / CONFIG).write_bytes(b"\xff\xfe{}")
    refused(folder, "config.json is damaged: UnicodeDecodeError")


def rename(tensors):
    tensors["conv_in.other"] = tensors.pop("conv_in.weight")


TENSORS = {
    "nan": (lambda t: t["conv_in.bias"].__setitem__(0, np.nan), "conv_in.bias holds NaN or infinite"),
    "names": (rename, "another network: conv_in.weight is missing; 'conv_in.other' is not a parameter of it"),
    "shapes": (lambda t: t.update({"conv_in.bias": np.zeros(5, np.float32)}), r"conv_in.bias has shape \(5,\)"),
    "numbers": (lambda t: t.update({"conv_in.bias": np.zeros(4, np.int32)}), "conv_in.bias holds int32, wanted float"),
    "few": (lambda t: [t.pop(name) for name in list(t)[3:]], "asks for 2 levels of 1 blocks, it is too small"),
}


@pytest.mark.parametrize(("change", "message"), TENSORS.values(), ids=TENSORS.keys())
def test_weights(folder, change, message):
    edit_weights(folder / WEIGHTS, change)
    refused(folder, f"diffusion_pytorch_model.safetensors.*{message}")


@pytest.mark.parametrize("data", [b"", b"<html>", b"\x00" * 64, (2**60).to_bytes(8, "little") + b"{}"])
def test_weights_that_are_no_safetensors(folder, data):
    (folder / WEIGHTS).write_bytes(data)
    refused(folder, "diffusion_pytorch_model.safetensors")


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_in_a_bin_file_is_never_run(folder, tmp_path, zipped):
    (folder / WEIGHTS).unlink()
    evil, path = {"conv_in.weight": Evil(tmp_path / "written")}, folder / "unet/diffusion_pytorch_model.bin"
    torch.save(evil, path) if zipped else path.write_bytes(pickle.dumps(evil))
    refused(folder, "diffusion_pytorch_model.bin")
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, SCHEDULER])
def test_links_to_outside(folder, tmp_path, name):
    outside = tmp_path / "outside"
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)
    refused(folder, f"{os.path.basename(name)} is a link to outside of the folder")


@pytest.mark.parametrize("shard", ["/etc/x.safetensors", "../../x.safetensors", "a/x.safetensors", 3])
def test_an_index_that_leads_outside(folder, shard):
    (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text(json.dumps({"weight_map": {"conv_in.weight": shard}}))
    refused(folder, "index.json says that 'conv_in.weight' is in .* no safetensors file beside it")


def test_a_shard_that_is_a_link_to_outside(folder, tmp_path):
    (folder / WEIGHTS).rename(tmp_path / "outside")
    (folder / "unet/x.safetensors").symlink_to(tmp_path / "outside")
    (folder / INDEX).write_text(json.dumps({"weight_map": {"conv_in.weight": "x.safetensors"}}))
    refused(folder, "x.safetensors is a link to outside")


def test_models_of_latents(folder):
    (folder / "vae").mkdir()
    refused(folder, "has vae/: it is a model of latents")


def test_labels_and_shapes(folder):
    refused(folder, "takes no labels, got 3", label=3)
    refused(folder, r"shape must be \(height, width\)", shape=(4, 4, 1))
