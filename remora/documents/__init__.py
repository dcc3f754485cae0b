"""What people write: Gateway API routes and our own policies; parsed, checked, compiled into the model."""
