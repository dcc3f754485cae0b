from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SidecarMessage(_message.Message):
    __slots__ = ("hello", "subscribe", "unsubscribe", "ack", "nack", "register", "keep_alive", "deregister", "demand")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
    UNSUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    NACK_FIELD_NUMBER: _ClassVar[int]
    REGISTER_FIELD_NUMBER: _ClassVar[int]
    KEEP_ALIVE_FIELD_NUMBER: _ClassVar[int]
    DEREGISTER_FIELD_NUMBER: _ClassVar[int]
    DEMAND_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    subscribe: Subscribe
    unsubscribe: Unsubscribe
    ack: Ack
    nack: Nack
    register: Register
    keep_alive: KeepAlive
    deregister: Deregister
    demand: Demand
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., subscribe: _Optional[_Union[Subscribe, _Mapping]] = ..., unsubscribe: _Optional[_Union[Unsubscribe, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., nack: _Optional[_Union[Nack, _Mapping]] = ..., register: _Optional[_Union[Register, _Mapping]] = ..., keep_alive: _Optional[_Union[KeepAlive, _Mapping]] = ..., deregister: _Optional[_Union[Deregister, _Mapping]] = ..., demand: _Optional[_Union[Demand, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("node", "service", "namespace", "version", "zone", "sidecar_version", "revision")
    NODE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    SIDECAR_VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    node: str
    service: str
    namespace: str
    version: str
    zone: str
    sidecar_version: str
    revision: int
    def __init__(self, node: _Optional[str] = ..., service: _Optional[str] = ..., namespace: _Optional[str] = ..., version: _Optional[str] = ..., zone: _Optional[str] = ..., sidecar_version: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class Subscribe(_message.Message):
    __slots__ = ("services",)
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, services: _Optional[_Iterable[str]] = ...) -> None: ...

class Unsubscribe(_message.Message):
    __slots__ = ("services",)
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, services: _Optional[_Iterable[str]] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("nonce",)
    NONCE_FIELD_NUMBER: _ClassVar[int]
    nonce: int
    def __init__(self, nonce: _Optional[int] = ...) -> None: ...

class Nack(_message.Message):
    __slots__ = ("nonce", "reason")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    nonce: int
    reason: str
    def __init__(self, nonce: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Register(_message.Message):
    __slots__ = ("service", "namespace", "instance", "body", "lease_id")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    service: str
    namespace: str
    instance: str
    body: bytes
    lease_id: int
    def __init__(self, service: _Optional[str] = ..., namespace: _Optional[str] = ..., instance: _Optional[str] = ..., body: _Optional[bytes] = ..., lease_id: _Optional[int] = ...) -> None: ...

class KeepAlive(_message.Message):
    __slots__ = ("lease_id",)
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    lease_id: int
    def __init__(self, lease_id: _Optional[int] = ...) -> None: ...

class Deregister(_message.Message):
    __slots__ = ("service", "namespace", "instance", "lease_id")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    service: str
    namespace: str
    instance: str
    lease_id: int
    def __init__(self, service: _Optional[str] = ..., namespace: _Optional[str] = ..., instance: _Optional[str] = ..., lease_id: _Optional[int] = ...) -> None: ...

class Demand(_message.Message):
    __slots__ = ("quotas",)
    QUOTAS_FIELD_NUMBER: _ClassVar[int]
    quotas: _containers.RepeatedCompositeFieldContainer[QuotaDemand]
    def __init__(self, quotas: _Optional[_Iterable[_Union[QuotaDemand, _Mapping]]] = ...) -> None: ...

class QuotaDemand(_message.Message):
    __slots__ = ("service", "limit", "rate")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    service: str
    limit: str
    rate: float
    def __init__(self, service: _Optional[str] = ..., limit: _Optional[str] = ..., rate: _Optional[float] = ...) -> None: ...

class ControlMessage(_message.Message):
    __slots__ = ("welcome", "delta", "registered", "deregistered", "registration_failed", "shares")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    REGISTERED_FIELD_NUMBER: _ClassVar[int]
    DEREGISTERED_FIELD_NUMBER: _ClassVar[int]
    REGISTRATION_FAILED_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    delta: Delta
    registered: Registered
    deregistered: Deregistered
    registration_failed: RegistrationFailed
    shares: Shares
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., delta: _Optional[_Union[Delta, _Mapping]] = ..., registered: _Optional[_Union[Registered, _Mapping]] = ..., deregistered: _Optional[_Union[Deregistered, _Mapping]] = ..., registration_failed: _Optional[_Union[RegistrationFailed, _Mapping]] = ..., shares: _Optional[_Union[Shares, _Mapping]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("control", "control_version")
    CONTROL_FIELD_NUMBER: _ClassVar[int]
    CONTROL_VERSION_FIELD_NUMBER: _ClassVar[int]
    control: str
    control_version: str
    def __init__(self, control: _Optional[str] = ..., control_version: _Optional[str] = ...) -> None: ...

class Delta(_message.Message):
    __slots__ = ("nonce", "revision", "upserts", "removals", "unknown")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    UPSERTS_FIELD_NUMBER: _ClassVar[int]
    REMOVALS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    nonce: int
    revision: int
    upserts: _containers.RepeatedCompositeFieldContainer[Resource]
    removals: _containers.RepeatedScalarFieldContainer[str]
    unknown: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, nonce: _Optional[int] = ..., revision: _Optional[int] = ..., upserts: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ..., removals: _Optional[_Iterable[str]] = ..., unknown: _Optional[_Iterable[str]] = ...) -> None: ...

class Resource(_message.Message):
    __slots__ = ("kind", "name", "body")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Resource.Kind]
        SERVICE: _ClassVar[Resource.Kind]
        ENDPOINTS: _ClassVar[Resource.Kind]
        OWN: _ClassVar[Resource.Kind]
    KIND_UNSPECIFIED: Resource.Kind
    SERVICE: Resource.Kind
    ENDPOINTS: Resource.Kind
    OWN: Resource.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    kind: Resource.Kind
    name: str
    body: bytes
    def __init__(self, kind: _Optional[_Union[Resource.Kind, str]] = ..., name: _Optional[str] = ..., body: _Optional[bytes] = ...) -> None: ...

class Registered(_message.Message):
    __slots__ = ("instance", "lease_id", "ttl_s")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    TTL_S_FIELD_NUMBER: _ClassVar[int]
    instance: str
    lease_id: int
    ttl_s: int
    def __init__(self, instance: _Optional[str] = ..., lease_id: _Optional[int] = ..., ttl_s: _Optional[int] = ...) -> None: ...

class Deregistered(_message.Message):
    __slots__ = ("instance",)
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    instance: str
    def __init__(self, instance: _Optional[str] = ...) -> None: ...

class RegistrationFailed(_message.Message):
    __slots__ = ("instance", "reason")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    instance: str
    reason: str
    def __init__(self, instance: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Shares(_message.Message):
    __slots__ = ("quotas",)
    QUOTAS_FIELD_NUMBER: _ClassVar[int]
    quotas: _containers.RepeatedCompositeFieldContainer[QuotaShare]
    def __init__(self, quotas: _Optional[_Iterable[_Union[QuotaShare, _Mapping]]] = ...) -> None: ...

class QuotaShare(_message.Message):
    __slots__ = ("service", "limit", "share", "participants")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    service: str
    limit: str
    share: float
    participants: int
    def __init__(self, service: _Optional[str] = ..., limit: _Optional[str] = ..., share: _Optional[float] = ..., participants: _Optional[int] = ...) -> None: ...
