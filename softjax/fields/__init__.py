"""Score fields: what a diffusion model knows of its data, in closed form or from a network."""

from softjax.fields._base import AbstractEvidenceField as AbstractEvidenceField
from softjax.fields._base import AbstractField as AbstractField
from softjax.fields._base import AbstractPatternField as AbstractPatternField
from softjax.fields._base import channels_of as channels_of
from softjax.fields._covariance import CovarianceField as CovarianceField
from softjax.fields._dictionary import PatchDictionary as PatchDictionary
from softjax.fields._empirical import EmpiricalField as EmpiricalField
from softjax.fields._gaussian import AbstractGaussianField as AbstractGaussianField
from softjax.fields._gaussian import GaussianField as GaussianField
from softjax.fields._guided import GuidedField as GuidedField
from softjax.fields._guided import Pulse as Pulse
from softjax.fields._guided import log_intervals as log_intervals
from softjax.fields._guided import pulse as pulse
from softjax.fields._local import LocalField as LocalField
from softjax.fields._mixture_field import MixtureField as MixtureField
from softjax.fields._network import NetworkField as NetworkField
from softjax.fields._patch import PatchField as PatchField
from softjax.fields._positioned import PositionedLocalField as PositionedLocalField
from softjax.fields._rescaled import RescaledField as RescaledField
