"""What the sidecar tells about itself: metrics, probes, state."""
