"""Certificates: joining, renewing and trusting, against a real TLS server; then a whole agent process."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from agent_logs import capture_logs
from flow.fake_authority import SERVER, FakeAuthority
from flow.fake_control_plane import FakeControlPlane, FakeSecurity, running, running_securely
from lateen.agent.attach import Attachment, AttachTimes
from lateen.agent.certificates import Certificates, CertificateTimes
from lateen.agent.errors import StartError
from lateen.agent.join_tokens import MAX_TOKEN_BYTES
from lateen.agent.joining import Wish
from lateen.agent.locating import Plaintext
from lateen.agent.secure_connection import client_context
from lateen.model.workloads import WorkloadRegistration

QUICK = CertificateTimes(
    connect=20, answer=20, first_pause=0.02, longest_first_pause=0.05, pause=0.02, longest_pause=0.1, spread=0.01
)
ATTACH = AttachTimes(connect=20, ping=60, first_pause=0.02, longest_pause=0.1)
WORKLOAD = WorkloadRegistration(service="reviews", version="v2", namespace="shop", address="127.64.0.1")
NAME = "spiffe://cluster.local/ns/shop/sa/reviews"
LIFE = 8.0
"""Seconds of a certificate that is renewed: at half of them, and a new key takes a busy machine its time."""


@pytest.fixture(autouse=True)
def _private() -> Iterator[None]:
    """A control plane's token file is its user's alone."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def wish(**given: str) -> Wish:
    return Wish(namespace="shop", service_account="reviews", **given)


def written(folder: Path, name: str) -> dict[str, Any]:
    """The secret in one of the files for Envoy."""
    (secret,) = json.loads((folder / "certificates" / name).read_text())["resources"]
    assert isinstance(secret, dict)
    return secret


def certificate(folder: Path) -> x509.Certificate:
    chain = written(folder, "default.json")["tls_certificate"]["certificate_chain"]["inline_bytes"]
    return x509.load_pem_x509_certificate(base64.b64decode(chain))


def roots(folder: Path) -> str:
    return base64.b64decode(written(folder, "ROOTCA.json")["validation_context"]["trusted_ca"]["inline_bytes"]).decode()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    return tmp_path / "join-token"


@asynccontextmanager
async def joined(tmp_path: Path, security: FakeSecurity, port: int, **given: str) -> AsyncIterator[Certificates]:
    """Certificates that are there and kept."""
    folder = tmp_path / "agent"
    folder.mkdir(exist_ok=True)
    certificates = Certificates(f"127.0.0.1:{port}", wish(**given), folder, times=QUICK)
    async with asyncio.TaskGroup() as group, asyncio.timeout(90):
        assert await certificates.first() is None
        keeping = group.create_task(certificates.run())
        yield certificates
        keeping.cancel()


def announcing(token_file: Path, **extra: Any) -> FakeSecurity:
    """A control plane that tells agents of its own user where a token is."""
    security = FakeSecurity(token_file=str(token_file), **extra)
    token_file.write_text(security.authority.token() + "\n")
    return security


async def test_workload_beside_the_control_plane_needs_no_token(tmp_path: Path, token_file: Path) -> None:
    security = announcing(token_file)
    async with running_securely(FakeControlPlane(), security) as port, joined(tmp_path, security, port) as kept:
        assert security.asked == [(token_file.read_text().strip(), "", NAME)]
        folder = tmp_path / "agent"
        names = certificate(folder).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.UniformResourceIdentifier) == [NAME]
        assert roots(folder) == security.authority.root_pem
        assert (kept.address, kept.server) == (("127.0.0.1", security.secure), SERVER)
        assert kept.expires == pytest.approx(time.time() + 3600, abs=60)
        assert kept.renewals == 0


async def test_files_with_the_key_are_their_owners_alone(tmp_path: Path, token_file: Path) -> None:
    security = announcing(token_file)
    async with running_securely(FakeControlPlane(), security) as port, joined(tmp_path, security, port):
        files = [path for path in (tmp_path / "agent").rglob("*") if path.is_file()]
        assert sorted(path.name for path in files) == ["ROOTCA.json", "default.json", "pair.pem"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_agent_never_loads_what_makes_keys() -> None:
    """It is in the child process for a moment, not in each of a host's agents for ever."""
    script = (
        "import sys, lateen.agent.lifecycle; print([m for m in sys.modules if m.startswith(('cryptography', 'grpc'))])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


async def test_given_token_wins_over_the_announced_one(tmp_path: Path, token_file: Path) -> None:
    security = announcing(token_file)
    given = tmp_path / "given"
    given.write_text(security.authority.token(sub="shop/reviews"))
    async with (
        running_securely(FakeControlPlane(), security) as port,
        joined(tmp_path, security, port, token_file=str(given)),
    ):
        assert security.asked[0][0] == given.read_text()


async def test_secure_address_is_recognised_and_the_token_knows_the_join_port(tmp_path: Path, token_file: Path) -> None:
    security = FakeSecurity()
    async with running_securely(FakeControlPlane(), security):
        token_file.write_text(security.authority.token(join=security.join))
        async with joined(tmp_path, security, security.secure, token_file=str(token_file)) as kept:
            assert kept.address == ("127.0.0.1", security.secure)


async def test_control_plane_without_certificates_is_used_without_them(tmp_path: Path) -> None:
    async with running(FakeControlPlane()) as port:
        certificates = Certificates(f"127.0.0.1:{port}", wish(), tmp_path, times=QUICK)
        assert await certificates.first() == Plaintext(("127.0.0.1", port))
        assert list(tmp_path.iterdir()) == []


async def test_another_user_who_takes_the_port_does_not_become_the_control_plane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He would only have to say that he gives no certificates, and could then write our Envoy's configuration."""
    monkeypatch.setattr("lateen.agent.certificates.listening_users", lambda host, port: {os.geteuid() + 1})
    async with running(FakeControlPlane()) as port:
        said = await failing(tmp_path, port)
    assert "another user of this machine listens" in said["event"]


async def test_another_user_who_takes_the_port_gets_no_token_that_knows_no_roots(
    tmp_path: Path, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The roots would be those that he names."""
    monkeypatch.setattr("lateen.agent.certificates.listening_users", lambda host, port: {os.geteuid() + 1})
    security = announcing(token_file)
    given = tmp_path / "given"
    given.write_text(security.authority.token(roots=[]))
    async with running_securely(FakeControlPlane(), security) as port:
        said = await failing(tmp_path, port, token_file=str(given))
    assert "another user of this machine listens" in said["event"]
    assert security.asked == []


async def test_join_token_goes_to_nobody_in_plaintext(tmp_path: Path, token_file: Path) -> None:
    """Whoever took the control plane's port would only have to say that it gives no certificates."""
    token_file.write_text(FakeAuthority().token())
    plane = FakeControlPlane()
    async with running(plane) as port:
        said = await failing(tmp_path, port, token_file=str(token_file))
        assert "gives no certificates, and --token or --ca-file ask for one" in said["event"]
        token_file.write_text("of another control plane")
        certificates = Certificates(f"127.0.0.1:{port}", wish(token_file=str(token_file)), tmp_path, times=QUICK)
        assert isinstance(await certificates.first(), Plaintext)


async def test_what_is_waited_for_is_told(tmp_path: Path, token_file: Path) -> None:
    security = FakeSecurity(token_file=str(token_file))
    told: list[str] = []
    async with running_securely(FakeControlPlane(), security) as port:
        pass
    certificates = Certificates(f"127.0.0.1:{port}", wish(), tmp_path, times=QUICK)
    async with asyncio.TaskGroup() as group, asyncio.timeout(60):
        first = group.create_task(certificates.first(told.append))
        await until(lambda: "the control plane" in told)
        async with running_securely(FakeControlPlane(), security, port):
            await until(lambda: "a certificate" in told)
            token_file.write_text(security.authority.token())
            assert await first is None


async def test_another_machines_control_plane_asks_for_a_token_at_once(tmp_path: Path) -> None:
    """Nothing that the network does could replace it, so nothing is waited for."""
    certificates = Certificates("mesh.example.com:15012", wish(), tmp_path, times=QUICK)
    with pytest.raises(StartError, match="lateen token create --service-account shop/reviews > FILE"):
        await certificates.first()


async def test_control_plane_that_comes_late_is_waited_for(tmp_path: Path, token_file: Path) -> None:
    security = announcing(token_file)
    async with running_securely(FakeControlPlane(), security) as port:
        pass
    certificates = Certificates(f"127.0.0.1:{port}", wish(), tmp_path, times=QUICK)
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as group, asyncio.timeout(60):
            first = group.create_task(certificates.first())
            await until(lambda: logs)
            async with running_securely(FakeControlPlane(), security, port):
                assert await first is None
    assert [entry["event"] for entry in logs] == [
        "cannot reach the control plane: Connection refused",
        "has a certificate",
    ]
    assert "lateen serve" in logs[0]["todo"]


async def failing(tmp_path: Path, port: int, **given: str) -> dict[str, Any]:
    """Try to join; return the one log line that says why it does not come about."""
    certificates = Certificates(f"127.0.0.1:{port}", wish(**given), tmp_path, times=QUICK)
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as group, asyncio.timeout(60):
            first = group.create_task(certificates.first())
            await until(lambda: logs)
            await asyncio.sleep(0.1)
            first.cancel()
    assert len(logs) == 1, logs
    assert not list(tmp_path.rglob("*.json"))
    return dict(logs[0])


async def test_wrong_server_gets_no_token(tmp_path: Path, token_file: Path) -> None:
    """Another workload's certificate is of the same root, and does not make a control plane."""
    security = announcing(token_file, server="spiffe://cluster.local/ns/shop/sa/evil")
    async with running_securely(FakeControlPlane(), security) as port:
        said = await failing(tmp_path, port)
    assert "its certificate is of spiffe://cluster.local/ns/shop/sa/evil, not of " + SERVER in said["event"]
    assert security.asked == []


async def test_announced_token_goes_only_to_whom_the_token_trusts(tmp_path: Path, token_file: Path) -> None:
    """Whoever sits on the port may name the file and roots of his own: the roots in the token count."""
    token_file.write_text(FakeAuthority(name="real").token())
    security = FakeSecurity(token_file=str(token_file))
    async with running_securely(FakeControlPlane(), security) as port:
        said = await failing(tmp_path, port)
    assert "is not the control plane that this workload trusts" in said["event"]
    assert "lateen token create" in said["todo"]
    assert security.asked == []


async def test_announced_token_without_roots_is_not_sent(tmp_path: Path, token_file: Path) -> None:
    security = announcing(token_file)
    token_file.write_text(security.authority.token(roots=None))
    async with running_securely(FakeControlPlane(), security) as port:
        said = await failing(tmp_path, port)
    assert "nothing says which control plane to trust" in said["event"]
    assert security.asked == []


async def test_roots_of_the_ca_file_win(tmp_path: Path, token_file: Path) -> None:
    security = announcing(token_file)
    token_file.write_text(FakeAuthority(name="other").token())
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text(security.authority.root_pem)
    async with (
        running_securely(FakeControlPlane(), security) as port,
        joined(tmp_path, security, port, ca_file=str(ca_file)),
    ):
        assert len(security.asked) == 1


async def test_expired_token_is_said_with_what_to_do(tmp_path: Path, token_file: Path) -> None:
    security = announcing(token_file)
    token_file.write_text(security.authority.token(exp=1700000000))
    async with running_securely(FakeControlPlane(), security) as port:
        said = await failing(tmp_path, port)
    assert said["event"] == f"the token in {token_file} expired at 2023-11-14 22:13:20 UTC"
    assert "lateen token create --service-account shop/reviews > FILE" in said["todo"]
    assert security.asked == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the token file {}: No such file or directory"),
        ("not a token", "the token file {} holds no token"),
        ("a.b.c", "the token in {} cannot be read"),
        ("x" * (MAX_TOKEN_BYTES + 1), "the token file {} is larger than 16384 bytes, so it holds no token"),
    ],
)
async def test_unreadable_token_is_named(tmp_path: Path, token_file: Path, content: str | None, message: str) -> None:
    if content is not None:
        token_file.write_text(content)
    security = FakeSecurity(token_file=str(token_file))
    async with running_securely(FakeControlPlane(), security) as port:
        said = await failing(tmp_path, port)
    assert said["event"] == message.format(token_file)
    assert security.asked == []


async def test_announced_file_of_another_name_is_not_read(tmp_path: Path) -> None:
    """What the loopback announces is no reason to read, and send, any file of ours."""
    security = FakeSecurity()
    for name in ("id_token", "join-token.bak"):
        other = tmp_path / name
        other.write_text(security.authority.token())
        security.token_file = str(other)
        async with running_securely(FakeControlPlane(), security) as port:
            assert "which is no join-token" in (await failing(tmp_path, port))["event"]
    assert security.asked == []


async def test_announced_file_that_is_a_link_is_not_read(tmp_path: Path, token_file: Path) -> None:
    security = FakeSecurity(token_file=str(token_file))
    (tmp_path / "other").write_text(security.authority.token())
    token_file.symlink_to(tmp_path / "other")
    async with running_securely(FakeControlPlane(), security) as port:
        assert "cannot read the token file" in (await failing(tmp_path, port))["event"]
    assert security.asked == []


@pytest.mark.parametrize(("mode", "owner"), [(0o644, -1), (0o660, -1), (0o600, 12345)])
async def test_announced_file_that_others_could_write_or_read_is_not_believed(
    tmp_path: Path, token_file: Path, mode: int, owner: int
) -> None:
    """Another user's token would name another user's roots: his control plane would be ours."""
    if owner > 0 and os.geteuid() != 0:
        pytest.skip("only root gives files away")
    security = announcing(token_file)
    token_file.chmod(mode)
    os.chown(token_file, owner, -1)
    async with running_securely(FakeControlPlane(), security) as port:
        said = await failing(tmp_path, port)
    assert said["event"].endswith("belongs to another user" if owner > 0 else "is open to other users")
    assert security.asked == []


@pytest.mark.parametrize(
    ("code", "todo"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "it does not take the token in"),
        (grpc.StatusCode.PERMISSION_DENIED, "lateen token create --service-account shop/reviews > FILE"),
        (grpc.StatusCode.UNAVAILABLE, "trying again"),
    ],
)
async def test_refusal_is_the_control_planes_words_and_what_to_do(
    tmp_path: Path, token_file: Path, code: grpc.StatusCode, todo: str
) -> None:
    security = announcing(token_file, refuse=(code, "this token was used already"))
    async with running_securely(FakeControlPlane(), security) as port:
        said = await failing(tmp_path, port)
    assert said["event"] == "the control plane gives no certificate: this token was used already"
    assert todo in said["todo"]
    assert token_file.read_text().strip() not in str(said)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "a chain of 0 certificates"),
        (b"\x0a\x05hello", "no certificate"),
        (b"\xff" * 20, "no protobuf message"),
        (b"\x0a\x90\x4e" + b"x" * 10000, "no certificate"),
        (b"x" * 300_000, "a message of 300000 bytes"),
    ],
)
async def test_answer_that_is_none_changes_nothing(
    tmp_path: Path, token_file: Path, answer: bytes, message: str
) -> None:
    security = announcing(token_file, answer=answer)
    async with running_securely(FakeControlPlane(), security) as port:
        assert message in (await failing(tmp_path, port))["event"]


@pytest.mark.parametrize("said", [{"secure": "nowhere"}, {"roots": "x" * 300_000}, {"roots": 1}, {"trust_domain": "/"}])
async def test_location_that_is_none_is_not_followed(tmp_path: Path, token_file: Path, said: dict[str, Any]) -> None:
    security = announcing(token_file, located=said)
    async with running_securely(FakeControlPlane(), security) as port:
        assert "where it is" in (await failing(tmp_path, port))["event"]
    assert security.asked == []


async def test_certificate_is_renewed_by_itself_with_a_new_key(tmp_path: Path, token_file: Path) -> None:
    """At half of its life, over mTLS and without the token."""
    security = announcing(token_file, seconds=LIFE)
    async with running_securely(FakeControlPlane(), security) as port, joined(tmp_path, security, port) as kept:
        before, expired = certificate(tmp_path / "agent"), kept.expires
        token_file.unlink()
        await until(lambda: kept.renewals)
        after = certificate(tmp_path / "agent")
        assert security.asked[1] == ("", NAME, NAME)
        assert before.public_key() != after.public_key()
        assert kept.expires > expired


async def test_expired_certificate_is_replaced_by_the_token(tmp_path: Path, token_file: Path) -> None:
    """What kept it from being renewed is said, with the end of the certificate."""
    security = announcing(token_file, seconds=LIFE)
    async with running_securely(FakeControlPlane(), security) as port, joined(tmp_path, security, port) as kept:
        with capture_logs() as logs:
            security.refuse = (grpc.StatusCode.UNAVAILABLE, "later")
            await until(lambda: time.time() > kept.expires)
            # One that was under way then may still show the certificate.
            await until(lambda: security.asked[-1][0] and len(security.asked) > 1)
            assert kept.renewals == 0
            security.refuse = None
            await until(lambda: kept.renewals == 1)
    assert security.asked[1][1:] == (NAME, NAME)
    assert security.asked[-1] == (token_file.read_text().strip(), "", NAME)
    assert logs[0]["event"] == "the control plane gives no certificate: later"
    assert logs[0]["expires"]


async def test_refused_renewal_is_made_by_the_token(tmp_path: Path, token_file: Path) -> None:
    security = announcing(token_file, seconds=3600)
    async with running_securely(FakeControlPlane(), security) as port, joined(tmp_path, security, port) as kept:
        security.refuse = (grpc.StatusCode.PERMISSION_DENIED, "no")
        kept.trust((security.authority.root_pem,), issuer="another")
        await until(lambda: len(security.asked) >= 3)
        security.refuse = None
        await until(lambda: kept.renewals == 1)
    assert [token != "" for token, _, _ in security.asked[:3]] == [True, False, True]


async def test_certificate_that_is_not_taken_is_replaced_by_the_token(tmp_path: Path, token_file: Path) -> None:
    """A control plane that was set up anew knows nobody; its new token opens it again."""
    before = announcing(token_file)
    async with contextlib.AsyncExitStack() as stack:
        async with running_securely(FakeControlPlane(), before) as port:
            kept = await stack.enter_async_context(joined(tmp_path, before, port))
            attachment = Attachment(f"127.0.0.1:{port}", WORKLOAD, times=ATTACH)
            attachment.secure(kept)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            attaching = group.create_task(attachment.run())
            await attachment.named()
        after = announcing(token_file)
        plane = FakeControlPlane()
        after.secure, after.join = before.secure, before.join
        async with running_securely(plane, after, port):
            await plane.until(lambda: plane.peers)
            assert after.asked == [(token_file.read_text().strip(), "", NAME)]
            assert roots(tmp_path / "agent") == after.authority.root_pem
            attaching.cancel()


async def test_attached_workload_shows_its_certificate_and_no_token(tmp_path: Path, token_file: Path) -> None:
    security, plane = announcing(token_file), FakeControlPlane()
    async with attached(tmp_path, security, plane) as (_, attachment):
        assert attachment.control_plane == ("127.0.0.1", security.secure)
        assert (plane.peers, plane.tokens) == ([NAME], [""])


@asynccontextmanager
async def attached(
    tmp_path: Path, security: FakeSecurity, plane: FakeControlPlane
) -> AsyncIterator[tuple[Certificates, Attachment]]:
    async with running_securely(plane, security) as port, joined(tmp_path, security, port) as kept:
        attachment = Attachment(f"127.0.0.1:{port}", WORKLOAD, times=ATTACH)
        attachment.secure(kept)
        async with asyncio.TaskGroup() as group:
            attaching = group.create_task(attachment.run())
            await attachment.named()
            yield kept, attachment
            attaching.cancel()


async def test_other_roots_are_trusted_and_confirmed(tmp_path: Path, token_file: Path) -> None:
    security, plane = announcing(token_file), FakeControlPlane(registered_more={"takes": ["trusts"]})
    both = [security.authority.root_pem, FakeAuthority(name="next").root_pem]
    async with attached(tmp_path, security, plane) as (kept, _):
        await plane.say_trust({"roots": both, "renew": False})
        await plane.until(lambda: len(plane.said) == 2)
        digest = blake2b("\n".join(both).encode(), digest_size=16).hexdigest()
        assert plane.said[1] == ("reviews-v2-1", {"trusts": digest})
        assert roots(tmp_path / "agent") == "".join(both)
        assert (kept.renewals, len(security.asked)) == (0, 1)
        await plane.break_streams()
        await plane.until(lambda: len(plane.peers) == 2)


async def test_renewal_is_made_when_the_control_plane_wants_it(tmp_path: Path, token_file: Path) -> None:
    security, plane = announcing(token_file), FakeControlPlane()
    async with attached(tmp_path, security, plane) as (kept, _):
        await plane.say_trust({"roots": [security.authority.root_pem], "issuer": "another"})
        await until(lambda: kept.renewals == 1)
        # An older control plane would not understand it.
        assert not any("trusts" in message for _, message in plane.said)


async def test_answer_that_is_older_than_what_was_confirmed_does_not_undo_it(tmp_path: Path, token_file: Path) -> None:
    """The control plane acts on what was confirmed: to forget a root again would cut the workload off."""
    security = announcing(token_file)
    other = FakeAuthority(name="other").root_pem
    security.hold_after = 1
    async with running_securely(FakeControlPlane(), security) as port, joined(tmp_path, security, port) as kept:
        kept.trust((security.authority.root_pem,), issuer="another")
        await until(lambda: len(security.asked) == 2 and security.held)
        kept.trust((security.authority.root_pem, other), issuer="")
        security.hold.set()
        await until(lambda: kept.renewals == 1)
    assert roots(tmp_path / "agent") == security.authority.root_pem + other


async def test_full_disk_is_said_and_tried_again(tmp_path: Path, token_file: Path) -> None:
    security = announcing(token_file)
    async with running_securely(FakeControlPlane(), security) as port, joined(tmp_path, security, port) as kept:
        # A folder in the way, as a file system that takes no more files would be.
        file = tmp_path / "agent" / "certificates" / "default.json"
        file.unlink()
        file.mkdir()
        with capture_logs() as logs:
            kept.trust((security.authority.root_pem,), issuer="another")
            await until(lambda: logs)
            file.rmdir()
            await until(lambda: kept.renewals == 1)
    assert "cannot be used" in logs[0]["event"]


async def test_roots_that_are_none_are_not_trusted(tmp_path: Path, token_file: Path) -> None:
    """They would cut the workload off from everybody."""
    security, plane = announcing(token_file), FakeControlPlane(registered_more={"takes": ["trusts"]})
    async with attached(tmp_path, security, plane):
        with capture_logs() as logs:
            await plane.say_trust({"roots": ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]})
            await until(lambda: logs)
        assert "roots that cannot be used" in logs[0]["event"]
        assert roots(tmp_path / "agent") == security.authority.root_pem
        assert len(plane.said) == 1


@pytest.mark.parametrize("backdated", [-1000.0, 300.0])
async def test_certificate_of_the_future_says_that_the_clock_is_wrong(
    tmp_path: Path, token_file: Path, backdated: float
) -> None:
    """It is used all the same: others may take it, and a token for one use is used up."""
    security = announcing(token_file)
    async with running_securely(FakeControlPlane(), security) as port:
        security.authority.backdated = backdated
        with capture_logs() as logs:
            async with joined(tmp_path, security, port):
                pass
    said = [entry["event"] for entry in logs if "clock" in entry["event"]]
    assert bool(said) == (backdated < 0)


STUB = """#!/bin/sh
case "$*" in *--version*) echo "envoy  version: 0/1.40.0/Clean/RELEASE/BoringSSL"; exit;; esac
pwd > "$NOTES"
exec sleep 1000
"""


@asynccontextmanager
async def agent(tmp_path: Path, port: int, **settings: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    """An agent process, with a program for Envoy that does nothing."""
    stub = tmp_path / "envoy"
    stub.write_text(STUB)
    stub.chmod(0o755)
    given = {
        "mode": "sidecar",
        "service": "reviews",
        "namespace": "shop",
        "service_account": "reviews",
        "control_plane": f"127.0.0.1:{port}",
        "envoy_path": str(stub),
    } | settings
    with (tmp_path / "agent.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "lateen.agent", json.dumps(given), stderr=log,
            env={**os.environ, "TMPDIR": str(tmp_path), "NOTES": str(tmp_path / "notes")},
        )  # fmt: skip
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def test_agent_process_joins_renews_and_leaves_no_key_behind(tmp_path: Path, token_file: Path) -> None:
    security, plane = announcing(token_file, seconds=LIFE), FakeControlPlane()
    async with running_securely(plane, security) as port, agent(tmp_path, port) as process:
        await plane.until(lambda: plane.peers)
        await until(lambda: (tmp_path / "notes").exists() and (tmp_path / "notes").read_text())
        folder = Path((tmp_path / "notes").read_text().strip())
        started = json.loads((folder / "envoy.json").read_text())
        assert started["node"]["metadata"]["LATEEN"]["certificates"] is True
        assert (folder / "certificates" / "default.json").exists()
        await until(lambda: len(security.asked) > 1)
        assert plane.peers == [NAME]
        if sys.platform == "linux":
            # What a connection over TLS may load, and a thread for each child: memory in each of a host's many agents.
            loaded = Path(f"/proc/{process.pid}/maps").read_text()
            assert not [name for name in ("unicodedata", "_pickle", "_decimal", "_uuid") if f"/{name}." in loaded]
            assert len(list(Path(f"/proc/{process.pid}/task").iterdir())) == 1
        process.terminate()
        async with asyncio.timeout(60):
            assert await process.wait() == 0
        assert not folder.exists()
    log = (tmp_path / "agent.log").read_text()
    assert "has a new certificate" in log
    assert "PRIVATE KEY" not in log
    assert token_file.read_text().strip() not in log


async def test_agent_process_for_another_machine_without_a_token_ends_at_once(tmp_path: Path) -> None:
    async with agent(tmp_path, 1, control_plane="192.0.2.1:15012") as process, asyncio.timeout(60):
        assert await process.wait() == 2
    assert "--token FILE" in (tmp_path / "agent.log").read_text()


def test_contexts_are_tls_1_2_or_newer() -> None:
    context = client_context(FakeAuthority().root_pem)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    client_context(f"Wurzel für alle\n{FakeAuthority().root_pem}")
    with pytest.raises(ValueError, match="no certificates"):
        client_context("nothing")
