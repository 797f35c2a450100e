from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Blob(_message.Message):
    __slots__ = ("sha256", "bytes", "encoding")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    bytes: int
    encoding: str
    def __init__(self, sha256: _Optional[bytes] = ..., bytes: _Optional[int] = ..., encoding: _Optional[str] = ...) -> None: ...

class SeedScalars(_message.Message):
    __slots__ = ("index", "value")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    index: _containers.RepeatedScalarFieldContainer[int]
    value: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, index: _Optional[_Iterable[int]] = ..., value: _Optional[_Iterable[float]] = ...) -> None: ...

class Array(_message.Message):
    __slots__ = ("name", "side", "real", "whole", "gap")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    REAL_FIELD_NUMBER: _ClassVar[int]
    WHOLE_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    name: str
    side: _containers.RepeatedScalarFieldContainer[int]
    real: _containers.RepeatedScalarFieldContainer[float]
    whole: _containers.RepeatedScalarFieldContainer[int]
    gap: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., side: _Optional[_Iterable[int]] = ..., real: _Optional[_Iterable[float]] = ..., whole: _Optional[_Iterable[int]] = ..., gap: _Optional[_Iterable[int]] = ...) -> None: ...

class Arrays(_message.Message):
    __slots__ = ("array",)
    ARRAY_FIELD_NUMBER: _ClassVar[int]
    array: _containers.RepeatedCompositeFieldContainer[Array]
    def __init__(self, array: _Optional[_Iterable[_Union[Array, _Mapping]]] = ...) -> None: ...

class Update(_message.Message):
    __slots__ = ("run_id", "round", "examples", "steps", "metrics", "tensors", "scalars", "arrays", "form")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    SCALARS_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    FORM_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    round: int
    examples: int
    steps: int
    metrics: _containers.ScalarMap[str, float]
    tensors: Blob
    scalars: SeedScalars
    arrays: Arrays
    form: str
    def __init__(self, run_id: _Optional[str] = ..., round: _Optional[int] = ..., examples: _Optional[int] = ..., steps: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ..., tensors: _Optional[_Union[Blob, _Mapping]] = ..., scalars: _Optional[_Union[SeedScalars, _Mapping]] = ..., arrays: _Optional[_Union[Arrays, _Mapping]] = ..., form: _Optional[str] = ...) -> None: ...

class SeedCoefficients(_message.Message):
    __slots__ = ("num_seeds", "index_gap", "value", "probability")
    NUM_SEEDS_FIELD_NUMBER: _ClassVar[int]
    INDEX_GAP_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    num_seeds: int
    index_gap: _containers.RepeatedScalarFieldContainer[int]
    value: _containers.RepeatedScalarFieldContainer[float]
    probability: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, num_seeds: _Optional[int] = ..., index_gap: _Optional[_Iterable[int]] = ..., value: _Optional[_Iterable[float]] = ..., probability: _Optional[_Iterable[float]] = ...) -> None: ...

class Codec(_message.Message):
    __slots__ = ("kind", "arguments")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    arguments: str
    def __init__(self, kind: _Optional[str] = ..., arguments: _Optional[str] = ...) -> None: ...

class TensorShape(_message.Message):
    __slots__ = ("name", "side")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    name: str
    side: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., side: _Optional[_Iterable[int]] = ...) -> None: ...

class PackedModel(_message.Message):
    __slots__ = ("codec", "shapes", "content")
    CODEC_FIELD_NUMBER: _ClassVar[int]
    SHAPES_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    codec: Codec
    shapes: _containers.RepeatedCompositeFieldContainer[TensorShape]
    content: bytes
    def __init__(self, codec: _Optional[_Union[Codec, _Mapping]] = ..., shapes: _Optional[_Iterable[_Union[TensorShape, _Mapping]]] = ..., content: _Optional[bytes] = ...) -> None: ...

class ModelChange(_message.Message):
    __slots__ = ("since", "blob")
    SINCE_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    since: bytes
    blob: Blob
    def __init__(self, since: _Optional[bytes] = ..., blob: _Optional[_Union[Blob, _Mapping]] = ...) -> None: ...

class Assignment(_message.Message):
    __slots__ = ("run_id", "round", "method", "steps", "first_step", "total_steps", "learning_rate", "r", "seed", "model", "max_tokens", "told", "codec", "folded_round", "upload_bytes", "pool", "frames", "change")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    TOTAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    R_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOLD_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    FOLDED_ROUND_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    round: int
    method: str
    steps: int
    first_step: int
    total_steps: int
    learning_rate: float
    r: int
    seed: int
    model: Blob
    max_tokens: int
    told: bytes
    codec: Codec
    folded_round: int
    upload_bytes: int
    pool: int
    frames: Blob
    change: ModelChange
    def __init__(self, run_id: _Optional[str] = ..., round: _Optional[int] = ..., method: _Optional[str] = ..., steps: _Optional[int] = ..., first_step: _Optional[int] = ..., total_steps: _Optional[int] = ..., learning_rate: _Optional[float] = ..., r: _Optional[int] = ..., seed: _Optional[int] = ..., model: _Optional[_Union[Blob, _Mapping]] = ..., max_tokens: _Optional[int] = ..., told: _Optional[bytes] = ..., codec: _Optional[_Union[Codec, _Mapping]] = ..., folded_round: _Optional[int] = ..., upload_bytes: _Optional[int] = ..., pool: _Optional[int] = ..., frames: _Optional[_Union[Blob, _Mapping]] = ..., change: _Optional[_Union[ModelChange, _Mapping]] = ...) -> None: ...
