"""Values as users have them, brought to what the code computes with, before any arithmetic.

The rule of precision: numbers are single or double precision as they come; integers and booleans take the default
float type, half precision becomes single. Where a state meets parameters (`wider`), both are computed in the wider of
the two; times follow. Python numbers have no precision of their own.
"""

import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from softjax._checks._refuse import concrete, require, require_finite, require_not_nan

_KEPT = (jnp.float32, jnp.float64)


def real(name: str, value: Any, finite: bool = True) -> jax.Array:
    """What is meant as real numbers, as a floating array; a Python number stays weakly typed.

    Refuses text, None, complex and masked numbers, and values that are not finite (with `finite=False` NaN only).
    """
    kept = isinstance(value, jax.Array) and value.dtype in _KEPT  # the usual case, and the fast one
    array = value if kept else _floating(name, value)
    require_finite(name, array) if finite else require_not_nan(name, array)
    return array


def real_or_complex(name: str, value: Any) -> jax.Array:
    """As `real`, where complex numbers have a meaning too."""
    if np.iscomplexobj(value):
        array = jnp.asarray(value)
        require_finite(name, array)
        return array
    return real(name, value)


def number(name: str, value: Any, finite: bool = True) -> float:
    """One real number that is known outside `jit`, as a Python float."""
    array = concrete(real(name, value, finite))
    if array is None:
        raise ValueError(f"{name} must be known outside jit; close over its value, or mark it static.")
    require(array.shape == (), f"{name} must be one number, got shape {array.shape}.")
    return float(value) if isinstance(value, (int, float)) else float(array)


def integers(name: str, value: Any) -> jax.Array:
    """Whole numbers as an integer array."""
    array = _plain_array(name, value, "integers")
    whole_numbers = jnp.issubdtype(array.dtype, np.integer)
    require(whole_numbers, f"{name} must be integers, got {array.dtype}; convert it with astype(int).")
    narrow = jnp.asarray(array)
    known, given = concrete(narrow), concrete(value)
    require(known is None or bool(np.all(known == given)), f"{name} holds integers beyond the range of {narrow.dtype}.")
    return narrow


def whole(name: str, value: Any) -> int:
    """A count or a size: any integer type, and nothing else."""
    try:
        if isinstance(value, bool) or getattr(value, "dtype", None) == np.bool_:
            raise TypeError
        return operator.index(value)
    except TypeError:
        hint = " It must be known outside jit." if isinstance(value, Tracer) else ""
        raise ValueError(f"{name} must be an integer, got {_shown(value)}.{hint}") from None


def lattice_shape(name: str, value: Any) -> tuple[int, ...]:
    """A tuple of sizes, from any sequence of integers."""
    if isinstance(value, (str, bytes)) or not isinstance(value, (Sequence, np.ndarray, jax.Array)):
        raise ValueError(f"{name} must be a sequence of integers such as (8, 8), got {_shown(value)}.")
    return tuple(whole(f"each entry of {name}", side) for side in value)


def flag(name: str, value: Any) -> bool:
    """True or False."""
    require(isinstance(value, (bool, np.bool_)), f"{name} must be True or False, got {_shown(value)}.")
    return bool(value)


def one_key(name: str, value: Any) -> jax.Array:
    """One random key, of the new style or the old."""
    dtype = getattr(value, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if not typed and (dtype != np.uint32 or np.ndim(value) == 0):
        raise ValueError(f"{name} must be a random key such as jax.random.key(0), got {_shown(value)}.")
    ndim = np.ndim(value) - (not typed)
    if ndim or not (typed or np.shape(value)[-1] in (2, 4)):
        raise ValueError(
            f"{name} must be one random key such as jax.random.key(0), got an array of shape {np.shape(value)}. "
            "For a batch of keys use jax.vmap."
        )
    return value if typed else jnp.asarray(value)


def instance(name: str, value: Any, wanted: tuple[type, ...]) -> Any:
    """An object of one of these classes."""
    if isinstance(value, wanted):
        return value
    names = " or ".join(kind.__name__ for kind in wanted)
    if isinstance(value, type):
        hint = f"the class {value.__name__} itself: give an instance, {value.__name__}(...)"
    else:
        hint = _shown(value)
    raise ValueError(f"{name} must be {_article(names)} {names}, got {hint}.")


def function(name: str, value: Any) -> Any:
    """Anything that can be called, but for a class: an instance of it is meant."""
    if isinstance(value, type):
        raise ValueError(f"{name} must be a function, got the class {value.__name__} itself: give an instance.")
    require(callable(value), f"{name} must be a function, got {_shown(value)}.")
    return value


def outputs(name: str, value: Any) -> Any:
    """What a user's function returned, as a pytree of arrays."""

    def one(leaf: Any) -> jax.Array:
        dtype = getattr(leaf, "dtype", None)
        good = isinstance(leaf, (bool, int, float, complex)) or (dtype is not None and dtype != np.object_)
        require(good, f"{name} must return arrays, alone or in tuples, dictionaries and modules; got {_shown(leaf)}.")
        return jnp.asarray(leaf)

    return jax.tree.map(one, value)


def output_like(name: str, value: Any, shape: Sequence[int]) -> jax.Array:
    """What a user's function returned, as one real array of this shape."""
    if value is None or isinstance(value, (tuple, list, dict, str)):
        raise ValueError(f"{name} must return one array of shape {tuple(shape)}, got {_shown(value)}.")
    array = real(f"what {name} returns", value, finite=False) if not isinstance(value, Tracer) else value
    if jnp.iscomplexobj(array):
        raise ValueError(f"{name} must return real numbers, got {array.dtype}; take the real part.")
    wanted = f"the shape of its configuration, {tuple(shape)}" if shape else "one number"
    require(tuple(array.shape) == tuple(shape), f"{name} must return {wanted}; got {tuple(array.shape)}.")
    return array if jnp.issubdtype(array.dtype, np.floating) else array.astype(float)


def wider(*trees: Any) -> Any:
    """The trees with all floating arrays in the widest precision among them; Python numbers have none of their own."""
    leaves = [leaf for leaf in jax.tree.leaves(trees) if _is_floating(leaf)]
    strong = [leaf.dtype for leaf in leaves if not getattr(leaf, "weak_type", False)]
    if not strong:
        return trees
    dtype = max(strong, key=lambda d: d.itemsize)
    if all(leaf.dtype == dtype or getattr(leaf, "weak_type", False) for leaf in leaves):
        return trees
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if _is_floating(leaf) else leaf, trees)


def _floating(name: str, value: Any) -> jax.Array:
    """The value as a floating array, by the rule of precision."""
    if isinstance(value, (bool, int, float)) and not isinstance(value, np.generic):
        given, dtype = _python_float(name, value), None
    else:
        given = _plain_array(name, value, "real numbers")
        half = jnp.float32 if given.dtype.itemsize < 4 else None
        dtype = half if jnp.issubdtype(given.dtype, np.floating) else float
    if isinstance(given, Tracer):
        return jnp.asarray(given, dtype)
    with jax.ensure_compile_time_eval():  # known numbers stay known inside jit
        return jnp.asarray(given, dtype)


def _python_float(name: str, value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} is too large for a floating-point number.") from None


def _plain_array(name: str, value: Any, wanted: str) -> Any:
    """The value as an array of real numbers that is not yet converted: a tracer, a JAX or a NumPy array."""
    if value is None or isinstance(value, (str, bytes, dict, set)):
        raise ValueError(f"{name} must be {wanted}, got {_shown(value)}.")
    if isinstance(value, np.ma.MaskedArray) and np.any(np.ma.getmaskarray(value)):
        raise ValueError(f"{name} has masked entries, which have no value: fill them, or leave them out.")
    try:
        array = value if isinstance(value, jax.Array) else _from_sequence(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be {wanted} in an array of one shape, got {_shown(value)}.") from None
    dtype = array.dtype
    if jnp.issubdtype(dtype, np.complexfloating):
        raise ValueError(f"{name} must be real, got {dtype}; take its real part or its magnitude.")
    if not (dtype == np.bool_ or jnp.issubdtype(dtype, np.number)):
        raise ValueError(f"{name} must be {wanted}, got {_shown(value)}.")
    return array


def _from_sequence(value: Any) -> Any:
    """A NumPy array, unless there are tracers in the sequence."""
    traced = isinstance(value, (list, tuple)) and any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value))
    return jnp.asarray(value) if traced else np.asarray(value)


def _is_floating(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    return isinstance(leaf, (jax.Array, np.ndarray)) and dtype is not None and jnp.issubdtype(dtype, np.floating)


def _shown(value: Any) -> str:
    """A short description of what was got."""
    if isinstance(value, (jax.Array, np.ndarray)) and np.ndim(value):
        return f"an array of shape {np.shape(value)} and type {value.dtype}"
    if isinstance(value, Tracer):
        return f"a traced value of type {value.dtype}"
    text = repr(value) if isinstance(value, (str, int, float, complex, np.generic)) or value is None else ""
    text = text if len(text) <= 60 else text[:57] + "..."
    return text or f"{_article(type(value).__name__)} {type(value).__name__}"


def _article(noun: str) -> str:
    return "an" if noun[:1].lower() in "aeiou" else "a"
