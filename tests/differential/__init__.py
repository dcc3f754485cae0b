"""The same bytes to our sidecar, to Envoy and to h11; what came out on the other side is compared. See README.md."""
