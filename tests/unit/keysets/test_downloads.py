"""Where keys are fetched from, and where not: the addresses and URIs that are refused before anything is sent."""

from __future__ import annotations

import socket

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from lateen.keysets.downloads import DownloadError, Downloads, _CheckedResolver, _RefusedAddressError


class Names(AbstractResolver):
    """Every name has this address."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self.addresses
        ]

    async def close(self) -> None:
        """Nothing to close."""


FORBIDDEN = (
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
)


@pytest.mark.parametrize("address", FORBIDDEN)
async def test_forbidden_addresses_behind_a_name(address: str) -> None:
    """One such address among those of a name is enough."""
    with pytest.raises(_RefusedAddressError):
        await _CheckedResolver(Names("192.0.2.1", address)).resolve("keys.example.com", 443)


@pytest.mark.parametrize("address", FORBIDDEN)
async def test_forbidden_addresses_in_a_uri(address: str) -> None:
    host = f"[{address.replace('%', '%25')}]" if ":" in address else address
    async with Downloads(plain_hosts=[address]) as downloads:
        with pytest.raises(DownloadError):
            await downloads.get(f"https://{host}/keys", 1)


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.1.1", "192.0.2.1", "127.0.0.1", "::1", "fd00::1"])
async def test_other_addresses(address: str) -> None:
    """Issuers are often beside the mesh."""
    (found,) = await _CheckedResolver(Names(address)).resolve("keys.example.com", 443)
    assert found["host"] == address


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("http://issuer.example.com/keys", "plain http"),
        ("http://10.0.0.1/keys", "plain http"),
        ("http://localhost.example.com/keys", "plain http"),
        ("http://2130706433/keys", "plain http"),
        ("https://user:word@issuer.example.com/keys", "password"),
        ("file:///etc/passwd", "not an http"),
        ("ftp://issuer.example.com/keys", "not an http"),
        ("//issuer.example.com/keys", "not an http"),
        ("https:///keys", "not"),
        ("https://a:99999/keys", "not reachable"),
        ("", "not an http"),
    ],
)
async def test_refused_uris(uri: str, why: str) -> None:
    async with Downloads(plain_hosts=["other.example.com"]) as downloads:
        with pytest.raises(DownloadError, match=why) as caught:
            await downloads.get(uri, 1)
    assert "word" not in str(caught.value).replace("password", "")
