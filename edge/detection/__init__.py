"""Where products and empty places are on a photo: detectors, their cards, what their outputs mean, and tiles for dense shelves."""
