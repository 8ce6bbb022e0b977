"""The animals that come with sslzoo, each by the SHA-256 of its card (`zoo.digest(name)`).

The card of one that is trained anew goes in here; tests/test_exported.py says which is missing.
"""

SHIPPED = {
    "rotation": "d44d3ae7f447521c033966e8936ca664e67535f824cfb8c02a9fa5d4a4eedbf5",
}
