"""Where to listen or connect: a host and a TCP port."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """`host` is a name or an address, IPv6 without brackets; empty where only `:PORT` was given."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def with_host(self, host: str) -> Address:
        """This address, with `host` where none was given."""
        return self if self.host else Address(host, self.port)
