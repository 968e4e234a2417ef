"""The bundle on disk: its manifest, its files, writing and replacing them so that a kill leaves the old or the new."""
