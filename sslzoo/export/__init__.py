"""An encoder becomes files that a server can poll: SavedModel, `encoder.keras`, card."""

from sslzoo.export.saved_model import (
    ENCODER,
    check,
    digest,
    save,
    save_image_model,
    sha256,
    versions,
)

__all__ = ["ENCODER", "check", "digest", "save", "save_image_model", "sha256", "versions"]
