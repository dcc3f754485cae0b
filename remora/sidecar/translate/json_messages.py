"""JSON ⇄ messages of a binding: body, path and query → request; response → body (google/api/http.proto; JSON mapping
of protobuf).

As grpc-gateway does by default: names in lowerCamelCase or as declared are taken, lowerCamelCase is given; fields at
their defaults are given too. Unlike there, an unset message is left out, not null, and fields and parameters that the
request has not are refused: a slip in a name should not go unnoticed.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec
from google.protobuf import json_format
from google.protobuf.message import DecodeError, EncodeError, Message
from google.rpc import status_pb2

from remora.sidecar.translate.descriptors import Binding
from remora.sidecar.translate.path_template import FieldPath
from remora.sidecar.translate.status import GrpcStatus

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.descriptor_pool import DescriptorPool

JSON = b"application/json"
HTTP_BODY = "google.api.HttpBody"

MAX_QUERY_PARAMETERS = 1_000

_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
"""What Go's strconv.ParseBool, and so grpc-gateway, takes."""

_TAKES_JSON = frozenset(("google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"))
_WRAPPERS = ("Bool", "String", "Bytes", "Double", "Float", "Int32", "Int64", "UInt32", "UInt64")
_TAKES_TEXT = frozenset(
    f"google.protobuf.{name}" for name in ("Timestamp", "Duration", "FieldMask", *(f"{of}Value" for of in _WRAPPERS))
)


_NOT_OBJECTS = frozenset((*_TAKES_JSON, *_TAKES_TEXT, "google.protobuf.BoolValue"))
"""Messages whose JSON is something else."""

_SLIPS = (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError, SystemError)
"""What json_format lets through beside its own ParseError, such as SystemError for half a surrogate pair as an enum."""


class BadRequestError(ValueError):
    """The request does not fit the method; the text is for the caller."""


class RequestBuilder:
    """A request of one call, put together in the order body, query, path: what the path says stands."""

    __slots__ = ("_binding", "_message")

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self._message = binding.method.request()

    def build(self, body: bytes, content_type: bytes, query: str, bound: list[tuple[FieldPath, str]]) -> bytes:
        """The request's message in protobuf. BadRequestError says what does not fit."""
        binding = self._binding
        if binding.body:
            self._take_body(body, content_type)
        if query and binding.body != "*":
            self._merge(self._query_tree(query))
        if bound:
            self._merge(_tree(binding.method.request_type, {names: [("", text)] for names, text in bound}))
        try:
            return self._message.SerializeToString()
        except EncodeError as error:
            raise BadRequestError(f"what is said cannot be sent: {error}") from None

    def _merge(self, tree: Any) -> None:
        if not isinstance(tree, dict) and self._message.DESCRIPTOR.full_name not in _NOT_OBJECTS:
            raise BadRequestError("the body is not a JSON object")
        try:
            json_format.ParseDict(tree, self._message, descriptor_pool=self._binding.pool)
        except json_format.ParseError as error:
            raise BadRequestError(_first_sentence(error)) from None
        except RecursionError:
            raise BadRequestError("the body is nested too deeply") from None
        except _SLIPS as error:
            why = "" if isinstance(error, SystemError) else f": {error}"
            raise BadRequestError(f"what is said does not fit {self._message.DESCRIPTOR.full_name}{why}") from None

    def _take_body(self, body: bytes, content_type: bytes) -> None:
        field = self._binding.body
        target = self._message
        request = self._binding.method.request_type
        descriptor = request if field == "*" else request.fields_by_name[field].message_type
        if descriptor is not None and descriptor.full_name == HTTP_BODY:
            holder: Any = target if field == "*" else getattr(target, field)
            holder.content_type = content_type.decode("latin-1")
            holder.data = body
            return
        if not body:
            return
        value = _parse_json(body)
        self._merge(value if field == "*" else {field: value})

    def _query_tree(self, query: str) -> dict[str, Any]:
        binding = self._binding
        given: dict[FieldPath, list[tuple[str, str]]] = {}
        descriptor = binding.method.request_type
        for key, value in _query_pairs(query):
            name, bracket, rest = key.partition("[")
            names = _canonical(descriptor, tuple(name.split(".")))
            if names is None:
                raise BadRequestError(f"{descriptor.full_name} has no field {key}")
            if _is_taken(names, binding):
                continue
            given.setdefault(names, []).append((rest.removesuffix("]") if bracket else "", value))
        return _tree(descriptor, given)


def _query_pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY_PARAMETERS)
    except UnicodeDecodeError:
        raise BadRequestError("the query is not UTF-8") from None
    except ValueError:
        raise BadRequestError(f"the query has more than {MAX_QUERY_PARAMETERS} parameters") from None


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except RecursionError:
        raise BadRequestError("the body is nested too deeply") from None
    except ValueError as error:
        raise BadRequestError(f"the body is not JSON: {error}") from None


def _is_taken(names: FieldPath, binding: Binding) -> bool:
    """Whether body or path give the field, or what it is in."""
    if names[0] == binding.body:
        return True
    return any(names[: len(taken)] == taken for taken in binding.path_fields)


def _canonical(descriptor: Descriptor, names: FieldPath) -> FieldPath | None:
    """Declared names of a path in declared or JSON names; None: there is no such field."""
    found: list[str] = []
    inner: Descriptor | None = descriptor
    for name in names:
        field = None if inner is None else _field(inner, name)
        if field is None:
            return None
        found.append(field.name)
        inner = field.message_type
    return tuple(found)


def _field(descriptor: Descriptor, name: str) -> FieldDescriptor | None:
    declared: FieldDescriptor | None = descriptor.fields_by_name.get(name)
    if declared is not None:
        return declared
    return next((field for field in descriptor.fields if field.json_name == name), None)


def _tree(descriptor: Descriptor, given: Mapping[FieldPath, list[tuple[str, str]]]) -> dict[str, Any]:
    """The JSON object of a message from the (key, text) pairs of its fields."""
    tree: dict[str, Any] = {}
    for names, values in given.items():
        for end in range(1, len(names)):
            if names[:end] in given:
                raise BadRequestError(f"{'.'.join(names)} is given, and so is {'.'.join(names[:end])}: give only one")
        _put(tree, descriptor, names, values)
    return tree


def _put(tree: dict[str, Any], descriptor: Descriptor, names: FieldPath, given: list[tuple[str, str]]) -> None:
    """Put the (key, text) pairs at the field of `names`, which is there, as JSON values; only maps look at keys."""
    dotted = ".".join(names)
    for name in names[:-1]:
        field = descriptor.fields_by_name[name]
        if field.is_repeated:
            raise BadRequestError(f"{dotted}: {name} is repeated, its fields cannot be set by parameters")
        assert field.message_type is not None, "names were found in it"
        tree = tree.setdefault(name, {})
        descriptor = field.message_type
    field = descriptor.fields_by_name[names[-1]]
    if _is_map(field):
        assert field.message_type is not None, "maps are messages"
        values = field.message_type.fields_by_name["value"]
        tree[field.name] = {key: _value(values, text, f"{dotted}[{key}]") for key, text in given}
    elif field.is_repeated:
        tree[field.name] = [_value(field, text, dotted) for _, text in given]
    elif len(given) > 1:
        raise BadRequestError(f"{dotted} is given {len(given)} times, but takes one value")
    else:
        tree[field.name] = _value(field, given[0][1], dotted)


def _is_map(field: FieldDescriptor) -> bool:
    message = field.message_type
    return message is not None and message.GetOptions().map_entry


def _value(field: FieldDescriptor, text: str, dotted: str) -> Any:
    """A parameter's text as the JSON value of `field`; what is no bool and no message may be a string in JSON."""
    message = field.message_type
    if field.type == field.TYPE_BOOL or (message is not None and message.full_name == "google.protobuf.BoolValue"):
        if text not in _BOOLEANS:
            raise BadRequestError(f"{dotted}: {text!r} is neither true nor false")
        return _BOOLEANS[text]
    if message is None or message.full_name in _TAKES_TEXT:
        return text
    if message.full_name in _TAKES_JSON:
        return _parse_json(text.encode())
    raise BadRequestError(f"{dotted} is a message: give its fields, such as {dotted}.{message.fields[0].name}")


def _first_sentence(error: Exception) -> str:
    """Without the list of all fields that follows."""
    return str(error).strip().partition("\n")[0].rstrip(".")


# ── answers ──


def response_body(binding: Binding, data: bytes) -> tuple[bytes, bytes]:
    """(content type, body) of a response message. DecodeError: it is no such message."""
    try:
        message = binding.method.response.FromString(data)
    except DecodeError as error:
        raise DecodeError(f"the app's answer is no {binding.method.response_type.full_name}: {error}") from None
    target: Any = getattr(message, binding.response_body) if binding.response_body else message
    if isinstance(target, Message) and target.DESCRIPTOR.full_name == HTTP_BODY:
        body: Any = target
        return _content_type(body.content_type), body.data
    return JSON, msgspec.json.encode(response_value(binding, message))


def _content_type(text: str) -> bytes:
    """Of an HttpBody; the app must not get line ends into a head."""
    return text.encode() if text.isascii() and text.isprintable() and text else b"application/octet-stream"


def takes_any(binding: Binding) -> bool:
    """Whether the body is google.api.HttpBody: any content type."""
    request = binding.method.request_type
    descriptor = request if binding.body == "*" else request.fields_by_name[binding.body].message_type
    return descriptor is not None and descriptor.full_name == HTTP_BODY


def answers_http_body(binding: Binding) -> bool:
    """Whether the answer is google.api.HttpBody: bytes of any content type."""
    response = binding.method.response_type
    descriptor = response.fields_by_name[binding.response_body].message_type if binding.response_body else response
    return descriptor is not None and descriptor.full_name == HTTP_BODY


def response_value(binding: Binding, message: Message) -> Any:
    """The answer as a JSON value."""
    if not binding.response_body:
        return to_json(message, binding.pool)
    field = binding.method.response_type.fields_by_name[binding.response_body]
    if field.message_type is not None and not field.is_repeated:
        return to_json(getattr(message, field.name), binding.pool)
    found: dict[str, Any] = to_json(message, binding.pool)
    return found.get(field.json_name)


def to_json(message: Message, pool: DescriptorPool) -> Any:
    """`message` as a JSON value."""
    try:
        return json_format.MessageToDict(message, always_print_fields_with_no_presence=True, descriptor_pool=pool)
    except RecursionError:
        raise DecodeError(f"{message.DESCRIPTOR.full_name} is nested too deeply") from None
    except (TypeError, json_format.SerializeToJsonError, ValueError, KeyError, OverflowError) as error:
        raise DecodeError(f"{message.DESCRIPTOR.full_name} has no JSON form: {error}") from None


def status_value(status: GrpcStatus, pool: DescriptorPool | None) -> dict[str, Any]:
    """google.rpc.Status as a JSON value; a detail of an unknown type keeps its bytes in base64. `pool`: of the types
    of details; None where there are none."""
    details: list[Any] = []
    if pool is None:
        return {"code": status.code, "message": status.message, "details": details}
    for detail in _details(status):
        try:
            details.append(to_json(detail, pool))
        except DecodeError:
            details.append({"@type": detail.type_url, "value": base64.b64encode(detail.value).decode()})
    return {"code": status.code, "message": status.message, "details": details}


def _details(status: GrpcStatus) -> list[Any]:
    raw = status.details
    try:
        decoded = base64.b64decode(raw + b"=" * (-len(raw) % 4))
        return list(status_pb2.Status.FromString(decoded).details)
    except (binascii.Error, DecodeError):
        return []
