"""What gRPC knows of a connection: whether it is encrypted, and which certificate the peer showed.

`app` makes the seams of `service` of these, and the attach stream's.
"""

from __future__ import annotations

import datetime as dt

import grpc

from lateen.ca.peers import Peer, read_peer


def is_plain(context: grpc.aio.ServicerContext) -> bool:
    """Whether the connection is not encrypted. Anything that is not known to be TLS is plain."""
    return b"ssl" not in context.auth_context().get("transport_security_type", ())


def peer_of(context: grpc.aio.ServicerContext, now: dt.datetime) -> Peer | None:
    """Return who the peer is by the certificate that it showed and gRPC verified; None when it showed none that is
    valid now."""
    shown = context.auth_context().get("x509_pem_cert", ())
    return read_peer(shown[0], now) if len(shown) == 1 else None
