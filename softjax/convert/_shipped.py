"""The networks that come with softjax."""

from importlib.resources import files
from pathlib import Path

from softjax._checks import require_option


def shipped(name: str) -> Path:
    """Folder of a network that ships, for `load_network` and `load_module`.

    * `name`: "fashion-binary", "fashion-grey", "edm2-fashion", "edm2-fashion-guide", "classifier-binary" or
      "classifier-grey".

    Raises `ValueError` for an unknown name, and says which there are.

    >>> sj.convert.shipped("edm2-fashion").name
    'edm2-fashion'
    """
    weights = Path(str(files("softjax") / "weights"))
    require_option("name", name, sorted(folder.name for folder in weights.iterdir() if folder.is_dir()))
    return weights / name
