"""Runs the Python of Markdown pages as printed, one namespace a page: `python doc_blocks.py PAGE...`.

A comment of the page right before a block says what the reader has already, or what the test makes smaller:
`<!-- setup: code -->`, `<!-- tested with: this => that -->`, `<!-- not run: why -->` (it must compile all the same).
"""

import re
import sys
import textwrap
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"(?:^<!-- (setup|tested with|not run):(.*?)-->\s+)?^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
IMPORTS = """
import equinox as eqx, jax, jax.numpy as jnp, jax.random as jr, numpy as np
import softjax, softjax as sj
from softjax.convert import load_network, shipped
"""


def run(page):
    """All blocks of a page."""
    text, names = Path(page).read_text(), dict[str, Any](__name__="__main__")
    exec(IMPORTS, names)
    names["key"] = names["jr"].key(0)
    for kind, said, code in BLOCK.findall(text):
        where = f"{page}, line {text[: text.index(code)].count(chr(10)) + 1}"
        code = textwrap.dedent(code)
        if kind == "setup":
            exec(compile(said, f"setup of {where}", "exec"), names)
        if kind == "tested with":
            for this, that in (line.split(" => ") for line in said.strip().splitlines()):
                assert this in code, f"{where}: no {this!r}"
                code = code.replace(this, that)
        program = compile(code, where, "exec")
        if kind != "not run":
            exec(program, names)


if __name__ == "__main__":
    for path in sys.argv[1:]:
        run(path)
