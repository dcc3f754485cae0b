"""Where etcd's members listen, and with which certificates we go there."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

_DEFAULT_PORT = 2379  # IANA's, and etcd's own default


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The client URL of one member."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class EtcdTls:
    """PEM files for `https` endpoints. `ca`: None trusts the system's; `cert` and `key` go together, for mTLS."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Raises ValueError, one sentence, when a file is missing or is not what it should be."""
        if (self.cert is None) != (self.key is None):
            raise ValueError("etcd's client certificate and its key go together: only one of them is given")
        context = self._trust()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2"])
        if self.cert is not None:
            self._load_identity(context, self.cert)
        return context

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"{self.ca}: cannot be read as CA certificates for etcd: {error}") from error

    def _load_identity(self, context: ssl.SSLContext, cert: Path) -> None:
        try:
            # Without a password callback, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(cert, self.key, password=lambda: "")
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"{cert} and {self.key}: cannot be used as etcd's client certificate: {error}") from error


def parse_endpoints(text: str) -> tuple[Endpoint, ...]:
    """The endpoints of `https://a:2379,https://b:2379`. The port defaults to 2379.

    Raises ValueError, one sentence, when there is none, one is no http(s) URL with only host and port, one comes twice,
    or http and https are mixed: a cluster has one kind of client URL, so the mix is a slip that would send passwords
    in the clear.
    """
    endpoints = tuple(_parse_endpoint(part.strip()) for part in text.split(",") if part.strip())
    if not endpoints:
        raise ValueError(f"etcd endpoints {text!r} name no member: write http://HOST:2379, several with commas between")
    if len(set(endpoints)) != len(endpoints):
        raise ValueError(f"etcd endpoints {text!r} name a member twice")
    if len({endpoint.tls for endpoint in endpoints}) > 1:
        raise ValueError(f"etcd endpoints {text!r} mix http and https: use one of them for all members")
    return endpoints


def _parse_endpoint(text: str) -> Endpoint:
    wrong = f"etcd endpoint {text!r} is not http://HOST:PORT or https://HOST:PORT"
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise ValueError(f"{wrong}: {error}") from None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(wrong)
    if url.username is not None:
        raise ValueError("an etcd endpoint must not carry a user name or password: give them by their own options")
    if port == 0 or _has_more(url):
        raise ValueError(wrong)
    return Endpoint(url.hostname, port or _DEFAULT_PORT, url.scheme == "https")


def _has_more(url: SplitResult) -> bool:
    return url.path not in ("", "/") or bool(url.query) or bool(url.fragment)
