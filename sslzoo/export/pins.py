"""The animals that come with sslzoo, each by the SHA-256 of its card (`zoo.digest(name)`).

The card of one that is trained anew goes in here; tests/test_exported.py says which is missing.
"""

SHIPPED = {
    "bigan": "7a81171ce4d40306d86e3ee44e33ef803698e4d3e09a842f8029d01d6c73ccdb",
    "colorization": "7fbe34d8a145d3c413c3f68d101fadcff7b05207549877e281075d8baed4dc10",
    "rotation": "d8a93840fc648915003ee664e9615495dfac4923053b203bbcefe08880cf4b05",
}
