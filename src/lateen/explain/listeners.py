"""Where a request enters the proxy: which listener it meets, and what it is by then.

Called by `explaining`. Three ways: the application knows its proxy (explicit mode), its connections are intercepted,
or a client outside calls a gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from lateen.envoy import names
from lateen.envoy.messages import Fields
from lateen.explain.filter_chains import BYTES, PLAINTEXT, Transport
from lateen.explain.questions import Question, QuestionError
from lateen.explain.served import Served
from lateen.model.proxies import Interception, ProxyType

UNKNOWN_ADDRESS = "203.0.113.2"
"""Of a host of which nobody knows where it is (RFC 5737: of no network)."""
_BROWSER_ALPN = ("h2", "http/1.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A request at a listener."""

    mode: str
    """`explicit`, `intercepted` or `gateway`."""
    listener: Fields | None
    """None when nothing listens there."""
    why: str
    address: str
    """Where the client connected to."""
    port: int
    transport: Transport
    headers: Mapping[str, str]
    """As they are on the wire, pseudo-headers among them."""
    notes: tuple[str, ...] = ()


def arrival(served: Served, question: Question, address: str) -> Arrival:
    """Return where the request of a question enters. `address`: what its host resolves to, if anybody knows.

    QuestionError when a gateway does not listen on the port at all.
    """
    if question.proxy.type is ProxyType.GATEWAY:
        return _at_gateway(served, question)
    if question.proxy.interception is Interception.NONE:
        return _explicit(served, question)
    return _intercepted(served, question, address or UNKNOWN_ADDRESS)


def transport_of(question: Question) -> Transport:
    """Return what the client's connection is, when nothing is between it and the listener."""
    if question.scheme == "https":
        return Transport(name="TLS", offered=_BROWSER_ALPN, server_name=_sni(question.host))
    return PLAINTEXT if question.scheme == "http" else BYTES


def _sni(host: str) -> str:
    """Return the server name that a client sends: none for an address (RFC 6066, 3)."""
    try:
        ip_address(host)
    except ValueError:
        return host
    return ""


# --- explicit ------------------------------------------------------------------------------------------------


def _explicit(served: Served, question: Question) -> Arrival:
    proxy = question.proxy
    own = names.listener(proxy.private_address, question.port)
    declared = served.listener(own)
    if declared is not None and question.host in ("localhost", names.LOOPBACK_ADDRESS, proxy.private_address):
        return Arrival(
            mode="explicit",
            listener=declared,
            why=f"the declared upstream on port {question.port}",
            address=proxy.private_address,
            port=question.port,
            transport=transport_of(question),
            headers=question.as_headers,
        )
    listener = served.listener(names.HTTP_PROXY)
    place: Mapping[str, object] = (listener or {}).get("address", {}).get("socket_address", {})
    return Arrival(
        mode="explicit",
        listener=listener,
        why="the application sends it to its HTTP proxy",
        address=str(place.get("address", "")),
        port=int(str(place.get("port_value", 0))),
        transport=PLAINTEXT,
        headers=_proxied(question),
        notes=_overruled(question),
    )


def _proxied(question: Question) -> dict[str, str]:
    """Return what an HTTP proxy is sent: the URL counts, not the Host header (RFC 9112, 3.2.2); a tunnel for bytes."""
    if question.scheme == "http":
        return {**question.as_headers, ":authority": question.url_authority, ":scheme": "http"}
    target = names.host_and_port(question.host, question.port)
    return {":method": "CONNECT", ":authority": target, ":path": "", "x-forwarded-proto": "http"}


def _overruled(question: Question) -> tuple[str, ...]:
    if question.scheme != "http" or question.authority == question.url_authority:
        return ()
    text = f"the Host header {question.authority} does not count: an HTTP proxy goes by the URL"
    return (text,)


# --- intercepted ---------------------------------------------------------------------------------------------


def _intercepted(served: Served, question: Question, address: str) -> Arrival:
    listener, why = _by_destination(served, address, question.port)
    return Arrival(
        mode="intercepted",
        listener=listener,
        why=why,
        address=address,
        port=question.port,
        transport=transport_of(question),
        headers=question.as_headers,
    )


def _by_destination(served: Served, address: str, port: int) -> tuple[Fields | None, str]:
    """Return the listener of an original destination: of the address itself, of the port, else the catch-all."""
    shown = names.host_and_port(address, port)
    exact = served.listener(names.listener(address, port))
    if exact is not None:
        return exact, f"the connection is to {shown}"
    for candidate in served.listeners(f"_{port}"):
        for extra in candidate.get("additional_addresses", ()):
            if extra.get("address", {}).get("socket_address", {}).get("address") == address:
                return candidate, f"the connection is to {shown}, another address of it"
    if address == UNKNOWN_ADDRESS:
        shown = "an address that nobody here knows"
    shared = served.listener(names.listener(names.WILDCARD_ADDRESS, port))
    if shared is not None:
        return shared, f"the connection is to port {port}; {shown} has no listener of its own"
    return served.listener(names.VIRTUAL_OUTBOUND), f"nothing in the mesh is known at {shown}"


# --- gateways ------------------------------------------------------------------------------------------------


def _at_gateway(served: Served, question: Question) -> Arrival:
    gateway = question.proxy
    listener = _gateway_listener(served, question.port)
    if listener is None:
        raise QuestionError(
            f"the gateway {gateway.id} has no listener for port {question.port}",
            "a Gateway whose selector matches its labels must have a server with that port",
            usage=False,
        )
    place = listener.get("address", {}).get("socket_address", {})
    return Arrival(
        mode="gateway",
        listener=listener,
        why=f"the client connects to port {question.port}",
        address=place.get("address", ""),
        port=int(place.get("port_value", 0)),
        transport=transport_of(question),
        headers=question.as_headers,
    )


def _gateway_listener(served: Served, port: int) -> Fields | None:
    """Return the listener of a port as the Gateway declares it, or as it is bound."""
    declared = next(served.listeners(f"_{port}"), None)
    if declared is not None:
        return declared
    bound = (found for found in served.listeners("") if _bound_port(found) == port)
    return next(bound, None)


def _bound_port(listener: Fields) -> int:
    return int(listener.get("address", {}).get("socket_address", {}).get("port_value", 0))
