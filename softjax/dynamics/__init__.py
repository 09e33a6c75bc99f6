"""Reverse-time dynamics of a field: drifts, and trajectories on a prescribed time grid."""

from softjax.dynamics._brownian import GridBrownian as GridBrownian
from softjax.dynamics._cloning import CloningAgreement as CloningAgreement
from softjax.dynamics._cloning import cloning_agreement as cloning_agreement
from softjax.dynamics._drift import flow_drift as flow_drift
from softjax.dynamics._drift import reverse_drift as reverse_drift
from softjax.dynamics._drift import stochastic_drift as stochastic_drift
from softjax.dynamics._heun import Churn as Churn
from softjax.dynamics._heun import heun as heun
from softjax.dynamics._heun import heun_ensemble as heun_ensemble
from softjax.dynamics._landau import LandauCoefficients as LandauCoefficients
from softjax.dynamics._landau import simulate_landau as simulate_landau
from softjax.dynamics._simulate import Trajectory as Trajectory
from softjax.dynamics._simulate import simulate as simulate
from softjax.dynamics._simulate import simulate_ensemble as simulate_ensemble
