"""Opaque bytes: connections that nobody reads into, and what tunnels of HTTP/1 turn into."""

from remora.sidecar.wire.tcp.client import TcpClientConnection
from remora.sidecar.wire.tcp.raw import RawStream
from remora.sidecar.wire.tcp.server import TcpServerConnection

__all__ = ["RawStream", "TcpClientConnection", "TcpServerConnection"]
