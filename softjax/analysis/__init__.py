"""From measured responses and lengths to critical times, with errors."""

from softjax.analysis._collapse import Collapse as Collapse
from softjax.analysis._collapse import PowerLaw as PowerLaw
from softjax.analysis._collapse import data_collapse as data_collapse
from softjax.analysis._collapse import power_law as power_law
from softjax.analysis._critical import CriticalPoint as CriticalPoint
from softjax.analysis._critical import critical_point as critical_point
from softjax.analysis._critical import onset as onset
from softjax.analysis._critical import zero_crossing as zero_crossing
from softjax.analysis._excess import Excess as Excess
from softjax.analysis._excess import excess as excess
from softjax.analysis._jackknife import Jackknife as Jackknife
from softjax.analysis._jackknife import jackknife as jackknife
from softjax.analysis._length import EquilibriumLength as EquilibriumLength
from softjax.analysis._length import equilibrium_correlation_length as equilibrium_correlation_length
from softjax.analysis._paired import PairedDifference as PairedDifference
from softjax.analysis._paired import paired_difference as paired_difference
from softjax.analysis._scaling import FiniteSize as FiniteSize
from softjax.analysis._scaling import SizeCrossing as SizeCrossing
from softjax.analysis._scaling import finite_size as finite_size
from softjax.analysis._scaling import size_crossing as size_crossing
from softjax.analysis._scaling import structure_length as structure_length
from softjax.analysis._smoothing import log_derivative as log_derivative
from softjax.analysis._smoothing import smooth as smooth
