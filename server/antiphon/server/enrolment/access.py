"""Who may call what: every call is refused unless this file's map lets its caller's role in.

Who calls is read from the certificate of the connection and nowhere else. TLS looks at a certificate
once, when a connection begins; one that runs out or is revoked later is refused here: at the next call,
and within about a second in the middle of one.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import structlog
from cryptography import x509

from antiphon.core.channel import RETRY_AFTER
from antiphon.core.errors import AntiphonError
from antiphon.core.identity import UNREADABLE, IdentityError, Subject, caller_of
from antiphon.server.enrolment.early_calls import Begin, from_headers_on, room_of
from antiphon.server.enrolment.ledger import Ledger
from antiphon.server.enrolment.open_calls import End, OpenCall, OpenCalls, TooMany
from antiphon.server.enrolment.registrar import serial_of
from antiphon.server.front.lines import Lines, Room
from antiphon.server.front.peers import written

if TYPE_CHECKING:
    from antiphon.server.enrolment.early_calls import Context, Handler

Roles = frozenset[str]

_CLIENT: Roles = frozenset({"client"})
_SERVICE = "/antiphon.v1.Coordinator"

COORDINATOR_METHODS: Mapping[str, Roles] = {
    f"{_SERVICE}/Hello": _CLIENT,
    f"{_SERVICE}/Join": _CLIENT,
    f"{_SERVICE}/NextTask": _CLIENT,
    f"{_SERVICE}/Download": _CLIENT,
    f"{_SERVICE}/UploadStatus": _CLIENT,
    f"{_SERVICE}/Upload": _CLIENT,
    f"{_SERVICE}/SubmitUpdate": _CLIENT,
    f"{_SERVICE}/SubmitAnswer": _CLIENT,
    f"{_SERVICE}/SubmitEvaluation": _CLIENT,
    f"{_SERVICE}/ReportFailure": _CLIENT,
    f"{_SERVICE}/Leave": _CLIENT,
    f"{_SERVICE}/Renew": _CLIENT,
}
"""Full method name → roles that may call it."""

EACH = 16
"""Calls at once of one client; ours have three or four, and those of a line that has just gone."""
TOTAL = 20_000
"""Calls at once; a client that waits has one."""

_LOOK_EVERY_S = 1.0
_RETRY_MS = 2_000
_MOST_KNOWN = 20_000  # certificates whose reading is kept

log = structlog.get_logger()

_client: ContextVar[str] = ContextVar("antiphon_client")


def calling_client() -> str:
    """Return the name of the client whose call is being handled, from its certificate.

    Raises LookupError outside of a handler that Access has let a caller into.
    """
    return _client.get()


class Denied(AntiphonError):
    """The call is refused; the message is for the caller's log."""


@dataclass(frozen=True)
class _Credential:
    """A client's certificate as read. Times: seconds since the Unix epoch."""

    caller: Subject
    serial: str
    not_before: float
    not_after: float


class Access(grpc.aio.ServerInterceptor):
    """The guard of a server for enrolled clients. `watch` must run beside it for revocation to be quick.

    fleet: whose clients are let in; now: seconds since the Unix epoch; methods: see COORDINATOR_METHODS;
    calls: what is open, by client; none: with the budgets EACH and TOTAL.
    """

    def __init__(
        self,
        fleet: str,
        ledger: Ledger,
        now: Callable[[], float],
        methods: Mapping[str, Roles] = COORDINATOR_METHODS,
        on_refusals: Callable[[], Awaitable[None]] | None = None,
        calls: OpenCalls | None = None,
    ) -> None:
        """No call is open yet. on_refusals: hears that somebody was revoked, or allowed again."""
        self._on_refusals = on_refusals
        self._fleet, self._ledger, self._now, self._methods = fleet, ledger, now, methods
        self._read: OrderedDict[bytes, _Credential] = OrderedDict()
        self._standing: dict[str, bool] = {}  # serial: revoked; emptied when anything is revoked
        self._calls = calls or OpenCalls(time.monotonic, each=EACH, total=TOTAL)
        self.lines = Lines()
        self._shown: dict[OpenCall, _Credential] = {}
        self._guarded: dict[str, Handler] = {}
        self._data_version = ledger.data_version()
        self._refusals = ledger.refusals_version()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the method's handler with the guard before it."""
        method = handler_call_details.method
        guarded = self._guarded.get(method)
        if guarded is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None  # gRPC answers UNIMPLEMENTED; what does not exist is not remembered
            guarded = self._guarded[method] = self._guard(method, handler)
        return guarded

    async def watch(self) -> None:
        """Look every second for what was revoked or has run out (`refresh`). Runs until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await self.refresh()
            except Exception as error:  # the guard must outlive a busy disk
                log.error("revocations not read", reason=str(error)[:200])

    async def refresh(self) -> None:
        """Cut off the open calls whose certificate has been revoked or has run out since the last look,
        and those whose first message has not come in time.
        """
        self._calls.expire()
        changed = await asyncio.to_thread(self._refusals_changed)
        if changed:
            self._standing.clear()
        for call, credential in list(self._shown.items()):
            reason = self._untimely(credential)
            if not reason and changed:
                reason = await self._revoked(credential)
            if reason:
                self._calls.cut_off(call, grpc.StatusCode.PERMISSION_DENIED, reason)
        if changed and self._on_refusals is not None:
            await self._on_refusals()

    def open_calls(self) -> list[str]:
        """Return the clients that have calls open, one entry for each call, sorted."""
        return sorted(call.caller for call in self._calls)

    def _guard(self, method: str, handler: Handler) -> Handler:
        room = room_of(handler)

        async def guard(begin: Begin, context: Context) -> Any:
            try:
                credential = self._admitted(method, context)
                end = await self._handled(credential, begin, context.peer(), room)
            except Denied as refusal:
                end = End(grpc.StatusCode.PERMISSION_DENIED, str(refusal))
            except TooMany as refusal:
                end = End(grpc.StatusCode.RESOURCE_EXHAUSTED, str(refusal))
            if not isinstance(end, End):
                return end
            await _refuse(context, method, end)

        return from_headers_on(handler, guard)

    async def _handled(self, credential: _Credential, begin: Begin, peer: str, room: Room) -> Any:
        """Return what the handler returns, or the End of a call that is cut off. Raises Denied, TooMany."""
        # Open before the ledger is asked: a revocation in between finds the call.
        client = credential.caller.name
        if (wait_s := self.lines.barred_s(client)) > 0:
            raise TooMany(
                f"a connection of {client} sent what no call asked for: wait {wait_s:.0f} s"
            )
        with self._calls.opened(client) as call, self.lines.call(peer, client, room) as took:

            def arrived(size: int) -> None:
                self._calls.arrived(call)
                took(size)

            self._shown[call] = credential
            name = _client.set(client)
            try:
                if reason := await self._revoked(credential):
                    raise Denied(reason)
                return await begin(arrived)
            except asyncio.CancelledError:
                if call.end is None:
                    raise
                call.task.uncancel()
                return call.end
            finally:
                _client.reset(name)
                del self._shown[call]

    def _admitted(self, method: str, context: Context) -> _Credential:
        credential = self._credential(context)
        caller = credential.caller
        if caller.fleet != self._fleet:
            raise Denied(f"a certificate of the fleet {caller.fleet}, expected {self._fleet}")
        if caller.role not in self._methods.get(method, frozenset()):
            raise Denied(f"a {caller.role} may not call {method[:200]}")
        reason = self._untimely(credential)
        if reason:
            raise Denied(reason)
        return credential

    def _credential(self, context: Context) -> _Credential:
        shown = context.auth_context().get("x509_pem_cert", ())
        if not shown:
            raise Denied("no certificate: join the fleet first (`antiphon join`)")
        pem = bytes(next(iter(shown)))
        digest = hashlib.sha256(pem).digest()
        known = self._read.get(digest)
        if known is None:
            known = self._read[digest] = _read(pem)
            if len(self._read) > _MOST_KNOWN:
                self._read.popitem(last=False)
        return known

    def _untimely(self, credential: _Credential) -> str:
        now = self._now()
        if now > credential.not_after:
            return "the certificate has run out: renew it"
        if now < credential.not_before:
            return "the certificate is not valid yet: compare the clocks of both machines"
        return ""

    async def _revoked(self, credential: _Credential) -> str:
        serial = credential.serial
        revoked = self._standing.get(serial)
        if revoked is None:
            before = self._refusals
            revoked = await asyncio.to_thread(
                self._ledger.is_revoked, serial, credential.caller.name
            )
            if before == self._refusals and len(self._standing) < _MOST_KNOWN:
                self._standing[serial] = revoked
        return f"the certificate of {credential.caller.name} is revoked" if revoked else ""

    def _refusals_changed(self) -> bool:
        version = self._ledger.data_version()
        if version == self._data_version:
            return False
        refusals = self._ledger.refusals_version()
        changed, self._refusals = refusals != self._refusals, refusals
        self._data_version = version
        return changed


async def _refuse(context: Context, method: str, end: End) -> NoReturn:
    peer = written(context.peer())
    log.warning("call refused", method=method[:200], reason=end.reason[:200], peer=peer)
    later = end.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    hint = ((RETRY_AFTER, str(_RETRY_MS)),) if later else ()
    await context.abort(end.code, end.reason, hint)
    raise AssertionError("unreachable: abort raises")


def _read(pem: bytes) -> _Credential:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        caller = caller_of(certificate)
    except (*UNREADABLE, IdentityError) as error:
        raise Denied(f"a certificate that names no client: {error}") from None
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return _Credential(caller, serial_of(certificate), start.timestamp(), end.timestamp())
