"""Where a Snapshot comes from: control, a file, the last known good on disk."""
