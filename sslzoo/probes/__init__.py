"""What an encoder has learnt, measured: every probe stands beside a random-init twin."""

from sslzoo.probes.classifier import Head, fit_head
from sslzoo.probes.finetuning import finetune, scratch
from sslzoo.probes.invariance import invariance
from sslzoo.probes.linear_probe import Scores, beside, linear, random_twin, seeds_of_draws
from sslzoo.probes.low_shot import by_shots, low_shot, per_class
from sslzoo.probes.nearest import Monitor, knn
from sslzoo.probes.nonlinear import nonlinear
from sslzoo.probes.retrieval import by_context, neighbours, retrieval

__all__ = [
    "Head",
    "Monitor",
    "Scores",
    "beside",
    "by_context",
    "by_shots",
    "finetune",
    "fit_head",
    "invariance",
    "knn",
    "linear",
    "low_shot",
    "neighbours",
    "nonlinear",
    "per_class",
    "random_twin",
    "retrieval",
    "scratch",
    "seeds_of_draws",
]
