"""Whatever ends as a PNG: puzzles, contact sheets, neighbours, confusion matrices."""

from sslzoo.pictures.drawing import enlarge, mosaic, row, save_png, shades, to_uint8

__all__ = ["enlarge", "mosaic", "row", "save_png", "shades", "to_uint8"]
