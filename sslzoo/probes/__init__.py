"""What an encoder has learnt, measured: every probe stands beside a random-init twin."""

from sslzoo.probes.classifier import Head, finetune, fit_head
from sslzoo.probes.linear_probe import Scores, beside, linear, random_twin
from sslzoo.probes.nearest import Monitor, knn
from sslzoo.probes.nonlinear import nonlinear

__all__ = [
    "Head",
    "Monitor",
    "Scores",
    "beside",
    "finetune",
    "fit_head",
    "knn",
    "linear",
    "nonlinear",
    "random_twin",
]
