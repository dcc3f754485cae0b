"""What suppliers ask for a product right now. gRPC, streaming in every direction."""
