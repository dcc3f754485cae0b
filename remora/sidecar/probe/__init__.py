"""Whether something at an address is well, asked by TCP, HTTP or gRPC."""
