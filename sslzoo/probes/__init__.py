"""What an encoder has learnt, measured: every probe stands beside a random-init twin."""

from sslzoo.probes.linear import Scores, linear

__all__ = ["Scores", "linear"]
