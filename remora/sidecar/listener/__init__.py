"""Sockets, protocol detection, and what stands behind each port."""
