"""How both sides set up their connections. The names of options are checked by tests of what they do:
gRPC ignores a name that it does not know.

A message is 4 MiB at most and never compressed: what a peer can make this process allocate is bounded
by what it sends. Who is there is a matter of leases, which are shorter; that a connection is dead is
found out by HTTP/2 pings, in a minute at most.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc

CHUNK_BYTES = 256 << 10
"""Content of one message of a transfer: large enough for speed, small enough to lose little at a cut."""

MAX_MESSAGE_BYTES = 4 << 20
MAX_METADATA_BYTES = 8 << 10

RETRY_AFTER = "antiphon-retry-after-ms"
"""Trailing metadata of a call that was refused for now: when to try again, milliseconds."""

Option = tuple[str, int | str]

SETTINGS_TIMEOUT_S = 5.0
"""Time that a server waits for its settings to be acknowledged before it closes a connection, seconds."""

_IDENTITY_ONLY = 1  # of the bit set of compression algorithms

_KEEPALIVE: Sequence[Option] = (
    # A ping after this long without a byte from the peer; above the server's least interval.
    ("grpc.keepalive_time_ms", 12_000),
    # What the peer's kernel does not acknowledge for this long ends the connection (TCP_USER_TIMEOUT).
    ("grpc.keepalive_timeout_ms", 20_000),
    # So does a ping without an answer, which on a slow line waits behind all that was sent before it.
    ("grpc.http2.ping_timeout_ms", 45_000),
    ("grpc.http2.max_pings_without_data", 0),
)

SERVER_OPTIONS: Sequence[Option] = (
    ("grpc.so_reuseport", 0),  # a second coordinator on the same port must fail, not share it
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_ONLY),
    ("grpc.max_concurrent_streams", 8),
    # What a stream may send ahead of its reader; by itself the window grows to megabytes for each client.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 2 * CHUNK_BYTES),  # one on its way while one is taken in
    ("grpc.server_handshake_timeout_ms", 8_000),
    # Until then gRPC takes blocks of headers of 16 MiB, whatever it has announced.
    ("grpc.http2.settings_timeout", int(SETTINGS_TIMEOUT_S * 1000)),
    *_KEEPALIVE,
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_connection_idle_ms", 600_000),
    ("grpc.max_connection_age_ms", 3_600_000),
    ("grpc.max_connection_age_grace_ms", 300_000),
)

CLIENT_OPTIONS: Sequence[Option] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_ONLY),
    *_KEEPALIVE,
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 10_000),
)


def coordinator_name(fleet: str) -> str:
    """Return the name that a fleet's coordinator has in its certificate, wherever it runs."""
    return f"coordinator.{fleet}"


def secure_channel(
    address: str, credentials: grpc.ChannelCredentials, fleet: str
) -> grpc.aio.Channel:
    """Open a channel to a fleet's coordinator at HOST:PORT; who answers must have its certificate."""
    named = ("grpc.ssl_target_name_override", coordinator_name(fleet))
    return grpc.aio.secure_channel(address, credentials, options=[*CLIENT_OPTIONS, named])
