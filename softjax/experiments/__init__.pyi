from . import clocks as clocks
from . import configs as configs
from . import empirical as empirical
from . import fashion as fashion
from . import locality as locality
from . import patch as patch
from . import theory as theory
from ._store import load_results as load_results
