"""what TensorFlow Serving is started with: a file of its models

sslzoo serving-config --root=exported
tensorflow_model_server --port=8500 --rest_api_port=8501 --model_config_file=exported/models.config
"""

import json
import pathlib

from absl import logging

from sslzoo import zoo
from sslzoo.errors import UserError, replacing, writable_folder

MODEL = """  config {{
    name: {name}
    base_path: {base_path}
    model_platform: "tensorflow"
  }}
"""


def main(root: str = "", base_path: str = "", output: str = "") -> None:
    """Writes the model configuration file of TensorFlow Serving for all that is in the zoo.

    The server loads the newest version of each, and versions that are published later; a new
    name needs a new file.

    Args:
        root: the folder of exports; empty means what `sslzoo list` lists.
        base_path: where the server sees that folder, e.g. /models in a container; empty means where
            it is here.
        output: the file; empty means models.config in the folder of exports.
    """
    entries = zoo.list(root or None)
    if not entries:
        raise UserError(f"--root: expected a folder of exports. Received: {root or 'an empty zoo'}")
    folder = pathlib.Path(entries[0].path).parent
    file = pathlib.Path(output or folder / "models.config")
    base = pathlib.PurePosixPath(base_path or folder.resolve().as_posix())
    text = config({entry.name: str(base / entry.name) for entry in entries})
    writable_folder(file.parent, "--output")
    with replacing(file) as aside:  # a server may be polling it
        aside.write_text(text)
    logging.info("%d models in %s", len(entries), file)


def config(paths: dict[str, str]) -> str:
    """A `ModelServerConfig` as text, of {name: folder of its versions}."""
    models = [
        # A string of JSON is one of protobuf's text format too.
        MODEL.format(name=json.dumps(name), base_path=json.dumps(path, ensure_ascii=False))
        for name, path in paths.items()
    ]
    return "model_config_list {\n" + "".join(models) + "}\n"
