"""The animals that come with sslzoo, each by the SHA-256 of its card (`zoo.digest(name)`).

The card of one that is trained anew goes in here; tests/test_exported.py says which is missing.
"""

SHIPPED = {
    "bigan": "7a3078a3474d06e3945b849e3fc2a657208491e681534732a7c2cc8af576e7db",
    "cifar10_classifier": "6d7ae5a4ccca432b7649583d22099040943d8a68e48781761afdc192da71fb97",
    "colorization": "7fbe34d8a145d3c413c3f68d101fadcff7b05207549877e281075d8baed4dc10",
    "deepcluster": "409d062c58eec23e0bb3c8220485cecc8221a8dae1bf016f5302dfb926e4077d",
    "inpainting": "2d9dfb89466c006ce1241ee43ffc29a5e22236483879d1082c3a382e8d51adf5",
    "jigsaw": "c01385cea7892e653885b4766abf91119f0d691ac384fb709d88efe215e0b126",
    "npid": "1c2fd30fb5aa4ee28597dde82dd10953bc1b503d16a14cb184bcfbefed9cef4c",
    "pirl": "5baba58ca1ff3bd1c09181692e2c7f35da331eeb120648390eb99112e44971d2",
    "reconstruction": "b9853feba46189a469d628de1ee84596346f05411b7c48e5b2c0d9ebc3f3b0b4",
    "relative_patch": "72ba26e508e5acc1bbe672414126d6e0e7bc25689d64fd5e3ddae645018e246a",
    "rotation": "d8a93840fc648915003ee664e9615495dfac4923053b203bbcefe08880cf4b05",
    "superres": "4b53715e74f2221f67fb69a75bce5c6b1cd4b43a5e6f017351dfa924572fdb5f",
    "synthetic": "e2670860751c4d0529ac3ad2d03abef5afb965103687079363497c88744fbd3d",
}
