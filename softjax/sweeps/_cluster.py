"""Blocks of a sweep on the workers of Dask distributed (extra `cluster`), which start anew what a killed one had."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from softjax.sweeps._lock import Locks
from softjax.sweeps._store import TODO, Store, existing

_MISSING = "a cluster needs Dask distributed: pip install 'softjax-diffusion[cluster]'."
_fillers: dict[str, Any] = {}  # of this worker, by result: programs are compiled once


@contextmanager
def local_cluster(num_workers: int | None = None, address: str | None = None) -> Iterator[Any]:
    """A `distributed.Client` for `run`: of the scheduler at `address`, or of workers on this machine.

    * `num_workers`: processes on this machine; one for each two cores if None;
    * `address`: of a scheduler that runs already, such as "tcp://host:8786".

    Raises `ModuleNotFoundError` where Dask distributed is not installed.

    >>> class Draw(sj.sweeps.Unit):
    ...     scale: float
    ...     def __call__(self, member, key):
    ...         return {"value": self.scale * jr.normal(jr.fold_in(key, member))}
    >>> sweep = sj.sweeps.Sweep(Draw, {"scale": [1.0, 2.0, 4.0]}, members=2, key=jr.key(0))
    >>> with sj.sweeps.local_cluster(2) as client:  # doctest: +SKIP
    ...     data = sj.sweeps.run(sweep, "result.zarr", client=client)
    """
    try:
        from distributed import Client, LocalCluster
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(_MISSING) from error
    if address is not None:
        with Client(address) as client:
            yield client
        return
    nowhere: Any = None  # no dashboard
    local = LocalCluster(n_workers=num_workers, threads_per_worker=1, dashboard_address=nowhere)
    with local as cluster, Client(cluster) as client:
        yield client


def fill(client: Any, sweep: Any, store: Store, report: Callable[[int, int], None]) -> None:
    """Has the workers compute every block that is not finished; what they leave undone is left to the caller."""
    import cloudpickle
    from distributed import as_completed

    states = store.states()
    blocks = [block for block in range(store.num_blocks) if np.any(states[store.units_of(block)] == TODO)]
    finished = int(np.sum(states != TODO))
    packed = client.scatter(cloudpickle.dumps(sweep), hash=False)
    futures = [client.submit(_block, str(store.path), packed, block, pure=False) for block in blocks]
    for future in as_completed(futures):
        finished += store.units_of(future.result()).size
        report(finished, store.num_units)


def _block(path: str, packed: bytes, block: int) -> int:
    """Computes one block in a worker."""
    import cloudpickle

    from softjax.sweeps._run import Filler

    if path not in _fillers:
        store = existing(Path(path))
        assert store is not None
        _fillers[path] = Filler(cloudpickle.loads(packed), store, Locks(Path(path)))
    _fillers[path].block(block, wait=True)
    return block
