"""Training a pretext: `Run`, what every recipe shares, and `pretrain`, the loop."""

from sslzoo.training.loop import pretrain
from sslzoo.training.run import Run

__all__ = ["Run", "pretrain"]
