"""How much work a program is, counted in its equations: loops as often as they run."""

from typing import Any

import numpy as np


def operations(jaxpr: Any) -> float:
    """Elementary operations of a program: one for each element made, and those of products of matrices."""
    return sum((_of_equation(equation) for equation in jaxpr.eqns), 0.0)


def _of_equation(equation: Any) -> float:
    inner = [getattr(value, "jaxpr", value) for value in _flat(equation.params.values())]
    inside = sum(operations(one) for one in inner if hasattr(one, "eqns"))
    if inside:
        return inside * equation.params.get("length", 1)
    made = sum((float(np.prod(out.aval.shape)) for out in equation.outvars if hasattr(out.aval, "shape")), 0.0)
    name = equation.primitive.name
    if name == "dot_general":
        contracted = equation.params["dimension_numbers"][0][0]
        return made * 2 * float(np.prod([equation.invars[0].aval.shape[axis] for axis in contracted]))
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        outputs = equation.params["dimension_numbers"].rhs_spec[0]
        return made * 2 * float(np.prod(kernel)) / kernel[outputs]
    return made * (20 if name in ("random_bits", "threefry2x32", "erf_inv", "exp", "log") else 1)


def _flat(values: Any) -> Any:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _flat(value)
        else:
            yield value
