"""Flags: read off signatures, held to their ranges, and told before TensorFlow is imported."""
