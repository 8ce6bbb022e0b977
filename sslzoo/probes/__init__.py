"""What an encoder has learnt, measured: every probe stands beside a random-init twin."""

from sslzoo.probes.knn import Monitor, knn
from sslzoo.probes.linear import Scores, linear

__all__ = ["Monitor", "Scores", "knn", "linear"]
