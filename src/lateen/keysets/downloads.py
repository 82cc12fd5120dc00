"""Download a document from a URI that somebody else wrote: bounded, and not from everywhere.

Called by `keysets.fetcher`. Who may write a RequestAuthentication, in any namespace, makes the control plane send a
request wherever the URI points: from inside its network, past firewalls that keep the writer out (server-side request
forgery). What is done about that:

- It is a GET without credentials, cookies, proxies of the environment or a referrer, and nothing that the writer
  chooses is in it but the URI.
- https, with the certificate checked against the system's roots. Plain http would let anybody on the way replace the
  keys and so sign tokens; it is taken from loopback, and from hosts that the operator names. Istio takes it from all.
- Of what comes back the writer sees no byte: what is not a key set is dropped, of a key set its public members stay
  (`config.key_sets`), and messages name the kind of failure only.
- Addresses that are nobody's service (link-local, where clouds keep credentials of machines; multicast; unspecified)
  are refused after the name was resolved, for each connection, so that a name which changes its address gains nothing.
  Private addresses are not: the issuer is often a service beside the mesh. So the writer can find out, from the failure
  and from the time it takes, whether a host of the network answers. Where that matters, egress of the control plane is
  what to limit.
- At most three redirects, each checked like the first URI, never from https to http or the other way.
- One time limit for everything, at most 1 MiB, and no decompression.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult

from lateen.model.loopback import is_loopback

MAX_BYTES = 1 << 20
MAX_REDIRECTS = 3
MAX_CONNECTIONS = 16
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "lateen"}
_MACHINE_METADATA = ipaddress.ip_address("fd00:ec2::254")
"""Where a cloud serves its link-local address over IPv6; unlike that, it is not link-local itself."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv4 addresses in another dress (RFC 6052)."""


class DownloadError(Exception):
    """The document could not be had; the message says why and holds nothing of the answer."""


class Downloads:
    """Downloads over one pool of connections, for as long as its context is open."""

    def __init__(self, *, plain_hosts: Iterable[str] = (), tls: ssl.SSLContext | None = None) -> None:
        """`plain_hosts`: hosts besides loopback that may answer over http. `tls`: instead of the system's roots."""
        self._plain_hosts = frozenset(host.lower() for host in plain_hosts)
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            resolver=_CheckedResolver(aiohttp.ThreadedResolver()),
            ssl=self._tls if self._tls is not None else True,
            limit=MAX_CONNECTIONS,
            force_close=True,
            use_dns_cache=False,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, uri: str, seconds: float) -> bytes:
        """Return the document at a URI, fetched within so many seconds. Raises DownloadError."""
        try:
            async with asyncio.timeout(seconds):
                return await self._follow(uri)
        except TimeoutError:
            raise DownloadError(f"no answer within {seconds:g} s") from None
        except _RefusedAddressError as error:
            raise DownloadError(str(error)) from None
        except aiohttp.ClientError as error:
            raise DownloadError(_said(error)) from None
        except (OSError, ValueError) as error:
            raise DownloadError(f"not reachable ({type(error).__name__})") from None

    async def _follow(self, uri: str) -> bytes:
        at = yarl.URL(uri)
        scheme = at.scheme
        for _ in range(MAX_REDIRECTS + 1):
            self._check(at)
            if at.scheme != scheme:
                raise DownloadError(f"redirected from {scheme} to {at.scheme}")
            found = await self._request(at)
            if isinstance(found, bytes):
                return found
            at = at.join(yarl.URL(found))
        raise DownloadError(f"redirected more than {MAX_REDIRECTS} times")

    async def _request(self, uri: yarl.URL) -> bytes | str:
        """Return the document, or where a redirect leads."""
        assert self._session is not None, "the context is not open"
        async with self._session.get(uri, allow_redirects=False) as response:
            if response.status in _REDIRECTS and "Location" in response.headers:
                return response.headers["Location"]
            if response.status != 200:
                raise DownloadError(f"answered with status {response.status}")
            read = bytearray()
            async for chunk in response.content.iter_chunked(1 << 16):
                read += chunk
                if len(read) > MAX_BYTES:
                    raise DownloadError(f"the answer is longer than {MAX_BYTES} bytes")
            return bytes(read)

    def _check(self, uri: yarl.URL) -> None:
        host = (uri.host or "").lower()
        if uri.scheme not in ("http", "https") or not host:
            raise DownloadError("not an http or https URI")
        if uri.user or uri.password:
            raise DownloadError("a URI of keys must not hold a password")
        if uri.scheme == "http" and not is_loopback(host) and host not in self._plain_hosts:
            raise DownloadError("plain http is taken from loopback only, or from hosts that the control plane is told")
        if _address(host) is not None:  # a name is checked when it is resolved
            _refuse(host)


class _RefusedAddressError(Exception):
    """The address is not one to connect to."""


class _CheckedResolver(AbstractResolver):
    """Resolves names, but to no address that must not be connected to."""

    def __init__(self, inner: AbstractResolver) -> None:
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for result in found:
            _refuse(result["host"])
        return found

    async def close(self) -> None:
        await self._inner.close()


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return found.ipv4_mapped
        if found in _NAT64:
            return ipaddress.IPv4Address(found.packed[-4:])
    return found


def _refuse(host: str) -> None:
    address = _address(host)
    if (
        address is None
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address == _MACHINE_METADATA
    ):
        raise _RefusedAddressError("its address is not one that keys are fetched from (link-local or multicast)")


def _said(error: aiohttp.ClientError) -> str:
    """Return what a failed request comes to, without what the other side wrote."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not valid for the host, or not signed by a root that the system trusts"
    if isinstance(error, aiohttp.ClientSSLError):
        return "TLS failed"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host name cannot be resolved"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "the connection was refused or not possible"
    return f"the answer broke off or was not HTTP ({type(error).__name__})"
