"""The gRPC service that sidecars connect to."""
