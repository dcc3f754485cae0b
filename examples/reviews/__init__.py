"""What people say about a product. v2 adds ratings. HTTP."""
