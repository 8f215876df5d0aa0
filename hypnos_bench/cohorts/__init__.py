"""Files on disk to recordings."""
