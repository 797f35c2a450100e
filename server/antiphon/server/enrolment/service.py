"""The Enrolment service (enrolment.proto), on a server of its own: here a caller shows no certificate.

Every method of a gRPC server can be reached through each of its ports: nothing else is registered here. A
refused token is refused with one sentence, whatever was wrong with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc
import structlog

from antiphon.core.channel import RETRY_AFTER, SERVER_OPTIONS, Option
from antiphon.core.errors import AntiphonError
from antiphon.server.enrolment.door import TOTAL, Door
from antiphon.server.enrolment.failure_limit import FailureLimit
from antiphon.server.enrolment.ledger import ClientRefused, TokenRefused
from antiphon.server.enrolment.registrar import NotProven, Registrar
from antiphon.server.enrolment.requests import BadRequest
from antiphon.server.enrolment.server_certificate import ServerCertificate
from antiphon.server.front.behind import behind_front
from antiphon.server.front.peers import written
from antiphon.v1 import enrolment_pb2, enrolment_pb2_grpc

_MAX_MESSAGE_BYTES = 64 << 10
_GRACE_S = 1.0
_REFUSED: dict[type[AntiphonError], tuple[grpc.StatusCode, str]] = {
    TokenRefused: (
        grpc.StatusCode.UNAUTHENTICATED,
        "the join token is wrong, used up or expired: ask for a new one (`antiphon token create`)",
    ),
    NotProven: (
        grpc.StatusCode.UNAUTHENTICATED,
        "the certificate cannot be renewed: join again with a token",
    ),
    BadRequest: (grpc.StatusCode.INVALID_ARGUMENT, ""),
    ClientRefused: (grpc.StatusCode.PERMISSION_DENIED, ""),
}

log = structlog.get_logger()

CallContext = grpc.aio.ServicerContext[Any, Any]


class EnrolmentService(enrolment_pb2_grpc.EnrolmentServicer):
    """Answers machines that join, and clients whose certificate has run out."""

    def __init__(self, registrar: Registrar, limit: FailureLimit) -> None:
        """limit: how often one address may fail."""
        self._registrar, self._limit = registrar, limit

    async def Enrol(
        self, request: enrolment_pb2.EnrolRequest, context: CallContext
    ) -> enrolment_pb2.Certificate:
        """See enrolment.proto."""
        return await self._answered(
            context,
            "client enrolled",
            lambda: self._registrar.enrol(request.token, request.certificate_request),
        )

    async def Challenge(
        self, request: enrolment_pb2.ChallengeRequest, context: CallContext
    ) -> enrolment_pb2.ChallengeResponse:
        """See enrolment.proto."""
        return enrolment_pb2.ChallengeResponse(nonce=self._registrar.nonces.give())

    async def RenewExpired(
        self, request: enrolment_pb2.RenewExpiredRequest, context: CallContext
    ) -> enrolment_pb2.Certificate:
        """See enrolment.proto."""
        return await self._answered(
            context,
            "expired certificate renewed",
            lambda: self._registrar.renew_expired(
                request.certificate,
                request.certificate_request,
                request.nonce,
                request.signature,
            ),
        )

    async def _answered(
        self, context: CallContext, done: str, work: Callable[[], enrolment_pb2.Certificate]
    ) -> enrolment_pb2.Certificate:
        peer = context.peer()
        wait_s = self._limit.wait_s(peer)
        if wait_s > 0:
            context.set_trailing_metadata(((RETRY_AFTER, str(int(wait_s * 1000) + 1)),))
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "too many failures: try again later"
            )
        try:
            answer = await asyncio.to_thread(work)
        except tuple(_REFUSED) as error:
            self._limit.failed(peer)
            log.warning("enrolment refused", peer=written(peer), reason=str(error)[:200])
            await _abort(context, error)
        log.info(done, client=answer.client, peer=written(peer))
        return answer


@asynccontextmanager
async def serve_enrolment(
    address: str,
    service: EnrolmentService,
    certificate: ServerCertificate,
    options: Sequence[Option] = SERVER_OPTIONS,
    door: Door | None = None,
) -> AsyncIterator[int]:
    """Serve at HOST:PORT (port 0: any) until the block ends; gives the port.

    door: counts calls, and is watched by the caller; none: one that nobody watches.
    Raises UserError where the address cannot be listened on.
    """
    kept = [each for each in options if each[0] != "grpc.max_receive_message_length"]
    small = ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES)
    door = door or Door(time.monotonic)
    server = grpc.aio.server(
        options=[*kept, small],
        interceptors=[door],
        # The door says who goes: gRPC would turn away whoever is last.
        maximum_concurrent_rpcs=4 * TOTAL,
    )
    enrolment_pb2_grpc.add_EnrolmentServicer_to_server(service, server)
    credentials = certificate.credentials(clients=False)
    async with behind_front(server, address, credentials, door.lines, grace_s=_GRACE_S) as port:
        yield port


async def _abort(context: CallContext, error: AntiphonError) -> NoReturn:
    code, words = _REFUSED[type(error)]
    await context.abort(code, words or str(error))
    raise AssertionError("abort has raised")
