"""State dicts as training scripts leave them: with prefixes, and in dicts beside other values."""

import numpy as np
import pytest
from convert.tiny_edm2 import ARGUMENTS, STATE
from convert.torch_zip_writer import state_dict_pickle, text, torch_zip, training_file
from helpers import FLOAT

from softjax.cli._convert import Convert
from softjax.cli._parse import parse
from softjax.convert import CheckpointError, convert, load_module, parameters, read_checkpoint
from softjax.convert._edm2 import edm2_config, edm2_from_tensors
from softjax.convert._safetensors import write_safetensors
from softjax.convert._store import read_description
from softjax.convert._wrapping import network_of, unwrap

OTHER = {name: np.asarray(value + 1) for name, value in STATE.items()}
TRAINING = {
    "epoch": 3,
    "loss": 0.25,
    "best": None,
    "resumed": True,
    "history": [1.0, [2, 3]],
    "config": {"name": "tiny", "betas": [0.9, 0.99], "nested": {"deep": {"er": -1}}},
    "optimizer": {"state": {0: {"step": np.ones(1, np.float32)}, 1: {}}, "param_groups": [{"lr": 1e-4, "params": [0]}]},
    "last_loss": np.array(0.5, np.float32),
}


def under(prefix, state=STATE):
    return {prefix + name: value for name, value in state.items()}


def read(tmp_path, content, **options):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    return read_checkpoint(path, **options)


def assert_tensors(checkpoint, wanted=STATE):
    assert checkpoint.tensors.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(checkpoint.tensors[name], value)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "ema.", "model.", "net.", "module._orig_mod.", "net.ema."])
def test_a_prefix_of_all_names_is_taken_off(tmp_path, prefix):
    checkpoint = read(tmp_path, torch_zip(under(prefix)))
    assert_tensors(checkpoint)
    assert checkpoint.prefix == prefix


def test_the_counter_of_an_average_is_dropped(tmp_path):
    assert_tensors(read(tmp_path, torch_zip({"n_averaged": np.array(5), **under("module.")})))


def test_a_prefix_chooses_among_networks(tmp_path):
    content = torch_zip({**under("ema."), **under("net.module.", OTHER)})
    with pytest.raises(
        CheckpointError, match=r"prefixes: 'ema\.', 'net\.module\.'\. Choose one with prefix=, or --prefix"
    ):
        read(tmp_path, content)
    for prefix in ("ema", "ema."):
        assert_tensors(read(tmp_path, content, prefix=prefix))
    for prefix in ("net", "net.module."):
        assert_tensors(read(tmp_path, content, prefix=prefix), OTHER)
    with pytest.raises(
        CheckpointError, match=r"no tensor is under the prefix 'nets'; there are 'ema\.', 'net\.module\.'"
    ):
        read(tmp_path, content, prefix="nets")


def test_an_empty_prefix_is_that_of_the_names_without_one(tmp_path):
    content = torch_zip({**STATE, **under("ema.", OTHER)})
    with pytest.raises(CheckpointError, match=r"prefixes: '', 'ema\.'"):
        read(tmp_path, content)
    assert_tensors(read(tmp_path, content, prefix=""))


def test_tensors_beside_a_prefix_are_not_dropped_unasked(tmp_path):
    content = torch_zip({**under("net."), "loss.weight": np.ones(2)})
    with pytest.raises(CheckpointError, match=r"prefixes: 'net\.', and beside it 'loss\.weight'\. Choose"):
        read(tmp_path, content)
    assert_tensors(read(tmp_path, content, prefix="net"))


def test_names_of_unknown_networks_stay(tmp_path):
    unknown = {"module.weight": np.ones(2), "module.other": np.ones(3)}
    assert_tensors(read(tmp_path, torch_zip(unknown)), unknown)
    assert unwrap(["module.weight", "module.bias"]) == ("module.", {"module.weight": "weight", "module.bias": "bias"})


@pytest.mark.parametrize("names", [["pos_embed"], ["dinov2.embeddings.cls_token"], ["unet.out_gain"]])
def test_networks_are_known_by_their_names(names):
    assert network_of(names) in ("EDM2", "DINOv2")
    assert network_of([f"x{name}" for name in names[:1] if name != "dinov2.embeddings.cls_token"]) is None


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_one_state_dict_among_other_values_is_taken(tmp_path, protocol):
    checkpoint = read(tmp_path, training_file(TRAINING | {"net": under("_orig_mod.")}, protocol))
    assert_tensors(checkpoint)
    assert (checkpoint.key, checkpoint.prefix) == ("net", "_orig_mod.")


def test_a_key_chooses_among_state_dicts(tmp_path):
    content = training_file(TRAINING | {"ema": under("module."), "models": {"net": OTHER, "disc": {"x": np.ones(1)}}})
    with pytest.raises(
        CheckpointError, match="several state dicts.*key=, or --key on the command line: 'ema', 'models.net'"
    ):
        read(tmp_path, content)
    assert_tensors(read(tmp_path, content, key="ema"))
    assert_tensors(read(tmp_path, content, key="models.net"), OTHER)
    assert_tensors(read(tmp_path, content, key="models"), OTHER)
    for key in ("ema2", "epoch", "a" * 900):
        with pytest.raises(CheckpointError, match="checkpoint.pt: .*no tensors under the key") as refused:
            read(tmp_path, content, key=key)
        assert len(str(refused.value)) < 500


def memoised(code, index):
    """The opcodes of a dict, which is remembered as `index`."""
    return code[:1] + b"q" + bytes([index]) + code[1:]


def test_the_same_state_dict_under_two_keys_is_one(tmp_path):
    state_dict = state_dict_pickle(STATE, metadata=False)[2:-1].replace(b")R(", b")Rq\x01(", 1)
    pickle = b"\x80\x02}(" + text("ema") + state_dict + text("net") + b"h\x01u."
    checkpoint = read(tmp_path, torch_zip(STATE, pickle=pickle))
    assert_tensors(checkpoint)
    assert checkpoint.key == "ema"


def test_shared_dicts_are_walked_once(tmp_path):
    """Sixty levels, each of which holds the next one twice."""
    code = b"}q\x00"
    for index in range(60):
        code = memoised(b"}(" + text("a") + code + text("b") + b"h" + bytes([index]) + b"u", index + 1)
    with pytest.raises(CheckpointError, match="holds no tensors, its entries are 'a', 'b'"):
        read(tmp_path, torch_zip({}, pickle=b"\x80\x02" + code + b"."))


def test_the_numbers_of_keys_are_shortened(tmp_path):
    number = (10**600).to_bytes(250, "little")
    code = b"\x80\x02}\x8a\xfa" + number + b"Ns."
    with pytest.raises(CheckpointError, match="its entries are <an integer of 1994 bits>"):
        read(tmp_path, torch_zip({}, pickle=code))


def test_choices_are_only_for_files_that_have_any(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, under("ema."), "float32")
    with pytest.raises(ValueError, match="leave key out"):
        read_checkpoint(path, key="ema")
    assert_tensors(read_checkpoint(path))


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.float32
def test_what_was_taken_is_converted_and_recorded(tmp_path):
    source = tmp_path / "checkpoint.pt"
    source.write_bytes(training_file({"ema": under("module."), "net": OTHER}))
    options = {"channels_per_head": np.int64(4)}
    out = convert(source, tmp_path / "network", key="ema", options=options)
    wanted = parameters(edm2_from_tensors(STATE, edm2_config(ARGUMENTS)))
    for name, value in parameters(load_module(out)).items():
        assert value.dtype == FLOAT
        np.testing.assert_array_equal(value, wanted[name])
    about = read_description(out)["about"]
    assert (about["key"], about["prefix"]) == ("ema", "module.")
    convert(source, out, key="ema", options=options)  # the same again
    with pytest.raises(FileExistsError):
        convert(source, out, key="net", options=options)


def test_the_missing_option_is_named(tmp_path):
    source = tmp_path / "weights.pt"
    source.write_bytes(torch_zip(STATE))
    with pytest.raises(CheckpointError, match=r"weights.pt: .*attn_qkv.* give channels_per_head.*--channels-per-head"):
        convert(source, tmp_path / "network")
    with pytest.raises(CheckpointError, match="16 channels cannot be divided among 3 heads: change channels_per_head"):
        edm2_config(ARGUMENTS | {"model_channels": 8, "channels_per_head": 5})
    with pytest.raises(CheckpointError, match="got <an integer of 2990 bits>"):
        convert(source, tmp_path / "network", options={"channels_per_head": 10**900})


def test_the_command_has_the_options():
    options = "--key ema --prefix net --channels-per-head 8 --num-heads 5"
    typed = ["convert", "a.pt", "out", *options.split()]
    command = parse(typed)
    assert isinstance(command, Convert)
    assert (command.key, command.prefix) == ("ema", "net")
    assert command.options == {"channels_per_head": 8, "num_heads": 5}
    bare = parse(typed[:3])
    assert isinstance(bare, Convert)
    assert (bare.key, bare.prefix, bare.options) == (None, None, {})
