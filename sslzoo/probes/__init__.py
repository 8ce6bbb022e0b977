"""What an encoder has learnt, measured: every probe stands beside a random-init twin."""

from sslzoo.probes.head import Head, finetune, fit_head
from sslzoo.probes.knn import Monitor, knn
from sslzoo.probes.linear import Scores, linear, random_twin

__all__ = ["Head", "Monitor", "Scores", "finetune", "fit_head", "knn", "linear", "random_twin"]
