"""HTTP/1.1 (RFC 9110, 9112) on httptools: heads are parsed into the shared form and written anew."""
