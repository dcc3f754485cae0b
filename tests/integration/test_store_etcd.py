"""etcd stops, is killed, freezes, forgets, loses members: followers and callers live through it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from remora.control.store.errors import StoreDenied, StoreError, StoreUnavailable
from remora.control.store.etcd import EtcdCredentials, EtcdStore, parse_endpoints
from remora.control.store.interface import Revision
from tests.support.etcd import EtcdServer, running_cluster
from tests.support.follower import Follower
from tests.support.ports import free_port


@pytest.fixture
async def etcd() -> AsyncIterator[EtcdServer]:
    async with EtcdServer.running() as server:
        yield server


@pytest.fixture
async def store(etcd: EtcdServer) -> AsyncIterator[EtcdStore]:
    store = etcd.store(timeout_s=2)
    yield store
    await store.close()


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_follower_resumes_after_a_restart(etcd: EtcdServer, store: EtcdStore, how: str) -> None:
    await store.put("/a/kept", b"1")
    async with Follower.of(store, "/a/") as follower:
        await follower.until_connected()
        await (etcd.stop() if how == "stop" else etcd.kill())
        state = await follower.until_disconnected()
        assert etcd.url in state.error
        await etcd.start()
        await store.put("/a/new", b"2")
        await store.delete("/a/kept")
        await follower.until(lambda follower: follower.data == {"/a/new": b"2"})
        assert [update.listed for update in follower.updates] == [True, False, False]


async def test_a_frozen_etcd_is_noticed_on_a_quiet_watch_and_resumed(etcd: EtcdServer, store: EtcdStore) -> None:
    async with Follower.of(store, "/a/") as follower:
        await follower.until_connected()
        etcd.freeze()
        frozen_at = time.monotonic()
        await follower.until_disconnected()
        assert time.monotonic() - frozen_at < 15
        etcd.thaw()
        await etcd.ctl("put", "/a/by-hand", "1")
        await follower.until_value("/a/by-hand", b"1")
        await follower.until_connected()


async def test_a_call_to_a_frozen_etcd_ends_at_its_deadline(etcd: EtcdServer, store: EtcdStore) -> None:
    await store.put("/a", b"")
    etcd.freeze()
    with pytest.raises(StoreUnavailable, match="did not answer within 2 s"):
        await asyncio.wait_for(store.put("/a", b""), 4)
    etcd.thaw()


async def test_compaction_while_away_ends_in_a_list_with_deletions(etcd: EtcdServer, store: EtcdStore) -> None:
    await store.put("/a/gone", b"1")
    await store.put("/a/same", b"1")
    await store.put("/a/changed", b"1")
    async with Follower.of(store, "/a/") as follower:
        await follower.until(lambda follower: len(follower.data) == 3)
        await follower.until_connected()
        await etcd.kill()
        # On another port, so that the follower stays away until the history is gone.
        url = etcd.url
        etcd.url = f"http://127.0.0.1:{free_port()}"
        await etcd.start()
        await etcd.ctl("del", "/a/gone")
        await etcd.ctl("put", "/a/changed", "2")
        await etcd.compact()
        await etcd.kill()
        etcd.url = url
        await etcd.start()
        await follower.until(lambda follower: follower.data == {"/a/same": b"1", "/a/changed": b"2"})
        last = follower.updates[-1]
        assert last.listed
        assert {event.key for event in last.events} == {"/a/gone", "/a/changed"}


async def test_a_wiped_etcd_is_listed_anew(etcd: EtcdServer, store: EtcdStore) -> None:
    """Even if a key comes back at the same revision: it does not stand for the same value any more."""
    first = await store.put("/a/0", b"before")
    for number in range(1, 5):
        await store.put(f"/a/{number}", b"")
    async with Follower.of(store, "/a/") as follower:
        await follower.until_connected()
        await etcd.wipe()
        await follower.until_disconnected()
        url = etcd.url
        etcd.url = f"http://127.0.0.1:{free_port()}"
        await etcd.start()
        await etcd.ctl("put", "/a/0", "after")
        await etcd.kill()
        etcd.url = url
        await etcd.start()
        await follower.until(lambda follower: follower.data == {"/a/0": b"after"})
        entry = await store.get("/a/0")
        assert entry is not None
        assert entry.mod_revision == first
        await store.put("/a/new", b"1")
        await follower.until_value("/a/new", b"1")


async def test_a_follower_waits_for_an_etcd_that_is_down_at_start() -> None:
    server = EtcdServer()
    store = server.store(timeout_s=2)
    try:
        async with Follower.of(store, "/a/") as follower:
            state = await follower.until_disconnected()
            assert f"etcd at {server.url} cannot be reached" in state.error
            await server.start()
            await follower.until_connected()
            assert follower.updates[0].listed
    finally:
        await store.close()
        await server.dispose()


async def test_a_lease_ends_by_itself_and_its_keys_with_it(store: EtcdStore) -> None:
    lease = await store.grant(1)
    await store.put("/a/leased", b"", lease=lease)
    async with Follower.of(store, "/a/") as follower:
        await follower.until_value("/a/leased", b"")
        await follower.until_value("/a/leased", None)
    assert await store.keep_alive(lease) == 0


async def test_a_lease_outlives_a_restart(etcd: EtcdServer, store: EtcdStore) -> None:
    lease = await store.grant(60)
    await store.put("/a/leased", b"", lease=lease)
    await etcd.kill()
    with pytest.raises(StoreUnavailable):
        await store.keep_alive(lease)
    await etcd.start()
    assert await store.keep_alive(lease) == 60
    assert await store.get("/a/leased") is not None


async def test_a_cancelled_caller_is_cancelled_even_as_the_connection_breaks(
    etcd: EtcdServer, store: EtcdStore
) -> None:
    await store.status()
    etcd.freeze()
    calls = [asyncio.create_task(store.get("/a")) for _ in range(20)]
    await asyncio.sleep(0)
    await store.close()
    for call in calls:
        call.cancel()
    results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    etcd.thaw()


async def enable_auth(server: EtcdServer) -> None:
    """root, and `mesh` who may use /mesh/ only."""
    await server.ctl("user", "add", "root:rootpw")
    await server.ctl("user", "grant-role", "root", "root")
    await server.ctl("role", "add", "mesh")
    await server.ctl("role", "grant-permission", "mesh", "--prefix=true", "readwrite", "/mesh/")
    await server.ctl("user", "add", "mesh:secret")
    await server.ctl("user", "grant-role", "mesh", "mesh")
    await server.ctl("auth", "enable")


MESH = EtcdCredentials("mesh", "secret")


async def test_a_user_may_do_what_its_role_allows_and_no_more(etcd: EtcdServer) -> None:
    await enable_auth(etcd)
    store = etcd.store(credentials=MESH)
    try:
        await store.put("/mesh/a", b"1")
        assert (await store.list("/mesh/")).entries[0].value == b"1"
        with pytest.raises(StoreDenied, match="permission denied"):
            await store.put("/other", b"")
        with pytest.raises(StoreDenied):
            async with aclosing(store.watch("/other/", Revision(1))) as batches:
                await asyncio.wait_for(anext(batches), 10)
        lease = await store.grant(60)
        assert await store.keep_alive(lease) == 60
    finally:
        await store.close()


@pytest.mark.parametrize(
    ("credentials", "reason"),
    [(None, "asks for a user name and password"), (EtcdCredentials("mesh", "wrong"), "authentication failed")],
)
async def test_who_is_not_known_is_denied(etcd: EtcdServer, credentials: EtcdCredentials | None, reason: str) -> None:
    await enable_auth(etcd)
    store = etcd.store(credentials=credentials)
    try:
        with pytest.raises(StoreDenied, match=reason):
            await store.list("/mesh/")
        with pytest.raises(StoreDenied):
            async with aclosing(store.watch("/mesh/", Revision(1))) as batches:
                await asyncio.wait_for(anext(batches), 10)
    finally:
        await store.close()


async def test_a_forgotten_token_is_renewed(etcd: EtcdServer) -> None:
    """Tokens live in etcd's memory: a restart forgets them."""
    await enable_auth(etcd)
    store = etcd.store(credentials=MESH)
    try:
        async with Follower.of(store, "/mesh/") as follower:
            await follower.until_connected()
            for number in range(2):
                await etcd.kill()
                await etcd.start()
                await store.put("/mesh/a", b"%d" % number)
                await follower.until_value("/mesh/a", b"%d" % number)
    finally:
        await store.close()


async def test_an_expired_token_is_renewed() -> None:
    async with EtcdServer.running(flags=["--auth-token-ttl=1", "--log-level=debug"]) as server:
        await enable_auth(server)
        store = server.store(credentials=MESH)
        try:
            async with Follower.of(store, "/mesh/") as follower:
                await follower.until_connected()
                await server.until_logged("deleted a simple token", "mesh")
                await store.put("/mesh/a", b"1")
                await follower.until_value("/mesh/a", b"1")
        finally:
            await store.close()


async def test_credentials_do_no_harm_without_auth(etcd: EtcdServer) -> None:
    store = etcd.store(credentials=MESH)
    try:
        await store.put("/mesh/a", b"1")
        await enable_auth(etcd)
        await store.put("/mesh/a", b"2")
    finally:
        await store.close()


async def test_an_address_where_no_etcd_lives_is_unavailable() -> None:
    async def say_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(say_hello, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = EtcdStore(parse_endpoints(f"http://127.0.0.1:{port}"), timeout_s=2)
    try:
        with pytest.raises(StoreUnavailable):
            await store.status()
    finally:
        await store.close()
        server.close()


async def test_three_members_lose_one_then_the_quorum() -> None:
    async with running_cluster(3) as members:
        store = EtcdStore(parse_endpoints(",".join(member.url for member in members)), timeout_s=3)
        try:
            async with Follower.of(store, "/a/") as follower:
                await follower.until_connected()
                await members[0].kill()
                await _put_until_done(store, "/a/x", b"1")
                await follower.until_value("/a/x", b"1")
                await members[1].kill()
                await follower.until_disconnected()
                with pytest.raises(StoreUnavailable, match="no member of etcd answers"):
                    await store.list("/a/")
                await members[0].start()
                await _put_until_done(store, "/a/x", b"2")
                await follower.until_value("/a/x", b"2")
        finally:
            await store.close()


async def _put_until_done(store: EtcdStore, key: str, value: bytes) -> None:
    """A write may fail while members elect a leader."""
    async with asyncio.timeout(30):
        while True:
            try:
                await store.put(key, value)
            except StoreError:
                await asyncio.sleep(0.1)
            else:
                return
