"""Where the gRPC server listens: the port in plain text, the one with mutual TLS, and the one to join at.

Called by `app.running` before anything is opened.
"""

from __future__ import annotations

import structlog

from lateen.app.addresses import free_port_checked, split_address, with_port
from lateen.app.settings import Settings, StartError
from lateen.discovery.ports import Port, Security
from lateen.model.loopback import is_loopback

_LOG = structlog.get_logger(__name__)

SECURE_AFTER_PLAIN = 2
"""15010 -> 15012."""
JOIN_AFTER_SECURE = 1
"""15012 -> 15013."""


def grpc_ports(settings: Settings) -> tuple[Port, Port, Port]:
    """Return the three ports: plain, mutual TLS, join. StartError names the flag of an address that will not do."""
    host, number = split_address(settings.grpc, "--grpc")
    if not is_loopback(host):
        raise StartError(
            f"--grpc {settings.grpc}: plain text is for loopback only; --secure-grpc {with_port(host, 15012)} serves "
            "others, with mutual TLS",
            exit_code=2,
        )
    plain = Port(address=free_port_checked(settings.grpc, "--grpc"))
    secure = _port(settings.secure_grpc, "--secure-grpc", (host, number), SECURE_AFTER_PLAIN, Security.MUTUAL)
    after = split_address(secure.address, "--secure-grpc")
    return plain, secure, _port(settings.join, "--join", after, JOIN_AFTER_SECURE, Security.JOIN)


def _port(given: str, flag: str, base: tuple[str, int], shift: int, security: Security) -> Port:
    if given:
        return Port(address=free_port_checked(given, flag), security=security)
    host, number = base
    wanted = with_port(host, number + shift if number else 0)
    try:
        return Port(address=free_port_checked(wanted, flag), security=security)
    except StartError:
        # Nobody asked for this very port: agents on this machine learn which one it is, the others are told one.
        _LOG.info("port is taken, another one is used", flag=flag, wanted=wanted)
        return Port(address=with_port(host, 0), security=security)
