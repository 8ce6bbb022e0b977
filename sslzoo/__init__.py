"""Self-supervised pretext tasks of computer vision, from pixels to servable encoders."""

__version__ = "0.1.0"
