"""Diffusion processes: signal and noise scales, the clocks between them, and time grids."""

from softjax.processes._base import AbstractProcess as AbstractProcess
from softjax.processes._discrete import DiscreteVP as DiscreteVP
from softjax.processes._discrete import TableSchedule as TableSchedule
from softjax.processes._edm import EDM as EDM
from softjax.processes._flow import RectifiedFlow as RectifiedFlow
from softjax.processes._grids import karras_grid as karras_grid
from softjax.processes._grids import log_grid as log_grid
from softjax.processes._schedules import AbstractSchedule as AbstractSchedule
from softjax.processes._schedules import CallableSchedule as CallableSchedule
from softjax.processes._schedules import ConstantSchedule as ConstantSchedule
from softjax.processes._schedules import CosineSchedule as CosineSchedule
from softjax.processes._schedules import LinearSchedule as LinearSchedule
from softjax.processes._stored import describe as describe
from softjax.processes._stored import from_description as from_description
from softjax.processes._vp import VP as VP
