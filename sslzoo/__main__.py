"""`python -m sslzoo`: the same as `sslzoo`."""

from sslzoo.cli import console

console()
