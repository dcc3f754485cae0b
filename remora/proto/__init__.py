"""Wire contracts between control and sidecar."""
