"""What a product costs. gRPC, unary."""
