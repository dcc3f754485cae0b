"""The front: products, each with its price (gRPC) and its reviews (HTTP) from other services. HTTP."""
