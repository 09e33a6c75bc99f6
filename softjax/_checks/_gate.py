"""The gate of every public entry: arguments become what the annotations say, before the body computes with them.

`@public` reads the annotations of a function once. An argument that is annotated as real numbers becomes a floating
array, a count a Python int, a key one key; options, functions and objects are checked; what can't be used is refused by
the argument's name. So a new function has the gate by its decorator alone, and its body may trust its annotations.
`state_method` and `time_method` do the same for the methods that every field and every process has.
"""

import functools
import inspect
import types
from collections.abc import Callable, Sequence
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, overload

import equinox as eqx
import jax
import numpy as np
from jaxtyping import AbstractArray

from softjax._checks import _refuse as refuse
from softjax._checks import _values as values

_P = ParamSpec("_P")
_R = TypeVar("_R")

Converter = Callable[[str, Any], Any]


@overload
def public(function: Callable[_P, _R]) -> Callable[_P, _R]: ...
@overload
def public(*, infinite: Sequence[str] = (), mixed: bool = False) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...
def public(function: Any = None, *, infinite: Sequence[str] = (), mixed: bool = False) -> Any:
    """The function behind its gate.

    Real arrays that are given together are brought to the widest precision among them; `mixed=True` leaves that to the
    body. `infinite` names arguments that may be infinite.
    """
    if function is None:
        return functools.partial(public, infinite=infinite, mixed=mixed)
    signature = inspect.signature(function)
    converters = {
        name: _converter(parameter.annotation, name not in infinite)
        for name, parameter in signature.parameters.items()
        if name not in ("self", "cls") and parameter.annotation is not inspect.Parameter.empty
    }

    @functools.wraps(function)
    def gated(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        for name, value in given.items():
            if name in converters and not (value is None and signature.parameters[name].default is None):
                given[name] = converters[name](name, value)
        if not mixed:
            arrays = {name: value for name, value in given.items() if isinstance(value, jax.Array)}
            given |= values.wider(arrays)[0]
        bound = inspect.BoundArguments(signature, given)  # pyright: ignore[reportArgumentType]
        return function(*bound.args, **bound.kwargs)

    gated.__gated__ = True  # pyright: ignore[reportAttributeAccessIssue]
    return gated


def _converter(annotation: Any, finite: bool) -> Converter:
    """What brings a value to an annotation."""
    members = _members(annotation)
    if Any in members or (np.ndarray in members and jax.Array not in members):  # the body decides
        return lambda name, value: value
    options = [option for member in members if get_origin(member) is Literal for option in get_args(member)]
    classes = tuple(member for member in members if _is_class(member))
    first = _first_choices(members, options, classes)
    last = _numbers(members, finite) or _last_resort(members, options, classes)

    def convert(name: str, value: Any) -> Any:
        if value is None and type(None) in members:
            return None
        for accepts, use in first:
            if accepts(value):
                return use(name, value)
        return last(name, value)

    return convert


def _members(annotation: Any) -> list[Any]:
    """The alternatives of a union."""
    is_union = get_origin(annotation) in (Union, types.UnionType)
    return [m for part in get_args(annotation) for m in _members(part)] if is_union else [annotation]


def _is_class(member: Any) -> bool:
    plain = (bool, int, float, complex, str, type(None), jax.Array, np.ndarray, np.bool_, np.number)
    return isinstance(member, type) and member not in plain and not issubclass(member, AbstractArray)


def _first_choices(members: list[Any], options: list[str], classes: tuple[type, ...]) -> list[tuple[Any, Converter]]:
    """What is told by its type alone, where an argument takes numbers too."""
    choices: list[tuple[Any, Converter]] = []
    if classes:
        choices.append((lambda value: isinstance(value, classes), lambda name, value: value))
    if options:
        choices.append((lambda value: isinstance(value, str), functools.partial(_option, options)))
    elif str in members:
        choices.append((lambda value: isinstance(value, str), lambda name, value: value))
    if any(_is_function(member) for member in members):
        choices.append((lambda value: callable(value) and not isinstance(value, type), lambda name, value: value))
    return choices


def _option(options: list[str], name: str, value: Any) -> Any:
    refuse.require_option(name, value, options)
    return value


def _is_function(member: Any) -> bool:
    return Callable in (member, get_origin(member))


def _numbers(members: list[Any], finite: bool) -> Converter | None:
    """The converter of the numbers that an annotation allows, if it allows any."""
    arrays = [m for m in members if isinstance(m, type) and issubclass(m, AbstractArray)]
    kinds = {kind for m in arrays for kind in ("float", "complex", "int", "key") if _holds(m, kind)}
    if "key" in kinds:
        return values.one_key
    if "complex" in kinds:
        return values.real_or_complex
    if "float" in kinds or jax.Array in members:
        return lambda name, value: values.real(name, value, finite)
    if "int" in kinds:
        return values.integers
    if float in members:
        return lambda name, value: values.number(name, value, finite)
    return _counts(members)


def _holds(member: Any, kind: str) -> bool:
    names = member.dtypes if isinstance(member.dtypes, (tuple, list)) else (str(member.dtypes),)
    if kind == "key":
        return any("key" in str(name) or str(name) == "uint32" for name in names)
    return any(str(name).startswith(kind) for name in names)


def _counts(members: list[Any]) -> Converter | None:
    sequence = any(get_origin(m) in (tuple, Sequence) for m in members)
    if sequence and int in members:
        return lambda n, v: values.lattice_shape(n, v) if np.ndim(v) else values.whole(n, v)
    if sequence:
        inner = [arg for m in members for arg in get_args(m)]
        if float in inner:
            return _pair
        return values.lattice_shape if int in inner else None
    if int in members:
        return values.whole
    return values.flag if bool in members else None


def _pair(name: str, value: Any) -> tuple[float, ...]:
    """A tuple of numbers, such as the ends of a window."""
    refuse.require(np.ndim(value) == 1, f"{name} must be a pair of numbers, got {value!r}.")
    return tuple(values.number(name, part, finite=False) for part in value)


def _last_resort(members: list[Any], options: list[str], classes: tuple[type, ...]) -> Converter:
    """The refusal, where nothing that was allowed fits."""
    if classes:
        return lambda name, value: values.instance(name, value, classes)
    if options:
        return functools.partial(_option, options)
    if any(_is_function(member) for member in members):
        return values.function
    return lambda name, value: value


def state_method(method: Callable) -> Callable:
    """A field's method of the time and the state: both become real, and the field and the state equally precise."""
    return _of_time_and(method, functools.partial(values.real, "x"))


def evidence_mean_method(method: Callable) -> Callable:
    """A field's method of the time and of evidence, a pytree of the field's own."""
    return _of_time_and(method, lambda evidence: evidence)


def _of_time_and(method: Callable, convert: Callable[[Any], Any]) -> Callable:
    signature = inspect.signature(method)
    time, second = list(signature.parameters)[1:3]

    @functools.wraps(method)
    def gated(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs)
        t = _one_time(bound.arguments[time])
        field, state = values.wider(self, convert(bound.arguments[second]))
        bound.arguments |= {next(iter(bound.arguments)): field, time: _like(t, state), second: state}
        return method(*bound.args, **bound.kwargs)

    return gated


def evidence_method(method: Callable) -> Callable:
    """A field's method of the state alone."""
    signature = inspect.signature(method)

    @functools.wraps(method)
    def gated(self: Any, *args: Any, **kwargs: Any) -> Any:
        _, x = signature.bind(self, *args, **kwargs).args
        return method(*values.wider(self, values.real("x", x)))

    return gated


def time_method(method: Callable) -> Callable:
    """A process's method of one number or of many: it becomes real, and as precise as the process."""
    signature = inspect.signature(method)
    name = list(signature.parameters)[1]

    @functools.wraps(method)
    def gated(self: Any, *args: Any, **kwargs: Any) -> Any:
        _, value = signature.bind(self, *args, **kwargs).args
        value = values.real(name, value, finite=name == "t")
        if name in ("t", "ratio"):
            refuse.require_not_negative(name, value)
        process, value = values.wider(self, value)
        result = method(process, value)
        if name == "t":
            _require_in_range(self, value, result)
        return result

    return gated


def _one_time(t: Any) -> jax.Array:
    t = values.real("t", t)
    refuse.require(t.shape == (), f"t must be one time, got shape {t.shape}. For many times use jax.vmap.")
    return t


def _like(t: jax.Array, state: Any) -> jax.Array:
    """The time in the precision of the state."""
    leaf = jax.tree.leaves(state)[0]
    return t if getattr(leaf, "weak_type", False) else t.astype(leaf.dtype)


def _require_in_range(process: Any, t: jax.Array, result: Any) -> None:
    """Refuse times at which the process is not defined, where it is known."""
    value = refuse.concrete(t)
    found = None if value is None else refuse.concrete(result)
    if value is not None and found is not None and np.any(np.isnan(found)):
        raise ValueError(f"t = {np.max(value):g} lies outside the range of times of {type(process).__name__}.")


def gate_methods(cls: type, names: Sequence[str], gate: Callable[[Callable], Callable]) -> None:
    """Puts those methods behind a gate which a class defines itself."""
    for name in names:
        method = cls.__dict__.get(name)  # a function, or one that is jitted
        if callable(method) and not getattr(method, "__isabstractmethod__", False):
            setattr(cls, name, gate(method))


def hashed(module: eqx.Module) -> int:
    """The hash of a module; where arrays forbid one, a `TypeError` that says what was probably meant."""
    try:
        return eqx.Module.__hash__(module)
    except TypeError:
        name = type(module).__name__
        raise TypeError(
            f"{name} holds arrays, so it can't be hashed, which jax.jit(field.score) would need. Use "
            "equinox.filter_jit(field.score), or jax.jit of a function that takes the field as an argument."
        ) from None
