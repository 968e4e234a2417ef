"""Photos in: decode, turn upright, resize; quality, enhancement and synthetic views."""
