"""An encoder becomes files that a server can poll: SavedModel, `encoder.keras`, card."""

from sslzoo.export.allowed_ops import keep_allowed
from sslzoo.export.loaded import Export
from sslzoo.export.pins import SHIPPED
from sslzoo.export.private_copy import private_copy
from sslzoo.export.publishing import ENCODER, digest, sha256, versions
from sslzoo.export.saved_model import check, save, save_image_model

__all__ = [
    "ENCODER",
    "SHIPPED",
    "Export",
    "check",
    "digest",
    "keep_allowed",
    "private_copy",
    "save",
    "save_image_model",
    "sha256",
    "versions",
]
