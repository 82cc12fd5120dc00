"""Keys over a real network: what a server may answer, and how a change of keys reaches what proxies are served."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from flow.control_planes import control_plane
from key_pairs import key_pair
from lateen.keysets.downloads import MAX_BYTES, DownloadError, Downloads
from tokens import key_set, signing_key

OLD, NEW = key_set(signing_key("rsa")), key_set(signing_key("ec", "ES256"))


class Issuer:
    """A server on loopback that misbehaves as its path says."""

    def __init__(self) -> None:
        self.keys = OLD
        self.asked: Counter[str] = Counter()
        self.headers: dict[str, str] = {}
        self.base = ""
        self.never = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked[request.path] += 1
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        match request.path.split("/")[1:]:
            case ["keys"]:
                return web.Response(text=self.keys, headers={"set-cookie": "a=b"})
            case ["realm", *_]:
                return web.json_response({"jwks_uri": f"{self.base}/keys"})
            case ["status", status]:
                return web.Response(status=int(status), text="s3cret")
            case ["redirect", left]:
                target = f"/redirect/{int(left) - 1}" if int(left) else "/keys"
                return web.Response(status=302, headers={"location": target})
            case ["elsewhere"]:
                return web.Response(status=307, headers={"location": request.query["to"]})
            case ["large"]:
                return web.Response(body=b" " * (MAX_BYTES + 1))
            case ["endless"]:
                return await self._endless(request)
            case ["packed"]:
                return web.Response(body=gzip.compress(OLD.encode()), headers={"content-encoding": "gzip"})
            case _:
                await self.never.wait()
                return web.Response()

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b" " * 65536)
        except ConnectionError:
            return response


@asynccontextmanager
async def issuer(tls: ssl.SSLContext | None = None) -> AsyncIterator[Issuer]:
    served = Issuer()
    application = web.Application()
    application.router.add_get("/{path:.*}", served.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    served.base = f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{port}"
    try:
        yield served
    finally:
        served.never.set()
        await runner.cleanup()


async def refusal(downloads: Downloads, uri: str, seconds: float = 5) -> str:
    with pytest.raises(DownloadError) as caught:
        await downloads.get(uri, seconds)
    assert "s3cret" not in str(caught.value)
    return str(caught.value)


async def test_documents_that_are_taken() -> None:
    """Also after a few redirects; nothing is sent that could be a credential, and no cookie comes back."""
    async with issuer() as served, Downloads() as downloads:
        assert await downloads.get(f"{served.base}/keys", 5) == OLD.encode()
        assert await downloads.get(f"{served.base}/redirect/2", 5) == OLD.encode()
        assert served.headers.keys() <= {"host", "accept", "accept-encoding", "user-agent", "connection"}


async def test_documents_that_are_refused() -> None:
    """Each with the reason, and without a byte of the answer."""
    async with issuer() as served, Downloads() as downloads:
        assert await refusal(downloads, f"{served.base}/status/404") == "answered with status 404"
        assert await refusal(downloads, f"{served.base}/status/204") == "answered with status 204"
        assert "more than 3 times" in await refusal(downloads, f"{served.base}/redirect/3")
        for target, why in (
            ("https://127.0.0.1:1/keys", "from http to https"),
            ("file:///etc/passwd", "not an http"),
            ("http://issuer.example.com/keys", "plain http"),
            ("http://169.254.169.254/latest", "plain http"),
        ):
            assert why in await refusal(downloads, f"{served.base}/elsewhere?to={target}")
        assert "longer than" in await refusal(downloads, f"{served.base}/large")
        assert "longer than" in await refusal(downloads, f"{served.base}/endless")
        assert "no answer within 0.2 s" in await refusal(downloads, f"{served.base}/hang", 0.2)
        assert (await downloads.get(f"{served.base}/packed", 5))[:2] == b"\x1f\x8b"


async def test_certificates_are_checked(tmp_path: Path) -> None:
    """Against the roots, and for the host that was asked."""
    contexts = {}
    for host in ("localhost", "other.example.com"):
        certificate, key = key_pair(host)
        (tmp_path / "cert.pem").write_bytes(certificate)
        (tmp_path / "key.pem").write_bytes(key)
        contexts[host] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts[host].load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    roots = ssl.create_default_context(cadata="".join(key_pair(host)[0].decode() for host in contexts))
    async with issuer(contexts["localhost"]) as served:
        async with Downloads(tls=roots) as downloads:
            assert await downloads.get(f"{served.base}/keys", 5) == OLD.encode()
            assert "from https to http" in await refusal(
                downloads, f"{served.base}/elsewhere?to=http://127.0.0.1:1/keys"
            )
        async with Downloads() as downloads:
            assert "certificate" in await refusal(downloads, f"{served.base}/keys")
    async with issuer(contexts["other.example.com"]) as served, Downloads(tls=roots) as downloads:
        assert "certificate" in await refusal(downloads, f"{served.base}/keys")


async def test_nobody_listens() -> None:
    async with Downloads() as downloads:
        assert "refused" in await refusal(downloads, "http://127.0.0.1:1/keys")


def policy(name: str, *rules: str) -> str:
    return (
        f"{{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {{name: {name}}},"
        f" spec: {{jwtRules: [{', '.join(rules)}]}}}}"
    )


async def test_control_plane_fetches_what_policies_name(tmp_path: Path) -> None:
    """Once per source, before it is ready; what cannot be had is a finding; a policy that goes takes its keys along."""
    async with issuer() as served:
        same = f"{{issuer: a, jwksUri: '{served.base}/keys'}}"
        documents = [
            policy("one", same, same),
            policy("two", same, f"{{issuer: '{served.base}/realm'}}"),
            policy("three", f"{{issuer: b, jwksUri: '{served.base}/status/500?token=s3cret'}}"),
        ]
        (tmp_path / "policies.yaml").write_text("\n---\n".join(documents))
        async with control_plane(tmp_path) as plane:
            assert served.asked["/keys"] == 2  # by its URI, and as the discovery document of the realm says
            found = (await plane.ask("GET", "/v1/findings")).body["items"]
            (missing,) = [item for item in found if item["code"] == "LAT0020"]
            assert missing["name"] == "three"
            assert "answered with status 500" in missing["message"]
            (tmp_path / "policies.yaml").write_text(documents[0])
            await plane.until("/v1/findings", lambda body: not body["items"])
        assert served.asked["/keys"] == 2
        assert json.loads(served.keys) == json.loads(OLD)


async def test_issuer_that_hangs_holds_nothing_up_for_long(tmp_path: Path) -> None:
    """The control plane is ready after the time that the rule gives, and says what is missing."""
    async with issuer() as served:
        (tmp_path / "policy.yaml").write_text(
            policy("slow", f"{{issuer: a, timeout: 300ms, jwksUri: '{served.base}/hang'}}")
        )
        async with control_plane(tmp_path) as plane:
            found = (await plane.ask("GET", "/v1/findings")).body["items"]
            assert "no answer within 0.3 s" in found[0]["message"]


async def test_keys_outlive_a_restart(tmp_path: Path) -> None:
    """With a state folder: a control plane that comes back while the issuer is away has its keys."""
    config, state = tmp_path / "config", tmp_path / "state"
    config.mkdir()
    async with issuer() as served:
        rule = f"{{issuer: a, jwksUri: '{served.base}/keys'}}"
        (config / "policy.yaml").write_text(policy("one", rule))
        async with control_plane(config, state=state) as plane:
            await plane.until("/v1/findings", lambda _: (state / "key-sets.json").exists())
    async with control_plane(config, state=state) as plane:
        assert (await plane.ask("GET", "/v1/findings")).body["items"] == []
    (state / "key-sets.json").write_text('{"broken": "keys"}')
    async with control_plane(config, state=state) as plane:
        (found,) = (await plane.ask("GET", "/v1/findings")).body["items"]
        assert found["code"] == "LAT0020"
