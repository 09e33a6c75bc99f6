"""Units that are one program: their arrays stacked, the program compiled, and run in packs on all devices."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import AxisType, PartitionSpec

from softjax._types import Array, PRNGKeyArray
from softjax.sweeps._measured import Variable, variables

_MEMORY_SHARE = 0.6  # of the device's memory, or of what is free of a CPU's, that one pack may take
_CPU_MEMORY = 8 * 2**30  # bytes that it may take of a CPU's at most
_MESH = "units"


class Program:
    """All cells whose units have one structure, equal shapes and equal static fields.

    Leaves that are equal in all cells are kept once; the others are stacked, a leading axis of cells.
    """

    def __init__(self, cells: Sequence[int], units: Sequence[Any], key: PRNGKeyArray, independent: bool):
        self.cells = np.asarray(cells)
        leaves = [jax.tree.leaves(floating(unit)) for unit in units]
        self._treedef, self._independent = jax.tree.structure(units[0]), independent
        self._impl, key_bits = jr.key_impl(key), jr.key_data(key)
        self._impls = [key_impl(leaf) for leaf in leaves[0]]
        self._static: dict[int, Any] = {}
        self._shared: dict[int, Any] = {-1: shared(key_bits)}
        self._stacked: dict[int, np.ndarray] = {}
        for place, column in enumerate(zip(*leaves, strict=True)):
            if not is_array(column[0]):
                self._static[place] = column[0]
            elif all(leaf is column[0] for leaf in column) or len({contents(leaf) for leaf in column}) == 1:
                self._shared[place] = shared(jr.key_data(column[0]) if self._impls[place] else column[0])
            else:
                self._stacked[place] = np.stack([bits(leaf) for leaf in column])
        self._traced: dict[int, Any] = {}
        self._compiled: dict[int, Any] = {}
        self._fitting: dict[int, int] = {}  # widths asked for, and those that there is memory for
        self.described: list[Variable] = []
        self.compile_time = 0.0  # seconds so far, of tracing too

    def _one(self, shared: dict[int, Array], stacked: dict[int, Array], cell: Array, member: Array) -> list[Array]:
        key = jr.wrap_key_data(shared[-1], impl=self._impl)
        known = self._static | shared | stacked
        leaves = [
            jr.wrap_key_data(known[place], impl=impl) if impl else known[place]
            for place, impl in enumerate(self._impls)
        ]
        unit = jax.tree.unflatten(self._treedef, leaves)
        self.described = variables(unit(member, jr.fold_in(key, cell) if self._independent else key))
        return [variable.value for variable in self.described]

    def _pack(self, shared: dict[int, Array], stacked: dict[int, Array], cells: Array, members: Array) -> list[Array]:
        return jax.vmap(partial(self._one, shared))(stacked, cells, members)

    def _arguments(self, places: np.ndarray, members: np.ndarray) -> tuple[Any, ...]:
        """Arguments of a pack: units by the place of their cell in this program, and by member."""
        stacked = {place: shared(leaf[places]) for place, leaf in self._stacked.items()}
        numbers = (shared(values.astype(np.int32)) for values in (self.cells[places], members))
        return self._shared, stacked, *numbers

    def traced(self, width: int) -> Any:
        """The program of a pack of `width` units, over all local devices if they can share it equally."""
        if width not in self._traced:
            start = time.perf_counter()
            devices, nothing = (1 if one_program() else len(jax.local_devices())), np.zeros(width, int)
            pack: Callable = self._pack
            if devices > 1 and width % devices == 0:
                mesh = jax.make_mesh((devices,), (_MESH,), axis_types=(AxisType.Auto,), devices=jax.local_devices())
                over, same = PartitionSpec(_MESH), PartitionSpec()
                specs = {"in_specs": (same, over, over, over), "out_specs": over}
                pack = jax.shard_map(pack, mesh=mesh, check_vma=False, **specs)
            self._traced[width] = jax.jit(pack).trace(*self._arguments(nothing, nothing))
            self.compile_time += time.perf_counter() - start
        return self._traced[width]

    def templates(self, width: int) -> list[Variable]:
        """What one unit returns: shapes and labels, no values. A pack of `width` is traced for it."""
        shapes = self.traced(width).out_info
        return [
            Variable(variable.name, jax.ShapeDtypeStruct(value.shape[1:], value.dtype), variable.dims, variable.about)
            for variable, value in zip(self.described, shapes, strict=True)
        ]

    def argument_bytes(self, width: int) -> int:
        """Bytes of the arguments of a pack."""
        shared = sum(leaf.nbytes for leaf in self._shared.values())
        return shared + width * sum(leaf[0].nbytes for leaf in self._stacked.values())

    def prepare(self, width: int) -> int:
        """Compiles a pack of `width` units, or of fewer if that takes more memory than there is; returns how many."""
        asked = width
        width = self._fitting.get(width, width)
        while width not in self._compiled:
            traced, start = self.traced(width), time.perf_counter()
            compiled = traced.lower().compile()
            self.compile_time += time.perf_counter() - start
            needed, budget = bytes_needed(compiled), memory_budget()
            if needed <= budget or width == 1:
                self._compiled[width] = compiled
            else:
                width = max(1, min(width // 2, int(width * budget / needed)))
        self._fitting[asked] = width
        return width

    def run(self, places: np.ndarray, members: np.ndarray, width: int) -> tuple[list[np.ndarray], int]:
        """Results of some units in packs of `width`, which is halved where the memory is exhausted; and that width.

        Raises `MemoryError` where one unit alone is too much.
        """
        parts: list[list[np.ndarray]] = []
        first = 0
        while first < places.size:
            chosen = slice(first, first + width)
            count = places[chosen].size
            padded = (np.resize(places[chosen], width), np.resize(members[chosen], width))
            try:
                width = self.prepare(width)
                if width < padded[0].size:
                    continue
                done = _awaited(self._compiled[width](*self._arguments(*padded)))
                parts.append([gathered(value)[:count] for value in done])
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                if width == 1:
                    raise MemoryError("one unit alone exhausts the device's memory.") from error
                width //= 2
                continue
            first += count
        return [np.concatenate(column) for column in zip(*parts, strict=True)], width


def _awaited(values: list[Array]) -> list[Array]:
    """The results of a pack when they are there; signals are heard meanwhile, as they are not within JAX."""
    pause = 1e-4
    while not all(value.is_ready() for value in values):  # pyright: ignore[reportAttributeAccessIssue]  # not in its stub
        time.sleep(pause)
        pause = min(1.05 * pause, 0.005)
    return values


def one_program() -> bool:
    """Whether this process runs one program together with others, by `jax.distributed`."""
    return jax.process_count() > 1


def shared(leaf: Any) -> Any:
    """An argument of a program; for one of several processes each gives the same numbers, or its part of an array."""
    if not one_program():
        return jnp.asarray(leaf)
    return leaf if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable else np.asarray(leaf)


def gathered(value: Array) -> np.ndarray:
    """A result with all its parts, those of other processes too."""
    if value.is_fully_addressable:
        return np.asarray(value)
    if value.is_fully_replicated:
        return np.asarray(value.addressable_data(0))
    return np.asarray(process_allgather(value, tiled=True))


def floating(unit: Any) -> Any:
    """The unit with its real and complex numbers as arrays, which may differ in one program; others are static."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, float | complex) else leaf, unit)


def is_array(leaf: Any) -> bool:
    """Whether a leaf is an argument of the program."""
    return isinstance(leaf, jax.Array | np.ndarray | np.generic)


def key_impl(leaf: Any) -> Any:
    """Kind of a random key; None for anything else."""
    return jr.key_impl(leaf) if is_array(leaf) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else None


def bits(leaf: Any) -> np.ndarray:
    """The values of a leaf that is an array."""
    return np.asarray(jr.key_data(leaf) if key_impl(leaf) else leaf)


def contents(leaf: Any) -> bytes:
    """The bytes of a leaf that is an array; of one that several processes share, those that are here."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return b"".join(np.asarray(part.data).tobytes() for part in leaf.addressable_shards)
    return bits(leaf).tobytes()


def signature(unit: Any) -> tuple[Any, ...]:
    """Equal for units that are one program."""
    leaves, treedef = jax.tree.flatten(floating(unit))
    return treedef, tuple((leaf.shape, leaf.dtype) if is_array(leaf) else leaf for leaf in leaves)


def memory_budget() -> float:
    """Bytes that one pack may take on a device.

    >>> sj.sweeps.memory_budget() > 1e6
    True
    """
    stats = jax.local_devices()[0].memory_stats() or {}
    return _MEMORY_SHARE * stats["bytes_limit"] if "bytes_limit" in stats else float(_CPU_MEMORY)


def bytes_needed(compiled: Any) -> int:
    """What the compiler says that a program takes, besides its arguments."""
    report = compiled.memory_analysis()
    return 0 if report is None else report.temp_size_in_bytes + report.output_size_in_bytes


def bytes_of_one(unit: Any, key: PRNGKeyArray) -> int:
    """Memory in bytes that one unit takes besides its own arrays, by the compiler's report.

    * `unit`: a callable of a member and a key, as `Sweep` takes it;
    * `key`: any random key.

    >>> class Draw(sj.sweeps.Unit):
    ...     scale: float
    ...     def __call__(self, member, key):
    ...         return {"value": self.scale * jr.normal(jr.fold_in(key, member))}
    >>> sweep = sj.sweeps.Sweep(Draw, {"scale": [1.0, 2.0, 4.0]}, members=2, key=jr.key(0))
    >>> sj.sweeps.bytes_of_one(Draw(2.0), jr.key(0)) > 0
    True
    """
    return bytes_needed(Program([0], [unit], key, False).traced(1).lower().compile())
