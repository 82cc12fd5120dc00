"""Where the gRPC server listens: the port in plain text, the one with mutual TLS, and the one to join at.

Called by `app.running` before anything is opened.
"""

from __future__ import annotations

from contextlib import ExitStack

import structlog

from lateen.app.addresses import bind, split_address, with_port
from lateen.app.settings import Settings, StartError
from lateen.discovery.ports import Port, Security
from lateen.model.loopback import is_loopback

_LOG = structlog.get_logger(__name__)

SECURE_AFTER_PLAIN = 2
"""15010 -> 15012."""
JOIN_AFTER_SECURE = 1
"""15012 -> 15013."""


def grpc_ports(settings: Settings) -> tuple[Port, Port, Port]:
    """Return the three ports: plain, mutual TLS, join. StartError names the flag of an address that will not do.

    gRPC binds with SO_REUSEPORT, so it would share a taken port in silence: each is tried here, and held until all are
    chosen, those that somebody asked for first.
    """
    host, number = split_address(settings.grpc, "--grpc")
    if not is_loopback(host):
        raise StartError(
            f"--grpc {settings.grpc}: plain text is for loopback only; --secure-grpc {with_port(host, 15012)} serves "
            "others, with mutual TLS",
            exit_code=2,
        )
    with ExitStack() as held:
        for address, flag in (
            (settings.grpc, "--grpc"), (settings.secure_grpc, "--secure-grpc"), (settings.join, "--join"),
        ):  # fmt: skip
            if address:
                held.enter_context(bind(address, flag))
        secure = settings.secure_grpc or _near(host, number, SECURE_AFTER_PLAIN, "--secure-grpc", held)
        join = settings.join or _near(*split_address(secure, "--secure-grpc"), JOIN_AFTER_SECURE, "--join", held)
    return (
        Port(address=settings.grpc),
        Port(address=secure, security=Security.MUTUAL),
        Port(address=join, security=Security.JOIN),
    )


def _near(host: str, number: int, shift: int, flag: str, held: ExitStack) -> str:
    """Return the address that much after another, or a port of the kernel's choice where that is taken."""
    wanted = with_port(host, number + shift if number else 0)
    try:
        held.enter_context(bind(wanted, flag))
    except StartError:
        # Nobody asked for this very port: agents on this machine learn which one it is, the others are told one.
        _LOG.info("port is taken, another one is used", flag=flag, wanted=wanted)
        return with_port(host, 0)
    return wanted
