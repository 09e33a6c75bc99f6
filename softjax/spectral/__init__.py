"""Fourier analysis on periodic lattices: wavevectors, real modes and shells, radial averages, structure factors."""

from softjax.spectral._lattice import displacements as displacements
from softjax.spectral._lattice import extended as extended
from softjax.spectral._lattice import integer_wavevectors as integer_wavevectors
from softjax.spectral._lattice import radial_average as radial_average
from softjax.spectral._lattice import wavevector_lengths as wavevector_lengths
from softjax.spectral._lattice import wavevectors as wavevectors
from softjax.spectral._modes import FourierModes as FourierModes
from softjax.spectral._modes import fourier_modes as fourier_modes
from softjax.spectral._modes import in_channels as in_channels
from softjax.spectral._structure import free_field_spectrum as free_field_spectrum
from softjax.spectral._structure import gaussian_random_field as gaussian_random_field
from softjax.spectral._structure import spectral_content as spectral_content
from softjax.spectral._structure import structure_factor as structure_factor
