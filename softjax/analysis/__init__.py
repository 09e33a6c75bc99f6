"""From measured responses and lengths to critical times, with errors."""

from softjax.analysis._critical import CriticalPoint as CriticalPoint
from softjax.analysis._critical import critical_point as critical_point
from softjax.analysis._critical import onset as onset
from softjax.analysis._critical import zero_crossing as zero_crossing
from softjax.analysis._excess import Excess as Excess
from softjax.analysis._excess import excess as excess
from softjax.analysis._length import EquilibriumLength as EquilibriumLength
from softjax.analysis._length import equilibrium_correlation_length as equilibrium_correlation_length
from softjax.analysis._paired import PairedDifference as PairedDifference
from softjax.analysis._paired import paired_difference as paired_difference
from softjax.analysis._smoothing import log_derivative as log_derivative
from softjax.analysis._smoothing import smooth as smooth
