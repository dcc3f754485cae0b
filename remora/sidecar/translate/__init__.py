"""What speaks of gRPC in other words: gRPC-Web for browsers, JSON for everyone; between listeners and exchanges."""
