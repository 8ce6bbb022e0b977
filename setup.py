"""Which folders are packages; the rest is in setup.cfg, which cannot say both kinds at once.

The animals of exported/ lie in a wheel as sslzoo/exported/; a checkout keeps them where they are.
"""

import setuptools

setuptools.setup(
    packages=[*setuptools.find_packages(include=["sslzoo*"]), "sslzoo.exported"],
    package_dir={"sslzoo.exported": "exported"},
)
