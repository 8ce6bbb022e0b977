"""The animals that come with sslzoo, each by the SHA-256 of its card (`zoo.digest(name)`).

The card of one that is trained anew goes in here; tests/test_exported.py says which is missing.
"""

SHIPPED = {
    "rotation": "dd2e5998e0e4a2b84e47edce70fa6e514ee2d9c1e10157376a2d2d8f84af34ba",
}
