#!/usr/bin/env bash
# The oldest TensorFlow that exports are held to, 2.15.1 with tensorflow-addons 0.23.0 (its last
# release), in an environment of its own. tests/test_old_tensorflow.py looks for it there.
#
#   tools/old_tensorflow.sh [FOLDER]    # default .venv-tf215; about 2 minutes and 2 GB
#   pytest -m old_tensorflow
#
# Wants Python 3.9 to 3.11: PYTHON=/path/to/python3.11 if python3.11 is not on the path.
set -euo pipefail
folder=${1:-$(dirname "$0")/../.venv-tf215}
"${PYTHON:-python3.11}" -m venv "$folder"
"$folder/bin/pip" install -q 'tensorflow==2.15.1' 'tensorflow-addons==0.23.0'
TF_CPP_MIN_LOG_LEVEL=3 "$folder/bin/python" -W ignore -c '
import tensorflow as tf, tensorflow_addons as tfa
print("TensorFlow", tf.__version__, "with tensorflow-addons", tfa.__version__)'
