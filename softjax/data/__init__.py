"""Data sets, read and checked, and their patches and batches. Files are never executed, only parsed."""

from softjax.data._batches import shuffled_batches as shuffled_batches
from softjax.data._fashion_mnist import FASHION_MNIST_CLASSES as FASHION_MNIST_CLASSES
from softjax.data._fashion_mnist import load_fashion_mnist as load_fashion_mnist
from softjax.data._idx import DataError as DataError
from softjax.data._images import SPIN_THRESHOLD as SPIN_THRESHOLD
from softjax.data._images import LabelledImages as LabelledImages
from softjax.data._images import binarized as binarized
from softjax.data._images import grey as grey
from softjax.data._images import padded as padded
