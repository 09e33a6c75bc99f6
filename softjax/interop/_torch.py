"""A torch module as a JAX function: torch's operations run as JAX's, through torchax."""

import copy
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from softjax._checks import public, require
from softjax.interop._convention import Channels, Convention, TorchNetwork
from softjax.interop._torchax import environment, optional

_VALUES = ("x", "t", "label")
_LOCK = threading.RLock()  # a module is given other parameters while it is traced


@public
def from_torch(
    module: Any,
    *,
    shape: Sequence[int],
    channels: Channels,
    batch: bool = True,
    arguments: Sequence[str] = ("x", "t"),
    keywords: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    time: Literal["float", "index"] = "float",
    time_scale: float = 1.0,
    output: str | int | None = None,
    learned_variance: bool = False,
) -> TorchNetwork:
    """A JAX function `network(t, x)`, or `network(t, x, label)`, of a torch module.

    It is a pytree of the module's parameters and buffers, which are copied; it can be compiled, batched,
    differentiated exactly, and put into `NetworkField`. The module is left as it is. float32 and float64 are kept
    (float64 needs JAX_ENABLE_X64=1), half precision becomes float32.

    A module that torchax can't trace becomes a black box, with a warning: it can be evaluated, by torch on the CPU,
    and its modes come from `mode_response(..., method="finite_difference")`.

    * `module`: a `torch.nn.Module` in evaluation mode;
    * `shape`: shape of one configuration as softjax has it, (*lattice,) or (*lattice, channels). The network also
      takes other lattices where the module does;
    * `channels`: how the module has it: "first", (channels, *lattice) for configurations of shape (*lattice,
      channels); "single", (1, *lattice) for configurations of shape (*lattice,); "same", as it is;
    * `batch`: whether the module takes and returns a leading batch axis; time and label are then of shape (1,), else
      ();
    * `arguments`: the positional arguments in their order, of "x", "t" and "label";
    * `keywords`: keyword arguments by name, each one of "x", "t" and "label": `{"class_labels": "label"}`;
    * `options`: constant keyword arguments, plain values: `{"return_dict": False}`;
    * `time`: "float", or "index": the time is rounded to a whole number, for modules with a table of times;
    * `time_scale`: what the time of the process is multiplied by before, module time per unit of t;
    * `output`: attribute, key or position of the output in what the module returns, such as "sample" or 0; None if it
      is it;
    * `learned_variance`: whether the module returns twice the channels (for "same": twice the last axis), of which the
      second half is a learned variance. It is dropped.

    Returns a `TorchNetwork`: the function, with `parameters` by torch's names.

    Raises `ModuleNotFoundError` or `ImportError` if torch or torchax is missing, or their versions do not fit: the
    message says which do; `ValueError` for a module in training mode, a TorchScript program, an argument that does not
    exist, and a module that can't be called like this or returns another shape.

    >>> import torch
    >>> class Half(torch.nn.Module):
    ...     def forward(self, x, t):
    ...         return 0.5 * x
    >>> network = sj.interop.from_torch(Half().eval(), shape=(4, 4), channels="same", batch=False)
    >>> print(sj.NetworkField(network, sj.EDM(), "denoiser").score(1.0, jnp.ones((4, 4)))[0, 0])
    -0.5
    """
    torch = optional("torch")
    env = environment()
    convention = Convention(
        *(tuple(shape), channels, batch, tuple(arguments), tuple((keywords or {}).items())),
        *(tuple((options or {}).items()), time, time_scale, output, learned_variance),
    )
    _require_arguments(convention)
    module = _own(torch, module)
    states = _states(torch, module)
    _require_callable(torch, module, states, convention)
    parameters = {name: _to_jax(torch, tensor) for name, tensor in states.items()}
    traced = _traced(torch, env, module, convention)
    network = TorchNetwork(parameters, convention, True, traced)
    label = 0 if convention.labelled() else None
    try:
        jax.eval_shape(network, jnp.zeros(()), jnp.zeros(shape, _precision(parameters)), label)
    except Exception as error:
        _warn(module, error)
        return TorchNetwork({}, convention, False, _black_box(torch, module, states, convention))
    return network


def _require_arguments(convention: Convention) -> None:
    names = (*convention.arguments, *(value for _, value in convention.keywords))
    good = set(names) <= {*_VALUES} and len(set(names)) == len(names) and "x" in names
    require(good, f"arguments and keywords must name 'x', 't' and 'label', each once and 'x' always; got {names}.")
    twice = {name for name, _ in convention.keywords} & {name for name, _ in convention.options}
    require(not twice, f"keywords and options both name {', '.join(sorted(twice))}.")


def _own(torch: Any, module: Any) -> Any:
    """A copy of the module that shares its tensors, so that what becomes of the module does not matter."""
    require(
        isinstance(module, torch.nn.Module),
        f"module must be a torch.nn.Module, got {type(module).__name__}: NetworkField takes JAX functions as they are.",
    )
    module = getattr(module, "_orig_mod", module)  # of torch.compile
    script = isinstance(module, torch.jit.ScriptModule)
    require(not script, "module is a TorchScript program: give the torch.nn.Module that it was made of.")
    training = [name or "itself" for name, part in module.named_modules() if part.training]
    if training:
        raise ValueError(
            f"module is in training mode ({', '.join(training[:3])}), in which dropout and batch statistics make its "
            "output random: call module.eval() first."
        )
    return copy.deepcopy(module, {id(tensor): tensor for tensor in _states(torch, module).values()})


def _states(torch: Any, module: Any) -> dict[str, Any]:
    """Parameters, buffers and tensors that are plain attributes, by name; shared ones once."""
    states = dict(module.named_parameters())
    states |= dict(module.named_buffers())
    for prefix, part in module.named_modules():
        plain = {name: value for name, value in vars(part).items() if isinstance(value, torch.Tensor)}
        states |= {f"{prefix}.{name}" if prefix else name: value for name, value in plain.items()}
    return states


def _to_jax(torch: Any, tensor: Any) -> jax.Array:
    """A copy of a tensor."""
    tensor = tensor.detach().cpu()
    if tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.float()
    return jnp.array(tensor.numpy(), copy=True)


def _precision(parameters: Mapping[str, jax.Array]) -> Any:
    floats = [p.dtype for p in parameters.values() if jnp.issubdtype(p.dtype, jnp.floating)]
    return max(floats, key=lambda dtype: dtype.itemsize, default=jnp.result_type(float))


def _evaluated(torch: Any, module: Any, states: Mapping[str, Any], convention: Convention, values: Any) -> np.ndarray:
    """What torch itself returns, of NumPy arrays."""
    like = next((s for s in states.values() if s.is_floating_point()), torch.zeros(()))
    tensors = {name: torch.from_numpy(np.array(value)).to(like.device) for name, value in values.items()}
    tensors = {n: v.to(like.dtype) if v.is_floating_point() else v.long() for n, v in tensors.items()}
    with torch.no_grad():
        returned = convention.call(module, tensors)
    good = isinstance(returned, torch.Tensor)
    where = "returns" if convention.output is None else f"has at {convention.output!r}"
    require(good, f"the module {where} a {type(returned).__name__}, wanted a tensor: say with output where it is.")
    return returned.cpu().to(torch.float64 if returned.dtype == torch.float64 else torch.float32).numpy()


def _require_callable(torch: Any, module: Any, states: Mapping[str, Any], convention: Convention) -> None:
    """Evaluates the module once, in torch, on zeros: a mistake in the convention is told from a limit of torchax."""
    zeros = convention.inputs(jnp.zeros(()), jnp.zeros(convention.shape, jnp.float32), 0)
    copies = {name: tensor.clone() for name, tensor in states.items()}

    def call(*args: Any, **kwargs: Any) -> Any:
        return torch.func.functional_call(module, copies, args, kwargs)

    try:
        shape = _evaluated(torch, call, states, convention, zeros).shape
    except Exception as error:
        given = ", ".join(f"{name} {tuple(value.shape)}" for name, value in zeros.items())
        raise ValueError(
            f"the module can't be called like this, with {given}: {type(error).__name__}: {error}. Say how it is "
            "called with channels, batch, arguments, keywords, options, time and output."
        ) from error
    wanted = convention.wanted()
    require(
        shape == wanted,
        f"the module must return shape {wanted}, got {shape}. Twice the channels: learned_variance=True; else say with "
        "channels, batch and output what its axes are.",
    )


def _traced(torch: Any, env: Any, module: Any, convention: Convention) -> Callable[..., jax.Array]:
    """The module with JAX's operations, as a function of parameters and inputs."""

    def run(parameters: dict[str, jax.Array], values: dict[str, jax.Array]) -> jax.Array:
        with _LOCK, env, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Explicitly requested dtype")  # torch's int64 without x64
            states, tensors = env.j2t_iso((parameters, values))

            def call(*args: Any, **kwargs: Any) -> Any:
                return torch.func.functional_call(module, states, args, kwargs)

            return env.t2j_iso(convention.call(call, tensors))

    return run


def _black_box(torch: Any, module: Any, states: Mapping[str, Any], convention: Convention) -> Callable[..., jax.Array]:
    """The module evaluated by torch, on copies of its tensors."""
    module = copy.deepcopy(module).cpu()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    states = _states(torch, module)

    def evaluate(values: dict[str, Any]) -> np.ndarray:
        with _LOCK:
            return _evaluated(torch, module, states, convention, values).astype(values["x"].dtype)

    @jax.custom_jvp
    def run(values: dict[str, jax.Array]) -> jax.Array:
        x = values["x"]
        axis = (1 if convention.batch else 0) if convention.channels != "same" else x.ndim - 1
        shape = tuple(n * (1 + convention.learned_variance * (i == axis)) for i, n in enumerate(x.shape))
        return jax.pure_callback(evaluate, jax.ShapeDtypeStruct(shape, x.dtype), values, vmap_method="sequential")

    @run.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        name = type(module).__name__
        raise ValueError(
            f"{name} is a black box, which torchax could not trace: it has no derivatives. Use method="
            "'finite_difference'."
        )

    return lambda parameters, values: run(values)


def _warn(module: Any, error: Exception) -> None:
    reason = str(error).splitlines()[0] if str(error) else ""
    warnings.warn(
        f"torchax can't trace {type(module).__name__} ({type(error).__name__}: {reason[:200]}): it becomes a black "
        "box, evaluated by torch on the CPU, without derivatives: use mode_response(..., method='finite_difference').",
        stacklevel=4,
    )
