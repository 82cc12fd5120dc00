"""Talking to the demo's control plane over its HTTP API, as `lateen apply` does: with the token of its own user."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec

from lateen.api.schemas import ApplyAnswer, ApplyFiles, ErrorAnswer, SourceFile, WorkloadList
from lateen.cli.client import FILES_TYPE
from lateen.cli.credentials import local_token
from lateen.cli.demo.exchange import ExchangeError, Response, exchange

DEFAULT_URL = "http://127.0.0.1:15080"
WAIT_SECONDS = 30.0
"""Longest wait for every proxy to acknowledge what was applied."""


class ApplyError(Exception):
    """The control plane refused the files, or a proxy rejected what was made of them."""


@dataclass(slots=True)
class ControlPlane:
    """A client of one control plane."""

    url: str
    _token: str = field(default="", repr=False, init=False)
    """Read from the file that the first 401 names."""

    @property
    def is_default(self) -> bool:
        """Whether `lateen apply` finds it without `--server`."""
        return self.url == DEFAULT_URL

    async def ready(self) -> None:
        """Return as soon as the control plane serves proxies; the caller limits the time."""
        while True:
            try:
                if (await exchange("GET", f"{self.url}/readyz")).status == 200:
                    return
            except ExchangeError:
                pass
            await asyncio.sleep(0.03)

    async def workloads_ready(self, number: int) -> None:
        """Return as soon as so many workloads of services take requests; the caller limits the time.

        A program that announced its addresses has a proxy; that its application listens too is known a moment later.
        """
        while True:
            listed = msgspec.json.decode((await self._ask("GET", "/v1/workloads")).body, type=WorkloadList)
            if sum(bool(one.service) and one.ready for one in listed.items) >= number:
                return
            await asyncio.sleep(0.05)

    async def apply(self, files: Mapping[str, str], *, wait: bool = True) -> int:
        """Apply files, name to content, and return how many proxies have acknowledged them (0 without `wait`).

        Raises ApplyError when the files are refused, a proxy rejects them, or one has not answered in time.
        """
        query = f"?wait={WAIT_SECONDS}" if wait else ""
        body = ApplyFiles(files=[SourceFile(name=name, content=content) for name, content in files.items()])
        try:
            response = await self._ask(
                "POST",
                f"/v1/config{query}",
                headers={"content-type": FILES_TYPE},
                body=msgspec.json.encode(body),
                seconds=WAIT_SECONDS + 5,
            )
        except ExchangeError as error:
            raise ApplyError(str(error)) from error
        if response.status != 200:
            raise ApplyError(refusal(msgspec.json.decode(response.body, type=ErrorAnswer)))
        answer = msgspec.json.decode(response.body, type=ApplyAnswer)
        if problems := rejections(answer):
            raise ApplyError("\n".join(problems))
        if wait and not answer.synced:
            raise ApplyError(f"not every proxy has acknowledged {', '.join(files)} after {WAIT_SECONDS:.0f} s")
        return len(answer.proxies)

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        seconds: float = 15.0,
    ) -> Response:
        """Send a request with the token that the control plane's own user has. Raises ExchangeError, Failure."""
        if not self._token:
            told = await exchange("GET", f"{self.url}/v1/version")
            if told.status == 401 and (file := told.headers.get("lateen-token-file")):
                parts = urlsplit(self.url)
                self._token = local_token(file, parts.hostname or "", parts.port or 80)
        proof = {"authorization": f"Bearer {self._token}"} if self._token else {}
        return await exchange(
            method, f"{self.url}{path}", headers={**(headers or {}), **proof}, body=body, seconds=seconds
        )


def refusal(answer: ErrorAnswer) -> str:
    """Return the API's error and its findings as lines."""
    lines = [answer.error.message]
    lines += [f"{one.file}:{one.line}: {one.path}: {one.message}" for one in answer.findings]
    return "\n".join(lines)


def rejections(answer: ApplyAnswer) -> list[str]:
    """Return one line for each proxy and type that Envoy rejected."""
    return [
        f"{proxy.id} rejected its {kind}: {status.rejection}"
        for proxy in answer.proxies
        for kind, status in proxy.types.items()
        if status.state == "rejected"
    ]
