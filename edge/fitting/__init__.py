"""What is fitted to a shop's own photos: the adapter, the calibration of confidence, the cascade of two encoders."""
