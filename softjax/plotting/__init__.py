"""The figures' shared style and panels. Everything is drawn from a dataset, nothing is computed anew."""

from softjax.plotting._overview import Quantity as Quantity
from softjax.plotting._overview import overview as overview
