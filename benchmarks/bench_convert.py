"""How far is a conversion from the least it could do: copy the file and take its checksum?"""

import shutil

import numpy as np
from convert.edm2_pickle_writer import write_edm2_pickle
from convert.tiny_edm2 import random_state
from timing import Program

from softjax.convert._convert import convert
from softjax.convert._store import file_digest

ARGUMENTS = {
    "img_resolution": 16,
    "img_channels": 3,
    "label_dim": 1000,
    "model_channels": 192,
    "channel_mult": [1, 2, 3],
    "num_blocks": 1,
}


def bench_conversion_against_copy_and_checksum(versus, tmp_path):
    source, copy, out = tmp_path / "network.pkl", tmp_path / "copy.pkl", tmp_path / "network"
    state = random_state(ARGUMENTS)
    size = len(write_edm2_pickle(ARGUMENTS, state, source))

    def ours() -> None:
        shutil.rmtree(out, ignore_errors=True)
        convert(source, out)

    def peer() -> None:
        shutil.copyfile(source, copy)
        file_digest(copy)

    ours()
    assert (out / "weights.safetensors").stat().st_size > sum(2 * np.size(value) for value in state.values())
    what = "conversion against a copy with its checksum"
    versus(what, Program(ours), Program(peer), rounds=5, megabytes=round(size / 1e6))
