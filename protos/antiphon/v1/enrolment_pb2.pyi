from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class EnrolRequest(_message.Message):
    __slots__ = ("token", "certificate_request")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_REQUEST_FIELD_NUMBER: _ClassVar[int]
    token: str
    certificate_request: bytes
    def __init__(self, token: _Optional[str] = ..., certificate_request: _Optional[bytes] = ...) -> None: ...

class Certificate(_message.Message):
    __slots__ = ("certificate", "roots", "client", "fleet", "coordinator_port")
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    ROOTS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    FLEET_FIELD_NUMBER: _ClassVar[int]
    COORDINATOR_PORT_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    roots: _containers.RepeatedScalarFieldContainer[bytes]
    client: str
    fleet: str
    coordinator_port: int
    def __init__(self, certificate: _Optional[bytes] = ..., roots: _Optional[_Iterable[bytes]] = ..., client: _Optional[str] = ..., fleet: _Optional[str] = ..., coordinator_port: _Optional[int] = ...) -> None: ...

class ChallengeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ChallengeResponse(_message.Message):
    __slots__ = ("nonce",)
    NONCE_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    def __init__(self, nonce: _Optional[bytes] = ...) -> None: ...

class RenewExpiredRequest(_message.Message):
    __slots__ = ("certificate", "certificate_request", "nonce", "signature")
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_REQUEST_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    certificate_request: bytes
    nonce: bytes
    signature: bytes
    def __init__(self, certificate: _Optional[bytes] = ..., certificate_request: _Optional[bytes] = ..., nonce: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...
