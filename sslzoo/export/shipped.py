"""The animals that come with sslzoo, each by the SHA-256 of its card (`zoo.digest(name)`).

The card of one that is trained anew goes in here; tests/test_exported.py says which is missing.
"""

SHIPPED = {
    "rotation": "ac6d458e210a58a27688caaa8ea33337f23463f4321023c56a3a0245e37bff54",
}
