"""What every example needs to be a process: flags, a port to listen on, a clean stop."""
