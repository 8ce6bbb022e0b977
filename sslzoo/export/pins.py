"""The animals that come with sslzoo, each by the SHA-256 of its card (`zoo.digest(name)`).

The card of one that is trained anew goes in here; tests/test_exported.py says which is missing.
"""

SHIPPED = {
    "bigan": "7a81171ce4d40306d86e3ee44e33ef803698e4d3e09a842f8029d01d6c73ccdb",
    "cifar10_classifier": "5577dd22e4a952e9bcd8bebe80f8933cffd7e874c23eef389d3c0788b500bf5c",
    "colorization": "7fbe34d8a145d3c413c3f68d101fadcff7b05207549877e281075d8baed4dc10",
    "deepcluster": "409d062c58eec23e0bb3c8220485cecc8221a8dae1bf016f5302dfb926e4077d",
    "inpainting": "0243b8fe6ba88fac5eaf0619754e3c82a0e037ab5c901afce29811be363276fa",
    "jigsaw": "c01385cea7892e653885b4766abf91119f0d691ac384fb709d88efe215e0b126",
    "npid": "1c2fd30fb5aa4ee28597dde82dd10953bc1b503d16a14cb184bcfbefed9cef4c",
    "rotation": "d8a93840fc648915003ee664e9615495dfac4923053b203bbcefe08880cf4b05",
    "synthetic": "e2670860751c4d0529ac3ad2d03abef5afb965103687079363497c88744fbd3d",
}
