"""Observables of one configuration. Nothing here knows of fields or processes."""

from softjax.observables._correlation import correlation_function as correlation_function
from softjax.observables._correlation import correlation_length as correlation_length
from softjax.observables._correlation import noise_floor as noise_floor
from softjax.observables._correlation import second_moment_length as second_moment_length
from softjax.observables._local import binarize as binarize
from softjax.observables._local import luminance as luminance
from softjax.observables._local import magnetisation as magnetisation
from softjax.observables._plane import PlaneLength as PlaneLength
from softjax.observables._plane import plane_correlation as plane_correlation
from softjax.observables._plane import plane_correlation_length as plane_correlation_length
