from antiphon.v1 import enrolment_pb2 as _enrolment_pb2
from antiphon.v1 import update_pb2 as _update_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HelloRequest(_message.Message):
    __slots__ = ("antiphon_version",)
    ANTIPHON_VERSION_FIELD_NUMBER: _ClassVar[int]
    antiphon_version: str
    def __init__(self, antiphon_version: _Optional[str] = ...) -> None: ...

class HelloResponse(_message.Message):
    __slots__ = ("run_id", "config", "config_hash", "min_cohort", "max_upload_bytes", "retry_after_ms", "asks")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CONFIG_HASH_FIELD_NUMBER: _ClassVar[int]
    MIN_COHORT_FIELD_NUMBER: _ClassVar[int]
    MAX_UPLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    ASKS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    config: bytes
    config_hash: str
    min_cohort: int
    max_upload_bytes: int
    retry_after_ms: int
    asks: _containers.RepeatedCompositeFieldContainer[RoleWork]
    def __init__(self, run_id: _Optional[str] = ..., config: _Optional[bytes] = ..., config_hash: _Optional[str] = ..., min_cohort: _Optional[int] = ..., max_upload_bytes: _Optional[int] = ..., retry_after_ms: _Optional[int] = ..., asks: _Optional[_Iterable[_Union[RoleWork, _Mapping]]] = ...) -> None: ...

class RoleWork(_message.Message):
    __slots__ = ("role", "steps", "batch", "accumulation")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    ACCUMULATION_FIELD_NUMBER: _ClassVar[int]
    role: str
    steps: int
    batch: int
    accumulation: int
    def __init__(self, role: _Optional[str] = ..., steps: _Optional[int] = ..., batch: _Optional[int] = ..., accumulation: _Optional[int] = ...) -> None: ...

class MatrixShape(_message.Message):
    __slots__ = ("name", "rows", "columns")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    name: str
    rows: int
    columns: int
    def __init__(self, name: _Optional[str] = ..., rows: _Optional[int] = ..., columns: _Optional[int] = ...) -> None: ...

class SpaceReport(_message.Message):
    __slots__ = ("factors", "weights", "model_parameters", "model_digest")
    FACTORS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    factors: _containers.RepeatedCompositeFieldContainer[MatrixShape]
    weights: _containers.RepeatedCompositeFieldContainer[MatrixShape]
    model_parameters: int
    model_digest: bytes
    def __init__(self, factors: _Optional[_Iterable[_Union[MatrixShape, _Mapping]]] = ..., weights: _Optional[_Iterable[_Union[MatrixShape, _Mapping]]] = ..., model_parameters: _Optional[int] = ..., model_digest: _Optional[bytes] = ...) -> None: ...

class Capabilities(_message.Message):
    __slots__ = ("antiphon_version", "device_kind", "device_name", "memory_bytes", "cpu_cores", "tokens_per_s", "libraries", "platform", "golden", "base")
    class LibrariesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class GoldenEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ANTIPHON_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_KIND_FIELD_NUMBER: _ClassVar[int]
    DEVICE_NAME_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_CORES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_S_FIELD_NUMBER: _ClassVar[int]
    LIBRARIES_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    GOLDEN_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    antiphon_version: str
    device_kind: str
    device_name: str
    memory_bytes: int
    cpu_cores: int
    tokens_per_s: float
    libraries: _containers.ScalarMap[str, str]
    platform: str
    golden: _containers.ScalarMap[str, str]
    base: str
    def __init__(self, antiphon_version: _Optional[str] = ..., device_kind: _Optional[str] = ..., device_name: _Optional[str] = ..., memory_bytes: _Optional[int] = ..., cpu_cores: _Optional[int] = ..., tokens_per_s: _Optional[float] = ..., libraries: _Optional[_Mapping[str, str]] = ..., platform: _Optional[str] = ..., golden: _Optional[_Mapping[str, str]] = ..., base: _Optional[str] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("run_id", "config_hash", "examples", "evaluation_examples", "capabilities", "space")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_HASH_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    config_hash: str
    examples: int
    evaluation_examples: int
    capabilities: Capabilities
    space: SpaceReport
    def __init__(self, run_id: _Optional[str] = ..., config_hash: _Optional[str] = ..., examples: _Optional[int] = ..., evaluation_examples: _Optional[int] = ..., capabilities: _Optional[_Union[Capabilities, _Mapping]] = ..., space: _Optional[_Union[SpaceReport, _Mapping]] = ...) -> None: ...

class JoinResponse(_message.Message):
    __slots__ = ("lease_ms",)
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    lease_ms: int
    def __init__(self, lease_ms: _Optional[int] = ...) -> None: ...

class NextTaskRequest(_message.Message):
    __slots__ = ("run_id", "wait_ms", "working_on_round", "evaluating", "steps_done", "exchange")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    WORKING_ON_ROUND_FIELD_NUMBER: _ClassVar[int]
    EVALUATING_FIELD_NUMBER: _ClassVar[int]
    STEPS_DONE_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    wait_ms: int
    working_on_round: int
    evaluating: bool
    steps_done: int
    exchange: str
    def __init__(self, run_id: _Optional[str] = ..., wait_ms: _Optional[int] = ..., working_on_round: _Optional[int] = ..., evaluating: bool = ..., steps_done: _Optional[int] = ..., exchange: _Optional[str] = ...) -> None: ...

class TrainTask(_message.Message):
    __slots__ = ("assignment", "deadline_ms")
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    assignment: bytes
    deadline_ms: int
    def __init__(self, assignment: _Optional[bytes] = ..., deadline_ms: _Optional[int] = ...) -> None: ...

class EvaluateTask(_message.Message):
    __slots__ = ("round", "model", "deadline_ms", "frames", "change")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    round: int
    model: _update_pb2.Blob
    deadline_ms: int
    frames: _update_pb2.Blob
    change: _update_pb2.ModelChange
    def __init__(self, round: _Optional[int] = ..., model: _Optional[_Union[_update_pb2.Blob, _Mapping]] = ..., deadline_ms: _Optional[int] = ..., frames: _Optional[_Union[_update_pb2.Blob, _Mapping]] = ..., change: _Optional[_Union[_update_pb2.ModelChange, _Mapping]] = ...) -> None: ...

class ExchangeTask(_message.Message):
    __slots__ = ("round", "exchange", "question", "deadline_ms")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    round: int
    exchange: str
    question: bytes
    deadline_ms: int
    def __init__(self, round: _Optional[int] = ..., exchange: _Optional[str] = ..., question: _Optional[bytes] = ..., deadline_ms: _Optional[int] = ...) -> None: ...

class CancelTask(_message.Message):
    __slots__ = ("round", "reason")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    round: int
    reason: str
    def __init__(self, round: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class RunOver(_message.Message):
    __slots__ = ("complete", "reason")
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    complete: bool
    reason: str
    def __init__(self, complete: bool = ..., reason: _Optional[str] = ...) -> None: ...

class NextTaskResponse(_message.Message):
    __slots__ = ("train", "evaluate", "cancel", "over", "exchange", "retry_after_ms", "lease_ms")
    TRAIN_FIELD_NUMBER: _ClassVar[int]
    EVALUATE_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    OVER_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    train: TrainTask
    evaluate: EvaluateTask
    cancel: CancelTask
    over: RunOver
    exchange: ExchangeTask
    retry_after_ms: int
    lease_ms: int
    def __init__(self, train: _Optional[_Union[TrainTask, _Mapping]] = ..., evaluate: _Optional[_Union[EvaluateTask, _Mapping]] = ..., cancel: _Optional[_Union[CancelTask, _Mapping]] = ..., over: _Optional[_Union[RunOver, _Mapping]] = ..., exchange: _Optional[_Union[ExchangeTask, _Mapping]] = ..., retry_after_ms: _Optional[int] = ..., lease_ms: _Optional[int] = ...) -> None: ...

class DownloadRequest(_message.Message):
    __slots__ = ("run_id", "sha256", "offset")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    sha256: bytes
    offset: int
    def __init__(self, run_id: _Optional[str] = ..., sha256: _Optional[bytes] = ..., offset: _Optional[int] = ...) -> None: ...

class DownloadChunk(_message.Message):
    __slots__ = ("content",)
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    def __init__(self, content: _Optional[bytes] = ...) -> None: ...

class UploadStatusRequest(_message.Message):
    __slots__ = ("run_id", "blob")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    blob: _update_pb2.Blob
    def __init__(self, run_id: _Optional[str] = ..., blob: _Optional[_Union[_update_pb2.Blob, _Mapping]] = ...) -> None: ...

class UploadStatusResponse(_message.Message):
    __slots__ = ("offset",)
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    offset: int
    def __init__(self, offset: _Optional[int] = ...) -> None: ...

class UploadChunk(_message.Message):
    __slots__ = ("run_id", "blob", "offset", "content")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    blob: _update_pb2.Blob
    offset: int
    content: bytes
    def __init__(self, run_id: _Optional[str] = ..., blob: _Optional[_Union[_update_pb2.Blob, _Mapping]] = ..., offset: _Optional[int] = ..., content: _Optional[bytes] = ...) -> None: ...

class SubmitUpdateRequest(_message.Message):
    __slots__ = ("update",)
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    update: bytes
    def __init__(self, update: _Optional[bytes] = ...) -> None: ...

class SubmitUpdateResponse(_message.Message):
    __slots__ = ("verdict", "reason")
    class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        VERDICT_UNSPECIFIED: _ClassVar[SubmitUpdateResponse.Verdict]
        ACCEPTED: _ClassVar[SubmitUpdateResponse.Verdict]
        DUPLICATE: _ClassVar[SubmitUpdateResponse.Verdict]
        LATE: _ClassVar[SubmitUpdateResponse.Verdict]
        REJECTED: _ClassVar[SubmitUpdateResponse.Verdict]
        UNKNOWN: _ClassVar[SubmitUpdateResponse.Verdict]
        UPLOAD_FIRST: _ClassVar[SubmitUpdateResponse.Verdict]
    VERDICT_UNSPECIFIED: SubmitUpdateResponse.Verdict
    ACCEPTED: SubmitUpdateResponse.Verdict
    DUPLICATE: SubmitUpdateResponse.Verdict
    LATE: SubmitUpdateResponse.Verdict
    REJECTED: SubmitUpdateResponse.Verdict
    UNKNOWN: SubmitUpdateResponse.Verdict
    UPLOAD_FIRST: SubmitUpdateResponse.Verdict
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    verdict: SubmitUpdateResponse.Verdict
    reason: str
    def __init__(self, verdict: _Optional[_Union[SubmitUpdateResponse.Verdict, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class SubmitAnswerRequest(_message.Message):
    __slots__ = ("run_id", "round", "exchange", "answer")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    round: int
    exchange: str
    answer: bytes
    def __init__(self, run_id: _Optional[str] = ..., round: _Optional[int] = ..., exchange: _Optional[str] = ..., answer: _Optional[bytes] = ...) -> None: ...

class SubmitEvaluationRequest(_message.Message):
    __slots__ = ("run_id", "round", "examples", "metrics")
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
    METRICS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    round: int
    examples: int
    metrics: _containers.ScalarMap[str, float]
    def __init__(self, run_id: _Optional[str] = ..., round: _Optional[int] = ..., examples: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ...) -> None: ...

class SubmitEvaluationResponse(_message.Message):
    __slots__ = ("accepted",)
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    def __init__(self, accepted: bool = ...) -> None: ...

class ReportFailureRequest(_message.Message):
    __slots__ = ("run_id", "round", "evaluating", "reason", "code", "exchange")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    EVALUATING_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    round: int
    evaluating: bool
    reason: str
    code: str
    exchange: str
    def __init__(self, run_id: _Optional[str] = ..., round: _Optional[int] = ..., evaluating: bool = ..., reason: _Optional[str] = ..., code: _Optional[str] = ..., exchange: _Optional[str] = ...) -> None: ...

class ReportFailureResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LeaveRequest(_message.Message):
    __slots__ = ("run_id", "reason", "codes")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    reason: str
    codes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, run_id: _Optional[str] = ..., reason: _Optional[str] = ..., codes: _Optional[_Iterable[str]] = ...) -> None: ...

class LeaveResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("certificate_request",)
    CERTIFICATE_REQUEST_FIELD_NUMBER: _ClassVar[int]
    certificate_request: bytes
    def __init__(self, certificate_request: _Optional[bytes] = ...) -> None: ...
