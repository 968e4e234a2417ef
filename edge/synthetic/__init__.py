"""Rendered products and scenes: the demo's shop, tests, training."""
