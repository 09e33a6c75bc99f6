"""The engine: any number of units of work, over parameters, members, devices and machines, into one labelled dataset.

A `Sweep` says what one unit is and over which values; `run` computes what is missing of it, in packs as large as the
memory allows, into a folder that survives kills and notices damage; `load` and `status` read that folder.
"""

from softjax.sweeps._axes import Axes as Axes
from softjax.sweeps._axes import parse_axis as parse_axis
from softjax.sweeps._cluster import local_cluster as local_cluster
from softjax.sweeps._labels import cell as cell
from softjax.sweeps._measured import measured as measured
from softjax.sweeps._measured import variable as variable
from softjax.sweeps._program import bytes_of_one as bytes_of_one
from softjax.sweeps._program import memory_budget as memory_budget
from softjax.sweeps._progress import reporting as reporting
from softjax.sweeps._run import Progress as Progress
from softjax.sweeps._run import load as load
from softjax.sweeps._run import run as run
from softjax.sweeps._status import Status as Status
from softjax.sweeps._status import status as status
from softjax.sweeps._store import DamagedResult as DamagedResult
from softjax.sweeps._sweep import Explanation as Explanation
from softjax.sweeps._sweep import Sweep as Sweep
from softjax.sweeps._sweep import Unit as Unit
from softjax.sweeps._sweep import fingerprint as fingerprint
