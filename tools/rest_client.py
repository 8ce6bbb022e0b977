"""Asks a TensorFlow Serving about image files over REST; needs nothing but Python.

    python tools/rest_client.py --model=rotation photo.jpg other.png
    python tools/rest_client.py --model=flowers --signature=classify_bytes photo.jpg

Prints a line of JSON per file: the embedding, or {"scores": ..., "classes": ...}.
"""

import argparse
import base64
import json
import pathlib
import sys
import urllib.error
import urllib.request


def payload(files, signature):
    """The body of a request: JPEG or PNG files as bytes -> JSON."""
    instances = [{"image_bytes": {"b64": base64.b64encode(file).decode()}} for file in files]
    return json.dumps({"signature_name": signature, "instances": instances})


def predict(server, model, files, signature="embed_bytes"):
    """One answer per file. Errors of the server come as `RuntimeError` with its own words."""
    request = urllib.request.Request(
        f"http://{server}/v1/models/{model}:predict",
        payload(files, signature).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)["predictions"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{server}: {error.read().decode(errors='replace')}") from None
    except urllib.error.URLError as error:
        raise RuntimeError(f"{server}: {error.reason}") from None


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=pathlib.Path, help="JPEG or PNG")
    parser.add_argument("--server", default="localhost:8501", help="host:port of --rest_api_port")
    parser.add_argument("--model", required=True)
    parser.add_argument("--signature", default="embed_bytes")
    options = parser.parse_args()
    try:
        files = [file.read_bytes() for file in options.files]
        answers = predict(options.server, options.model, files, options.signature)
    except (OSError, RuntimeError) as error:  # no such file, no server, the server's own words
        sys.exit(f"error: {error}")
    for answer in answers:
        print(json.dumps(answer))


if __name__ == "__main__":
    main()
