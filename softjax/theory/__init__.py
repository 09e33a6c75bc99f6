"""Closed forms for the reverse drift's linear stability (theory.md sections 2 and 3)."""

from softjax.theory._critical import critical_noise_variance as critical_noise_variance
from softjax.theory._critical import critical_time as critical_time
from softjax.theory._critical import dictionary_critical_time as dictionary_critical_time
from softjax.theory._spectra import dictionary_spectrum as dictionary_spectrum
from softjax.theory._spectra import neighbourhood_spectrum as neighbourhood_spectrum
from softjax.theory._spectra import patch_spectrum as patch_spectrum
from softjax.theory._spectra import two_pattern_eigenvalues as two_pattern_eigenvalues
