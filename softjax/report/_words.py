"""What was asked and where it comes from: command, parameters with what they mean, provenance."""

import ast
import hashlib
import inspect
import json
import shlex
from dataclasses import fields, is_dataclass
from textwrap import dedent
from typing import Any, NamedTuple, get_args, get_type_hints

import numpy as np
import tyro
import xarray as xr

from softjax._version import __version__
from softjax.experiments._shared.config import flat, view
from softjax.report._result import Result


class Parameter(NamedTuple):
    """One parameter of a configuration: its value, the default, and what it is."""

    name: str
    value: str
    default: str
    meaning: str

    @property
    def changed(self) -> bool:
        """Whether the default is another."""
        return self.value != self.default


def parameters(result: Result) -> list[Parameter]:
    """All that the results depend on; a parameter on an axis has all its values."""
    known, defaults, meanings = flat(result.config), flat(type(result.config)()), _meanings(type(result.config))
    swept = {name: _values(result.dataset[name]) for names in result.parameters.values() for name in names}
    return [
        Parameter(name, swept.get(name, _text(value)), _text(defaults[name]), meanings.get(name, ""))
        for name, value in known.items()
    ]


def about(result: Result) -> str:
    """What the experiment is, in its own words."""
    return str(type(result.config).__doc__).strip().partition("\n")[0]


def asked(result: Result) -> str:
    """What was asked for, in words."""
    known = {parameter.name: parameter for parameter in parameters(result)}
    axes = [
        " with ".join(f"{name} = {known.pop(name).value}" for name in names) for names in result.parameters.values()
    ]
    others = [_in_words(parameter) for parameter in known.values() if parameter.changed]
    text = f"A sweep over {' and '.join(axes)}. " if axes else ""
    rest = (
        f"Different from the defaults: {'; '.join(others)}." if others else "All other parameters have their defaults."
    )
    return text + (rest if axes or others else "All parameters have their defaults.")


def _in_words(parameter: Parameter) -> str:
    meaning = parameter.meaning.split(";")[0].rstrip(".")
    return f"{meaning[:1].lower() + meaning[1:] or parameter.name}: {parameter.value} (default {parameter.default})"


def command(result: Result) -> str:
    """A command that computes the same."""
    swept = {name for names in result.parameters.values() for name in names}
    now, default = ({**flat(one), **view(one)} for one in (result.config, type(result.config)()))
    positional = _positional(type(result.config))
    given = {name: value for name, value in now.items() if value != default[name] and name not in swept}
    bare = [shlex.quote(str(value)) for name, value in given.items() if name in positional]
    options = [_option(name, value) for name, value in given.items() if name not in positional]
    axes = [
        "/".join(f"{name}={_values(result.dataset[name], ',')}" for name in names)
        for names in result.parameters.values()
    ]
    words = ["softjax", *(["sweep"] if axes else []), result.study.name]
    return " ".join([*words, *bare, *(f"--axis {shlex.quote(axis)}" for axis in axes), *options])


def _positional(kind: type) -> set[str]:
    """Parameters that the command takes without their name."""
    (marker,) = get_args(tyro.conf.Positional[str])[1:]
    hints = get_type_hints(kind, include_extras=True)
    return {name for name, hint in hints.items() if marker in get_args(hint)[1:]}


def _option(name: str, value: Any) -> str:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    many = value if isinstance(value, tuple) else (value,)
    return " ".join([f"--{flag}", *(shlex.quote(str(one)) for one in many)])


def _values(axis: xr.DataArray, between: str = ", ") -> str:
    return between.join(_text(value) for value in axis.values.tolist())


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_text, value)) or "none"
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _meanings(kind: type, prefix: str = "") -> dict[str, str]:
    """The texts below the fields of a configuration, by the names of `flat`."""
    own: dict[str, str] = {}
    for one in reversed(kind.__mro__[:-1]):
        body = ast.parse(dedent(inspect.getsource(one))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                own[field.target.id] = (
                    inspect.cleandoc(str(ast.literal_eval(text.value))).replace("\n", " ").replace("`", "")
                )
    default, known = kind(), {}
    for one in fields(kind):  # pyright: ignore[reportArgumentType]
        value = getattr(default, one.name)
        inner = _meanings(type(value), f"{prefix}{one.name}.") if is_dataclass(value) else {}
        known |= inner or {prefix + one.name: own.get(one.name, "")}
    return known


_RECORDED = {
    "softjax_version": "softjax",
    "jax_version": "JAX",
    "device": "device",
    "float_type": "float type",
    "key": "random key",
    "created": "begun",
    "compile_time_s": "compile time (s)",
    "run_time_s": "run time (s)",
    "units_computed": "units computed",
}


def provenance(result: Result) -> list[tuple[str, str]]:
    """Where the numbers come from: versions, device, precision, key, times, checksums."""
    attributes = result.dataset.attrs
    rows = [(text, _text(attributes[name])) for name, text in _RECORDED.items() if name in attributes]
    rows += [(name.replace("_", " "), value) for name, value in result.weights.items()]
    rows += [("data, SHA-256 of all arrays", _digest(result.dataset))]
    rows += [("store, its seal", seal)] if (seal := _seal(result)) else []
    return [*rows, ("page made by softjax", __version__)]


def _digest(dataset: xr.Dataset) -> str:
    """One number for all arrays, however they are stored."""
    digest = hashlib.sha256()
    for name in sorted(map(str, dataset.variables)):
        values = np.asarray(dataset[name].values)
        plain = str(values.tolist()).encode() if values.dtype.kind in "UO" else np.ascontiguousarray(values).tobytes()
        digest.update(f"{name} {dataset[name].dims} {values.shape} {values.dtype}".encode() + plain)
    return digest.hexdigest()


def _seal(result: Result) -> str:
    file = None if result.folder is None else result.folder / "data.zarr" / "zarr.json"
    return str(json.loads(file.read_text())["attributes"].get("seal", "")) if file and file.exists() else ""
