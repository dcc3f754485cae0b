"""The services of library.proto: their descriptor set, their messages, and a grpcio server of them."""

from __future__ import annotations

import functools
import importlib.util
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import google.api
import grpc
import grpc.aio
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory
from google.rpc import error_details_pb2, status_pb2
from grpc_tools import protoc

PROTO = Path(__file__).with_name("library.proto")


def compile_set(proto: Path, target: Path, *flags: str) -> Path:
    """A descriptor set of `proto`, by protoc."""
    commons = Path(next(iter(google.api.__path__))).parents[1]
    spec = importlib.util.find_spec("grpc_tools")
    assert spec is not None
    assert spec.origin is not None
    well_known = Path(spec.origin).with_name("_proto")
    includes = [f"-I{folder}" for folder in (proto.parent, commons, well_known)]
    status = protoc.main(["protoc", *includes, f"--descriptor_set_out={target}", *flags, str(proto)])
    assert status == 0
    return target


@functools.cache
def descriptor_set() -> Path:
    """The descriptor set of library.proto with its imports."""
    folder = Path(tempfile.mkdtemp(prefix="library-"))
    return compile_set(PROTO, folder / "library.pb", "--include_imports")


@functools.cache
def types() -> dict[str, Any]:
    """Message classes by name, in a pool that is not the transcoder's."""
    pool = descriptor_pool.DescriptorPool()
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set().read_bytes()).file
    for file in files:
        pool.Add(file)
    own = pool.FindFileByName("library.proto").message_types_by_name
    found = {name: message_factory.GetMessageClass(descriptor) for name, descriptor in own.items()}
    for name in ("google.protobuf.Empty", "google.api.HttpBody"):
        found[name.rpartition(".")[2]] = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    return found


class Library(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers with what came, as far as the answer has room for it."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}
        self.time_left: float | None = None
        self.calls: list[str] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        known = types()
        unary = {
            "Messaging/GetMessage": (self.get_message, "GetMessageRequest"),
            "Messaging/UpdateMessage": (self.update_message, "UpdateMessageRequest"),
            "Library/GetBook": (self.get_book, "GetBookRequest"),
            "Library/CreateBook": (self.create_book, "CreateBookRequest"),
            "Library/ArchiveBook": (self.archive_book, "GetBookRequest"),
            "Library/DeleteBook": (self.delete_book, "GetBookRequest"),
            "Library/ReadFile": (self.read_file, "ReadFileRequest"),
            "Library/WriteFile": (self.write_file, "WriteFileRequest"),
            "Library/Search": (self.search, "SearchRequest"),
            "Library/Fail": (self.fail, "FailRequest"),
        }
        streams = {
            "Library/ListBooks": (self.list_books, "ListBooksRequest"),
            "Library/Follow": (self.follow, "ListBooksRequest"),
        }
        name = details.method.removeprefix("/library.v1.")
        self.calls.append(name)
        self.metadata = dict(details.invocation_metadata)
        if name in unary:
            method, request = unary[name]
            return grpc.unary_unary_rpc_method_handler(
                method, known[request].FromString, lambda message: message.SerializeToString()
            )
        if name in streams:
            stream, request = streams[name]
            return grpc.unary_stream_rpc_method_handler(
                stream, known[request].FromString, lambda message: message.SerializeToString()
            )
        return None

    async def get_message(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        self.time_left = context.time_remaining()
        await context.send_initial_metadata((("x-library", "open"),))
        sub = request.sub if request.HasField("sub") else None
        return types()["Message"](
            message_id=request.message_id, revision=request.revision, sub=sub, user_id=request.user_id
        )

    async def update_message(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        return types()["Message"](message_id=request.message_id, text=request.message.text)

    async def get_book(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        book = types()["Book"](name=request.name, title="Größe", pages=2**53 + 1, genre=1, cover=b"\xff\x00")
        book.published_at.FromJsonString("2026-11-21T08:00:00Z")
        return book

    async def create_book(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        return types()["Book"](name=f"{request.parent}/{request.book_id}", title=request.book.title)

    async def archive_book(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        return types()["Book"](name=request.name, title=request.reason)

    async def delete_book(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        return types()["Empty"]()

    async def read_file(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        return types()["HttpBody"](content_type="text/plain", data=request.path.encode())

    async def write_file(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        return types()["Book"](name=request.path, title=request.file.content_type, cover=request.file.data)

    async def search(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        return request

    async def fail(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        known, unknown = any_pb2.Any(), any_pb2.Any(type_url="type.googleapis.com/no.Such", value=b"\x01")
        known.Pack(error_details_pb2.ErrorInfo(reason="TOLD_TO", domain="library"))
        status = status_pb2.Status(code=request.code, message=request.message, details=[known, unknown])
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        code = next(code for code in grpc.StatusCode if code.value[0] == request.code)
        await context.abort(code, request.message)

    async def list_books(self, request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        for number in range(request.page_size):
            if request.fail_after and number == request.fail_after:
                await context.abort(grpc.StatusCode.DATA_LOSS, "the rest burnt")
            title = "t" * request.title_bytes if number % 2 else ""
            yield types()["Book"](name=f"{request.parent}/books/{number}", title=title)
        if request.fail_after < 0:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such shelf")

    async def follow(self, request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        for number in range(request.page_size):
            if request.fail_after and number == request.fail_after:
                await context.abort(grpc.StatusCode.DATA_LOSS, "the rest burnt")
            yield types()["HttpBody"](content_type="text/csv", data=b"%d\n" % number)
