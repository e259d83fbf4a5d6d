"""Every bound of the northbound API, with its unit and what happens there."""

from __future__ import annotations

from typing import Final

from asa import flows

MAX_HEAD: Final = 16_384
"""Bytes of a request's line and headers; more is answered 431 and the connection closed."""

MAX_HEADERS: Final = 64
"""Headers of a request; more is answered 431."""

MAX_TARGET: Final = 4_096
"""Bytes of a path with its query; more is answered 414."""

MAX_BODY: Final = 65_536
"""Bytes of a request's body; more is answered 413 and the connection closed, the rest unread."""

WAITING: Final = 32
"""Calls that may wait for peers and for which there is no worker, waiting for one; one more is answered 503."""

PLACE_S: Final = 5.0
"""Seconds such a call waits at most, or its patience if that is less; then it is answered 503. One without patience
asks no peers and does not wait."""

PATIENCE_MS: Final = 5_000
"""Milliseconds of patience of a call that cannot say it."""

MAX_IDLE: Final = 256
"""Connections kept open between requests; beyond, a connection is closed behind its answer."""

MAX_ACCEPTED: Final = 256
"""Connections with a request that wait for a thread. At the bound the rest wait in the backlog; one that could not be
served within a second is answered 503."""

BACKLOG: Final = 1_024
"""Connections the kernel keeps before they are accepted, also while the agent replaces itself; the kernel's
``somaxconn`` may lower it."""

IDLE_S: Final = 60.0
"""Seconds a connection may stay open between requests; then it is closed. It keeps no thread."""

STAY_MS: Final = 1
"""Milliseconds a thread for which no connection waits stays with one it has answered."""

REQUEST_S: Final = 2.0
"""Seconds from when a request is awaited to its last byte; then it is answered 408. It keeps a thread so long."""

WRITE_S: Final = 5.0
"""Seconds a client may take to read an answer, or a piece of a stream; then the connection is closed."""

LINGER_S: Final = 0.5
"""Seconds a connection that was refused is still read and the bytes thrown away, so that the client sees the answer
and not a reset."""

KEEP_ALIVE_S: Final = 15.0
"""Seconds of silence on an event stream before a comment line is sent."""

WAIT_SLICE_MS: Final = 1_000
"""How long the service is let wait for events before it is looked whether the client is still there, and the server not
stopping."""

STREAM_BATCH: Final = 100
"""Events read at a time for a stream."""

MAX_INT: Final = 2**63 - 1
"""The greatest rate (bit/s), time (UNIX s) or count: what the agent's stable storage holds."""

MAX_NAME: Final = 255
"""Characters of a name or an identifier."""

MAX_TEXT: Final = 255
"""Characters of an owner or a label."""

MAX_END: Final = flows.MAX_TEXT
"""Characters of an end of a flow, a middlebox or an output."""

MAX_LABELS: Final = 16
"""Labels of one reservation."""

MAX_BOXES: Final = 16
"""Middleboxes of one reservation."""

MAX_HOLD_S: Final = 86_400
"""Seconds a reservation may be held until it is confirmed."""

MAX_PATIENCE_MS: Final = 60_000
"""Milliseconds a consumer may let peers be asked."""

MAX_WAIT_MS: Final = 30_000
"""Milliseconds ``GET /v1/events`` may wait."""

MAX_LIMIT: Final = 1_000
"""Items on one page."""

MAX_PARAMS: Final = 64
"""Parameters set in one request."""

MAX_KEY: Final = 128
"""Characters of an Idempotency-Key."""

MAX_SECRET: Final = 255
"""Characters of an Asa-Secret."""

MIN_TOKEN: Final = 16
"""Characters of a token; a shorter one could be guessed."""

RATE: Final = 1_000
"""Requests a second of one principal, and as many at once; more are answered 429. The configuration may set another."""

FAILURES: Final = 5
"""Wrong tokens a second of one address that are answered 401; more are answered 429. A right one is always taken: who
shares an address with somebody who guesses is not concerned."""

MAX_COUNTED: Final = 4_096
"""Principals whose requests are counted; the one that was silent longest is forgotten, and begins anew."""

MAX_OPEN: Final = 128
"""Connections at a time of one principal, over the Unix socket of one user who is no operator. There one more is
answered 503 and closed; over TCP it counts as a stranger's."""

MAX_OPEN_IN_ALL: Final = 256
"""Connections over TCP at a time from who is known: by a certificate, or since a right token; one more counts as a
stranger's."""

MAX_STRANGERS_OF_ONE: Final = 128
"""Connections over TCP at a time of one address from who is not known; for one more the oldest is closed."""

MAX_STRANGERS: Final = 256
"""The same of all; for one more the oldest of the address that has the most is closed."""

STRANGERS: Final = 4
"""One in so many threads of TCP is for connections of one address that have shown neither a certificate nor a right
token yet; more of them wait."""

MAX_HANDSHAKES: Final = 256
"""TLS handshakes at a time; of more the oldest is given up."""

MAX_HANDSHAKES_OF_ONE: Final = 32
"""The same of one address."""

HANDSHAKE_S: Final = 5.0
"""Seconds a TLS handshake may take; then the connection is closed. It keeps no thread."""

FIRST_S: Final = 5.0
"""Seconds from the handshake to the first byte of a request; then the connection is closed. It keeps no thread."""
