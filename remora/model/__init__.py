"""What a sidecar runs on: the immutable Snapshot and the names in it."""
