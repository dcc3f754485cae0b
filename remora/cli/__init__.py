"""What the commands `sidecar` and `control` share."""
