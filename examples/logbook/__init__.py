"""Who dived where. gRPC; by its sidecar also JSON and gRPC-Web."""
