import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
AS_USERS = {name: value for name, value in os.environ.items() if name != "JAX_ENABLE_X64"} | {"MPLBACKEND": "Agg"}


@pytest.mark.slow
@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_and_draws_its_figure(script, tmp_path):
    if script.stem == "torch_module" and importlib.util.find_spec("torchax") is None:
        pytest.skip("needs torch and torchax: make torch")
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(command, cwd=tmp_path, env=AS_USERS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert (tmp_path / f"{script.stem}.png").stat().st_size > 5_000


def test_the_readme_s_python_runs_as_printed(tmp_path):
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    code = "".join(block.split("```")[0] for block in readme.split("```python\n")[1:])
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=AS_USERS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    measured, exact = map(float, done.stdout.split())
    assert measured == pytest.approx(exact, rel=0.1)
