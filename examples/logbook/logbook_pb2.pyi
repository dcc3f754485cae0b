import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Water(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WATER_UNSPECIFIED: _ClassVar[Water]
    SALT: _ClassVar[Water]
    FRESH: _ClassVar[Water]
WATER_UNSPECIFIED: Water
SALT: Water
FRESH: Water

class Dive(_message.Message):
    __slots__ = ("name", "place", "depth_m", "duration", "start", "water")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    DEPTH_M_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    WATER_FIELD_NUMBER: _ClassVar[int]
    name: str
    place: str
    depth_m: float
    duration: _duration_pb2.Duration
    start: _timestamp_pb2.Timestamp
    water: Water
    def __init__(self, name: _Optional[str] = ..., place: _Optional[str] = ..., depth_m: _Optional[float] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., water: _Optional[_Union[Water, str]] = ...) -> None: ...

class GetDiveRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListDivesRequest(_message.Message):
    __slots__ = ("parent", "min_depth_m", "water")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    MIN_DEPTH_M_FIELD_NUMBER: _ClassVar[int]
    WATER_FIELD_NUMBER: _ClassVar[int]
    parent: str
    min_depth_m: float
    water: _containers.RepeatedScalarFieldContainer[Water]
    def __init__(self, parent: _Optional[str] = ..., min_depth_m: _Optional[float] = ..., water: _Optional[_Iterable[_Union[Water, str]]] = ...) -> None: ...

class LogDiveRequest(_message.Message):
    __slots__ = ("parent", "dive")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    DIVE_FIELD_NUMBER: _ClassVar[int]
    parent: str
    dive: Dive
    def __init__(self, parent: _Optional[str] = ..., dive: _Optional[_Union[Dive, _Mapping]] = ...) -> None: ...
