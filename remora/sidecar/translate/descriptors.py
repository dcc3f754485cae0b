"""Descriptor sets with `google.api.http` annotations → what the transcoder looks up. Made once, at the start.

    protoc --include_imports --descriptor_set_out=FILE.pb …

All types live in a pool of their own. Imports that a file needs and no set has are taken from protobuf and
googleapis-common-protos, where they have them.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from google.api import annotations_pb2, http_pb2, httpbody_pb2
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from remora.sidecar.translate.path_template import ANY_METHOD, PathTable, PathTemplate, parse_template

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

log = logging.getLogger(__name__)

_WELL_KNOWN = (
    annotations_pb2,
    http_pb2,
    httpbody_pb2,
    any_pb2,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
    error_details_pb2,
    status_pb2,
)


class DescriptorError(Exception):
    """A descriptor set cannot be used; the text says which and why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Method:
    """A gRPC method."""

    path: bytes
    """`/package.Service/Method`."""
    request: type[Message]
    response: type[Message]
    request_type: Descriptor
    response_type: Descriptor
    client_streaming: bool
    server_streaming: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Binding:
    """One HttpRule, or one of its additional bindings."""

    method: Method
    body: str
    """The field of the request that the body is; `*`: the request itself; empty: there is no body."""
    response_body: str
    """The field of the response that the answer's body is; empty: the response itself."""
    path_fields: frozenset[tuple[str, ...]]
    """Fields that the path gives."""
    pool: descriptor_pool.DescriptorPool


def load_bindings(files: Iterable[Path]) -> PathTable[Binding]:
    """All annotated methods of the descriptor sets. DescriptorError: a file or a rule is no good, or there is none."""
    files = tuple(files)
    found = _read(files)
    pool = descriptor_pool.DescriptorPool()
    _fill(pool, found)
    table: PathTable[Binding] = PathTable()
    count = 0
    for name in found:
        for service in pool.FindFileByName(name).services_by_name.values():
            for method in service.methods:
                count += _bind(table, method, pool)
    if not count:
        names = ", ".join(map(str, files))
        raise DescriptorError(f"{names}: no method has a google.api.http annotation, so there is nothing to transcode")
    return table


def _read(files: tuple[Path, ...]) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """The files of all sets, by name."""
    found: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for path in files:
        try:
            descriptors = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
        except OSError as error:
            raise DescriptorError(f"{path} cannot be read: {error.strerror or error}") from None
        except DecodeError:
            descriptors = None
        if descriptors is None or not all(file.name for file in descriptors.file):
            raise DescriptorError(f"{path} is not a descriptor set: make it with protoc --descriptor_set_out")
        for file in descriptors.file:
            known = found.setdefault(file.name, file)
            if known.SerializeToString(deterministic=True) != file.SerializeToString(deterministic=True):
                raise DescriptorError(f"{path}: its {file.name} is another than that of the sets before it")
    return found


def _fill(pool: descriptor_pool.DescriptorPool, found: dict[str, descriptor_pb2.FileDescriptorProto]) -> None:
    """Add the files to the pool, imports first."""
    spare = {}
    for module in _WELL_KNOWN:
        file = descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
        spare[file.name] = file
    added: set[str] = set()

    def add(name: str, needed_by: str) -> None:
        if name in added:
            return
        added.add(name)
        file = found.get(name) or spare.get(name)
        if file is None:
            raise DescriptorError(f"{needed_by} imports {name}, which is in no set: use protoc --include_imports")
        for imported in file.dependency:
            add(imported, name)
        try:
            pool.Add(file)
            pool.FindFileByName(name)
        except (TypeError, KeyError) as error:
            raise DescriptorError(f"{name} does not fit the other descriptors: {error}") from None

    for name in (*found, *spare):
        add(name, name)


def _bind(table: PathTable[Binding], descriptor: MethodDescriptor, pool: descriptor_pool.DescriptorPool) -> int:
    """Add the bindings of a method; how many."""
    # The options of another pool hold extensions as unknown fields: read them anew, knowing the annotation.
    options = descriptor_pb2.MethodOptions.FromString(descriptor.GetOptions().SerializeToString())
    if not options.HasExtension(annotations_pb2.http):
        return 0
    method = Method(
        f"/{descriptor.containing_service.full_name}/{descriptor.name}".encode(),
        message_factory.GetMessageClass(descriptor.input_type),
        message_factory.GetMessageClass(descriptor.output_type),
        descriptor.input_type,
        descriptor.output_type,
        descriptor.client_streaming,
        descriptor.server_streaming,
    )
    count = 0
    for rule in _rules(options.Extensions[annotations_pb2.http]):
        try:
            verb, path = _pattern(rule)
            template = parse_template(path)
            table.add(verb, template, _binding(rule, template, method, pool))
        except ValueError as error:
            raise DescriptorError(f"the google.api.http rule of {descriptor.full_name} is wrong: {error}") from None
        count += 1
    if method.client_streaming:
        log.warning("%s streams its requests: JSON callers get 501", descriptor.full_name)
    return count


def _rules(rule: http_pb2.HttpRule) -> Iterator[http_pb2.HttpRule]:
    yield rule
    for more in rule.additional_bindings:
        if more.additional_bindings:
            raise DescriptorError("additional_bindings may not be nested")
        yield more


def _pattern(rule: http_pb2.HttpRule) -> tuple[str, str]:
    """(method, path) of a rule."""
    kind = rule.WhichOneof("pattern")
    if kind is None:
        raise ValueError("it names no path")
    if kind == "custom":
        return rule.custom.kind or ANY_METHOD, rule.custom.path
    return kind.upper(), getattr(rule, kind)


def _binding(
    rule: http_pb2.HttpRule, template: PathTemplate, method: Method, pool: descriptor_pool.DescriptorPool
) -> Binding:
    request = method.request_type
    fields = frozenset(variable.field for variable in template.variables)
    for names in fields:
        _check_path_field(request, names)
    if rule.body not in ("", "*") and rule.body not in request.fields_by_name:
        raise ValueError(f"its body is {rule.body!r}, which {request.full_name} has not")
    response = method.response_type
    if rule.response_body and rule.response_body not in response.fields_by_name:
        raise ValueError(f"its response_body is {rule.response_body!r}, which {response.full_name} has not")
    return Binding(method, rule.body, rule.response_body, fields, pool)


def _check_path_field(message: Descriptor, names: tuple[str, ...]) -> None:
    dotted = ".".join(names)
    found: FieldDescriptor | None = None
    inner: Descriptor | None = message
    for name in names:
        found = None if inner is None else inner.fields_by_name.get(name)
        if found is None:
            raise ValueError(f"its path binds {dotted!r}, which {message.full_name} has not")
        if found.is_repeated:
            raise ValueError(f"its path binds {dotted!r}, which is repeated")
        inner = found.message_type
    if inner is not None and inner.file.package != "google.protobuf":
        raise ValueError(f"its path binds {dotted!r}, which is a message")
