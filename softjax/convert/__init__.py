"""Checkpoints: readers that execute nothing, tables from torch's names to ours, and the folders networks live in."""

from softjax.convert._checkpoint import Checkpoint as Checkpoint
from softjax.convert._convert import convert as convert
from softjax.convert._convert import read_checkpoint as read_checkpoint
from softjax.convert._covariance import load_covariance as load_covariance
from softjax.convert._covariance import save_covariance as save_covariance
from softjax.convert._dinov2 import dinov2_from_tensors as dinov2_from_tensors
from softjax.convert._edm2 import edm2_from_tensors as edm2_from_tensors
from softjax.convert._fetch import PUBLISHED as PUBLISHED
from softjax.convert._fetch import fetch as fetch
from softjax.convert._parameters import CheckpointError as CheckpointError
from softjax.convert._parameters import parameter_names as parameter_names
from softjax.convert._parameters import parameters as parameters
from softjax.convert._parameters import with_parameters as with_parameters
from softjax.convert._shipped import shipped as shipped
from softjax.convert._store import load_module as load_module
from softjax.convert._store import load_network as load_network
from softjax.convert._store import read_description as read_description
from softjax.convert._store import save_network as save_network
