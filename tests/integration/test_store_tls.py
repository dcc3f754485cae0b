"""etcd behind TLS that asks for a client's certificate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from remora.control.store.errors import StoreDenied, StoreUnavailable
from remora.control.store.etcd import EtcdStore, EtcdTls, parse_endpoints
from tests.support.etcd import EtcdServer
from tests.support.follower import Follower


@dataclass
class Certificates:
    ca: Path
    client: EtcdTls
    server_flags: list[str]


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    authority = trustme.CA()
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    pairs = {}
    for who, name in (("server", "127.0.0.1"), ("client", "control.mesh")):
        issued = authority.issue_cert(name)
        cert, key = tmp_path / f"{who}.pem", tmp_path / f"{who}.key"
        issued.cert_chain_pems[0].write_to_path(str(cert))
        issued.private_key_pem.write_to_path(str(key))
        pairs[who] = (cert, key)
    flags = [
        f"--cert-file={pairs['server'][0]}",
        f"--key-file={pairs['server'][1]}",
        f"--trusted-ca-file={ca}",
        "--client-cert-auth",
    ]
    return Certificates(ca, EtcdTls(ca, *pairs["client"]), flags)


@pytest.fixture
async def etcd(certificates: Certificates) -> AsyncIterator[EtcdServer]:
    async with EtcdServer.running(flags=certificates.server_flags, tls=certificates.client) as server:
        yield server


async def test_with_certificates_on_both_sides_all_works(etcd: EtcdServer) -> None:
    assert etcd.url.startswith("https://")
    store = etcd.store()
    try:
        async with Follower.of(store, "/a/") as follower:
            await follower.until_connected()
            await store.put("/a/x", b"1")
            await follower.until_value("/a/x", b"1")
            await etcd.kill()
            await etcd.start()
            await store.put("/a/x", b"2")
            await follower.until_value("/a/x", b"2")
    finally:
        await store.close()


async def test_without_a_certificate_of_ours_etcd_hangs_up(etcd: EtcdServer, certificates: Certificates) -> None:
    store = EtcdStore(parse_endpoints(etcd.url), tls=EtcdTls(ca=certificates.ca))
    try:
        with pytest.raises((StoreUnavailable, StoreDenied), match=etcd.url):
            await store.list("/")
    finally:
        await store.close()


async def test_an_etcd_that_we_do_not_trust_is_denied(etcd: EtcdServer) -> None:
    store = EtcdStore(parse_endpoints(etcd.url))
    try:
        with pytest.raises(StoreDenied, match="its certificate is not trusted: unable to get local issuer"):
            await store.list("/")
    finally:
        await store.close()


async def test_files_that_are_no_good_are_named(certificates: Certificates, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(ValueError, match=r"missing\.pem: cannot be read as CA"):
        EtcdTls(ca=missing).context()
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(ValueError, match=r"empty\.pem: cannot be read as CA"):
        EtcdTls(ca=tmp_path / "empty.pem").context()
    with pytest.raises(ValueError, match="go together"):
        EtcdTls(cert=certificates.client.cert).context()
    with pytest.raises(ValueError, match=r"client\.pem and .*missing\.pem: cannot be used"):
        EtcdTls(cert=certificates.client.cert, key=missing).context()
