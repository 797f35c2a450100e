"""Decoders of the coordinator: what a machine says of itself, and what it shows to be let in."""

from __future__ import annotations

import base64
import functools
import secrets
from collections.abc import Coroutine

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from tests.fuzz.core_targets import JSON_WORDS
from tests.fuzz.target import Target, message, scratch, written

from antiphon.core import config, event_json, events, golden
from antiphon.core.errors import RunFolderError
from antiphon.core.identity import renewal_statement
from antiphon.core.space import SpaceShapes
from antiphon.server.coordinator.admission import Admission
from antiphon.server.coordinator.admission import Refused as NotAdmitted
from antiphon.server.coordinator.engine import Engine
from antiphon.server.enrolment import access
from antiphon.server.enrolment.authority import Authority, create_authority
from antiphon.server.enrolment.ledger import ClientRefused, Ledger, TokenRefused, ledger_file
from antiphon.server.enrolment.registrar import NotProven, Registrar
from antiphon.server.enrolment.requests import BadRequest, requested_key
from antiphon.server.enrolment.tokens import new_token
from antiphon.server.enrolment.tokens import written as token_text
from antiphon.server.folding.space_file import read_space, write_space
from antiphon.server.planning.agreement import Disagreement, check_same_space, reported_space
from antiphon.server.planning.machine_facts import facts_of
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import enrolment_pb2

NOW = 1_800_000_000.0
Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_SHAPES = {"m.lora_A.weight": (2, 3), "m.lora_B.weight": (4, 2)}


class _Admitted(Exception):
    """A request has passed the door, and asks for the run to begin on this space."""


async def _opening(space: SpaceShapes) -> Engine:
    raise _Admitted(space)


@functools.cache
def _doors() -> tuple[Admission, Admission]:
    """Return the doors of a run with factors and of one with seeds."""
    values = {
        "name": "one",
        "rounds": 3,
        "model": {"model_name_or_path": "tiny"},
        "data": {"dataset": "d", "format": "alpaca"},
        "cohort": {"min_clients": 1},
        "lora": {"r": 2, "target_modules": "all-linear"},
    }
    runs = [config.validate({**values, "method": method}) for method in ("lora", "seeds")]
    first, second = (
        Admission(run, "run", _opening, lambda: 1 << 20, now=lambda: NOW) for run in runs
    )
    return first, second


def _finished(coroutine: Coroutine[object, None, object]) -> None:
    """Run what never waits, without an event loop."""
    try:
        coroutine.send(None)
    except (StopIteration, _Admitted):
        return
    raise AssertionError("it waits")


def _join(content: bytes) -> None:
    request = message(pb.JoinRequest, content)
    if request is None:
        return
    for door in _doors():
        request.config_hash = door.config_hash
        _finished(door.join("north", request))
        space = reported_space(request.space, door.config)
        check_same_space(space, space)
        described = events.ClientDescribed("north", facts_of(request))
        event_json.decode(*event_json.encode(described))
        check_same_space(SpaceShapes(_SHAPES, {}, "tiny", 26, "ab" * 32), space)


def _join_seeds() -> list[bytes]:
    made = pb.JoinRequest(run_id="run", examples=120, evaluation_examples=30)
    made.capabilities.MergeFrom(
        pb.Capabilities(
            antiphon_version="0.2.0",
            device_kind="cpu",
            memory_bytes=1 << 34,
            cpu_cores=2,
            tokens_per_s=99.5,
            libraries={"torch": "2.6.0", "numpy": "2.2"},
            platform="Linux-x86_64",
            golden=golden.GOLDEN,
        )
    )
    for name, (rows, columns) in _SHAPES.items():
        made.space.factors.add(name=name, rows=rows, columns=columns)
    made.space.model_parameters, made.space.model_digest = 26, b"\xab" * 32
    weights = pb.JoinRequest()
    weights.CopyFrom(made)
    weights.space.weights.MergeFrom(made.space.factors)
    del weights.space.factors[:]
    return [made.SerializeToString(), weights.SerializeToString()]


def _space_file(content: bytes) -> None:
    space = read_space(written("space.json", content), _doors()[0].config)
    write_space(scratch() / "space.json", space)
    assert all(min(shape) >= 0 for shape in (*space.factors.values(), *space.weights.values()))


def _space_seeds() -> list[bytes]:
    file = scratch() / "space.json"
    write_space(file, SpaceShapes(_SHAPES, {}, "tiny", 26, "ab" * 32))
    return [file.read_bytes()]


@functools.cache
def fleet() -> tuple[Authority, Registrar]:
    """Return a fleet whose clock stands still."""
    folder = scratch() / "fleet"
    authority = create_authority(folder, "ward", None, NOW)
    ledger = Ledger(ledger_file(folder), new=True)
    return authority, Registrar(
        authority, ledger, lambda: NOW, secrets.token_bytes, coordinator_port=8470
    )


def keys() -> list[Key]:
    """Make a key of each kind that a client may have."""
    return [ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()]


def request_of(key: Key) -> bytes:
    """Make a certificate request, DER."""
    digest = hashes.SHA256() if isinstance(key, ec.EllipticCurvePrivateKey) else None
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, digest).public_bytes(Encoding.DER)


def certificate_of(key: Key, name: str = "edge") -> bytes:
    """Make a client's certificate, DER."""
    issued = fleet()[0].issue_client(name, key.public_key(), NOW, 86_400.0)
    return issued.public_bytes(Encoding.DER)


def _request_seeds() -> list[bytes]:
    return [request_of(key) for key in keys()]


def _enrol(content: bytes) -> None:
    request = message(enrolment_pb2.EnrolRequest, content)
    if request is not None:
        fleet()[1].enrol(request.token, request.certificate_request)


def _enrol_seeds() -> list[bytes]:
    token = token_text(new_token("edge", 1, NOW + 60, secrets.token_bytes))  # not in the ledger
    return [
        enrolment_pb2.EnrolRequest(token=token, certificate_request=each).SerializeToString()
        for each in _request_seeds()
    ]


def _renew_expired(content: bytes) -> None:
    asked = message(enrolment_pb2.RenewExpiredRequest, content)
    if asked is not None:
        fleet()[1].renew_expired(
            asked.certificate, asked.certificate_request, asked.nonce, asked.signature
        )


def _renewal_seeds() -> list[bytes]:
    return [_renewal(key) for key in keys()]


def _renewal(key: Key) -> bytes:
    nonce, request = fleet()[1].nonces.give(), request_of(key)
    statement = renewal_statement(nonce, request)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        signature = key.sign(statement, ec.ECDSA(hashes.SHA256()))
    else:
        signature = key.sign(statement)
    return enrolment_pb2.RenewExpiredRequest(
        certificate=certificate_of(key),
        certificate_request=request,
        nonce=nonce,
        signature=signature,
    ).SerializeToString()


def pem(der: bytes) -> bytes:
    """Return a certificate of any bytes as PEM."""
    return b"".join(
        (
            b"-----BEGIN CERTIFICATE-----\n",
            base64.encodebytes(der),
            b"-----END CERTIFICATE-----\n",
        )
    )


def _shown(content: bytes) -> None:
    access._read(pem(content))


def certificate_seeds() -> list[bytes]:
    """Make a certificate for each kind of key, and a root; DER."""
    root = fleet()[0].roots[0].public_bytes(Encoding.DER)
    return [root, *(certificate_of(key) for key in keys())]


SERVER_TARGETS: dict[str, Target] = {
    "join": Target(_join, _join_seeds, (NotAdmitted, Disagreement)),
    "space file": Target(_space_file, _space_seeds, (RunFolderError,), JSON_WORDS),
    "certificate request": Target(requested_key, _request_seeds, (BadRequest,)),
    "enrolment": Target(_enrol, _enrol_seeds, (BadRequest, TokenRefused)),
    "renewal": Target(_renew_expired, _renewal_seeds, (BadRequest, NotProven, ClientRefused)),
    "caller's certificate": Target(_shown, certificate_seeds, (access.Denied,)),
}
