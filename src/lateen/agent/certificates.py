"""The workload's certificate: got before anything else happens, renewed in time, kept where Envoy and we read it.

Problem: a certificate lives for a day, and everything that the workload says hangs on it. So it is renewed at half of
its life, by itself (mTLS on the secure port); if that is not to be had, by the token, as the first one was. What goes
wrong is said and tried again, and the certificate that there is stays in use meanwhile. Each certificate has a new
key, made by a short-lived child process (`csr`).

Used by `membership`, and by `attach` for its connections. Decisions are in `joining`. Must not know: Envoy's process,
or what is registered.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

from lateen.agent.addresses import host_port, split_control_planes
from lateen.agent.backoff import pauses
from lateen.agent.certificate_messages import CREATE_CERTIFICATE, IssuedCertificates, decode_answer, encode_request
from lateen.agent.certificate_times import Validity, issuer_of, read_validity
from lateen.agent.complaints import Complaints
from lateen.agent.errors import JoinError, RefusedError, StartError
from lateen.agent.grpc_call import CallHead
from lateen.agent.join_tokens import JoinToken, is_join_token, read_token_file
from lateen.agent.joining import (
    Address,
    JoinPlan,
    Located,
    Step,
    Wish,
    clock_problem,
    next_step,
    plan,
    refusal,
    renewal_time,
    shown,
)
from lateen.agent.keeping import Keeper, KeptIdentity
from lateen.agent.locating import Plaintext, SecureOnly, locate
from lateen.agent.log import get_log
from lateen.agent.port_owners import listening_users
from lateen.agent.secret_files import certificate_file, roots_file
from lateen.agent.secure_connection import ConnectError, DistrustError, Tls, broke, client_context, connection, is_alert
from lateen.agent.unary_call import CallError, ask
from lateen.envoy.bootstrap import CERTIFICATE_FILE, CERTIFICATES_FOLDER, ROOTS_FILE
from lateen.model.identities import Identity
from lateen.model.loopback import is_loopback
from lateen.private_files import write_private

_LONGEST_SLEEP = 60.0
"""Clocks are set and machines are suspended: so often the time is looked at again."""
_MAX_CA_FILE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateTimes:
    """Times in seconds; tests shorten them."""

    connect: float = 5.0
    """For each step of a connection."""
    answer: float = 10.0
    key: float = 30.0
    """For the child that makes a key: a busy machine takes its time."""
    first_pause: float = 0.1
    longest_first_pause: float = 1.0
    """Before there is a certificate, the workload waits for it."""
    pause: float = 1.0
    longest_pause: float = 60.0
    remind: float = 60.0
    spread: float = 1.0
    """Of a renewal that the control plane asks everybody for."""


@dataclass(frozen=True, slots=True)
class _Held:
    """What is in use now."""

    issued: IssuedCertificates
    validity: Validity
    plan: JoinPlan
    tls: Tls


def _check_owner(address: Address) -> None:
    """Raise JoinError when another user of this machine is on the control plane's port, and would be believed.

    He would get a token, or write the configuration of Envoy, which reads and writes files as our user.
    """
    listeners = listening_users(*address)
    if listeners is not None and not listeners <= {os.geteuid(), 0}:
        raise JoinError(
            f"another user of this machine listens on {host_port(*address)}, and proves nothing of itself",
            "if that is the control plane: --ca-file FILE names its roots, and --token FILE a token that it made",
        )


def _nobody(what: str) -> None:
    """Told what is waited for, does nothing."""


class Certificates:
    """Gets and keeps the certificate: `first` once, then `run` until cancelled."""

    def __init__(
        self,
        control_plane: str,
        wish: Wish,
        folder: Path,
        *,
        keeper: Keeper | None = None,
        times: CertificateTimes = CertificateTimes(),
    ) -> None:
        """`folder` is where Envoy reads secrets and goes with the agent; `keeper` keeps the identity beyond that."""
        self._addresses = split_control_planes(control_plane)
        self._given = self._addresses[0]
        """Where it is got from; of several, the next when this one does not answer."""
        self._wish = wish
        self._files = folder / CERTIFICATES_FOLDER
        self._private = folder / "identity"
        self._keeper = keeper
        self._may_resume = keeper is not None
        """Once: who is not believed with a kept identity needs a new one."""
        self._times = times
        self._log = get_log().bind(control_plane=control_plane)
        self._complaints = Complaints(times.remind)
        self._held: _Held | None = None
        self._renew_at = 0.0
        self._join_wanted = False
        self._changed = asyncio.Event()
        self.renewals = 0
        """How often the certificate was replaced by another."""

    @property
    def expires(self) -> float:
        """When the certificate expires, in seconds since 1970; 0 while there is none."""
        return self._held.validity.ends if self._held else 0.0

    @property
    def address(self) -> Address:
        """The control plane's secure address."""
        return self._holding.plan.secure

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The secure addresses of all control planes: as given, where there are several."""
        return self._addresses if self._several else (self.address,)

    @property
    def _several(self) -> bool:
        return len(self._addresses) > 1

    def _next_address(self) -> None:
        self._given = self._addresses[(self._addresses.index(self._given) + 1) % len(self._addresses)]

    @property
    def server(self) -> str:
        """SPIFFE ID of the control plane."""
        return self._holding.plan.server

    def tls(self) -> Tls:
        """Return how to connect to the control plane, with the newest certificate."""
        return self._holding.tls

    @property
    def issuer(self) -> str:
        """Who signed the certificate: the SHA-256 of that one's own certificate, the second of the chain."""
        return issuer_of(self._holding.issued.chain)

    def trust(self, roots: tuple[str, ...], *, issuer: str) -> str:
        """Trust these roots (PEM) from now on; return their digest, empty when they are none.

        `issuer` signs now: a certificate of another one is renewed. Everybody is told at once, so this is spread.
        """
        held = self._holding
        joined = "".join(f"{root.rstrip()}\n" for root in roots)
        if joined != held.issued.roots:
            issued = IssuedCertificates(chain=held.issued.chain, roots=joined)
            try:
                tls = Tls(client_context(joined, self._pair), held.tls.server)
                write_private(self._files / ROOTS_FILE, roots_file(joined), durable=False)
            except (ValueError, OSError) as error:
                self._log.error("the control plane sent roots that cannot be used", reason=str(error))
                return ""
            self._held = _Held(issued, held.validity, held.plan, tls)
            if self._keeper and (kept := self._keeper.identity()):
                self._keep(kept.key)
            self._log.info("trusts other roots now", roots=len(roots))
        if issuer and issuer != self.issuer:
            self._renew_at = time.time() + random.uniform(0, self._times.spread)  # noqa: S311  not a secret
            self._changed.set()
        return blake2b("\n".join(roots).encode(), digest_size=16).hexdigest()

    def distrusted(self) -> None:
        """Get a new certificate by the token: the control plane and this workload do not know each other any more."""
        self._join_wanted = True
        self._changed.set()

    async def first(self, waiting: Callable[[str], None] = _nobody) -> Plaintext | None:
        """Wait for the first certificate. Where the control plane gives none: return where it is.

        `waiting` is told what for. Raises StartError when there can never be one.
        """
        if not self._wish.token_file and (self._several or not is_loopback(self._given[0])):
            what = "one of several" if self._several else "another machine's"
            raise StartError(
                f"the control plane at {host_port(*self._given)} is {what}, and asks who this is: "
                f"there, `{self._wish.create}`; here, --token FILE",
                exit_code=2,
            )
        waits = pauses(self._times.first_pause, self._times.longest_first_pause)
        while True:
            try:
                found = await self._join()
            except (JoinError, ConnectError) as error:
                self._complain(error)
                self._next_address()
                waiting("the control plane" if isinstance(error, ConnectError) else "a certificate")
                await asyncio.sleep(_jittered(next(waits)))
                continue
            self._complaints.forget()
            if found is None:
                identity = self._holding.plan.identity
                self._log.info("has a certificate", identity=identity.uri, expires=shown(self.expires))
            return found

    async def attempt(self) -> Plaintext | None:
        """Try once to get the first certificate, as `first` does. JoinError or ConnectError when there is none.

        Of several control planes the next is asked when one does not answer.
        """
        for _ in self._addresses[1:]:
            try:
                return await self._join()
            except ConnectError:
                self._next_address()
        return await self._join()

    async def run(self) -> None:
        """Keep the certificate valid, until cancelled. Never raises for what the network or the peer does."""
        waits = pauses(self._times.pause, self._times.longest_pause)
        while True:
            step = Step.JOIN if self._join_wanted else next_step(self._holding.validity, self._renew_at, time.time())
            if step is Step.KEEP:
                await self._sleep_until(self._renew_at)
                continue
            # Whoever wants it will say so again.
            self._join_wanted = False
            try:
                await (self._renew() if step is Step.RENEW else self._join_again())
            except (JoinError, ConnectError) as error:
                self._join_wanted = step is Step.RENEW and isinstance(error, DistrustError | RefusedError)
                self._complain(error, expires=shown(self.expires))
                self._next_address()
                await asyncio.sleep(_jittered(next(waits)))
                continue
            self.renewals += 1
            waits = pauses(self._times.pause, self._times.longest_pause)
            self._complaints.forget()
            self._log.info("has a new certificate", expires=shown(self.expires))

    @property
    def _holding(self) -> _Held:
        assert self._held is not None
        return self._held

    @property
    def _pair(self) -> Path:
        return self._private / "pair.pem"

    async def _sleep_until(self, at: float) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(min(max(at - time.time(), 0.0), _LONGEST_SLEEP)):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _complain(self, error: JoinError | ConnectError, **known: str) -> None:
        todo = error.todo if isinstance(error, JoinError) else "trying again"
        if isinstance(error, DistrustError):
            todo = f"if the control plane was set up anew, `{self._wish.create}` makes a token for it; trying again"
        self._complaints.say(self._log.bind(**known), str(error), todo)

    async def _join_again(self) -> None:
        if await self._join() is not None:
            raise JoinError("the control plane gives no certificates any more")

    async def _join(self) -> Plaintext | None:
        """Get a certificate by the token; return where the control plane is when it gives none."""
        located: Located | None = None
        address = self._given
        if is_loopback(address[0]) and not self._several:
            match await locate(address, self._times.connect):
                case Plaintext() as found:
                    self._check_plaintext(found)
                    return found
                case SecureOnly(address=address):
                    pass
                case Located() as located:
                    pass
        if self._may_resume and self._resume(located):
            return None
        token = self._token(located)
        if self._several:
            # It says where the control plane that made it gives first certificates; this may be another.
            token = replace(token, join_port=0)
        if located is not None and not self._wish.ca_file and not token.roots:
            _check_owner(address)  # who listens there is about to say whom to trust
        planned = plan(self._wish, token, address, located, _read_ca_file(self._wish.ca_file), time.time())
        await self._obtain(planned, planned.join, _context(planned), token)
        return None

    def restore(self) -> float:
        """Put the kept identity where Envoy reads secrets; return when it expires, 0 when there is none.

        For an Envoy that starts while the control plane is away. An expired one is better than none: what needs no
        certificate is served.
        """
        kept = self._kept()
        if kept is None or self._held is not None:
            return 0.0
        try:
            self._write_for_envoy(kept.chain, kept.key, kept.roots)
            return read_validity(kept.chain).ends
        except (OSError, ValueError) as error:
            self._log.warning("the kept certificate cannot be used", reason=str(error))
            return 0.0

    def _resume(self, located: Located | None) -> bool:
        """Go on with the identity of an earlier life of this workload: its token may be used up."""
        self._may_resume = False
        kept = self._kept()
        if kept is None:
            return False
        planned = JoinPlan(
            secure=located.secure if located else self._given if self._several else kept.secure,
            join=located.join if located else kept.join,
            roots=kept.roots,
            identity=Identity.parse(kept.uri),
            token=JoinToken(secret="", file="an earlier certificate"),
        )
        try:
            if read_validity(kept.chain).ends <= time.time():
                return False
            self._private.mkdir(mode=0o700, exist_ok=True)
            key_file = self._private / "key.pem"
            write_private(key_file, kept.key.encode(), durable=False)
            self._install(planned, IssuedCertificates(chain=kept.chain, roots=kept.roots), key_file)
        except (JoinError, ValueError, OSError) as error:
            self._log.warning("the kept certificate cannot be used", reason=str(error))
            return False
        return True

    def _kept(self) -> KeptIdentity | None:
        """Return the identity of an earlier life, if it is the one that is wished for now."""
        kept = self._keeper.identity() if self._keeper else None
        if kept is None:
            return None
        try:
            identity = Identity.parse(kept.uri)
        except ValueError:
            return None
        wished = (self._wish.namespace, self._wish.service_account)
        return kept if (identity.namespace, identity.service_account) == wished else None

    def _check_plaintext(self, found: Plaintext) -> None:
        """Raise JoinError when plaintext is not what the user wants: whoever listens there must not get the token."""
        wish = self._wish
        _check_owner(found.address)
        if wish.ca_file or (wish.token_file and is_join_token(wish.token_file)):
            raise JoinError(
                f"{host_port(*found.address)} gives no certificates, and --token or --ca-file ask for one",
                "is that the control plane that they are for? without them it is used in plaintext",
            )

    def _token(self, located: Located | None) -> JoinToken:
        if self._wish.token_file:
            return read_token_file(self._wish.token_file)
        if located is None or not located.token_file:
            raise JoinError(
                "the control plane asks for a token, and there is none",
                f"`{self._wish.create}`, then pass it with --token FILE",
            )
        return read_token_file(located.token_file, announced=True)

    async def _renew(self) -> None:
        """Get a certificate by the one that there is."""
        held = self._holding
        planned = replace(held.plan, secure=self._given) if self._several else held.plan
        await self._obtain(planned, planned.secure, held.tls, None)

    async def _obtain(self, planned: JoinPlan, address: Address, tls: Tls, token: JoinToken | None) -> None:
        key_file, before = self._private / "key.pem", self._held
        try:
            self._private.mkdir(mode=0o700, exist_ok=True)
            csr = await certificate_request(planned.identity.uri, key_file, self._times.key)
        except OSError as error:
            raise JoinError(f"cannot make a key: {error.strerror}") from error
        head = CallHead(
            method=CREATE_CERTIFICATE,
            authority=host_port(*address),
            scheme="https",
            content_type="application/grpc",
            token=token.secret if token else "",
        )
        try:
            async with connection(address, tls, self._times.connect) as (reader, writer):
                async with asyncio.timeout(self._times.answer):
                    answer = await ask(reader, writer, head, encode_request(csr))
        except TimeoutError:
            raise JoinError(f"{host_port(*address)} does not answer: no certificate") from None
        except CallError as error:
            raise refusal(error.status, str(error), self._wish, token) from error
        except OSError as error:
            raise (DistrustError if is_alert(error) else ConnectError)(broke(error)) from error
        try:
            issued = decode_answer(answer)
            if before and self._held and self._held.issued.roots != before.issued.roots:
                # Told to trust others meanwhile, and said so: this answer may be older.
                issued = replace(issued, roots=self._held.issued.roots)
            self._install(planned, issued, key_file)
        except (ValueError, OSError) as error:
            raise JoinError(f"the control plane's answer cannot be used: {error}") from error

    def _install(self, planned: JoinPlan, issued: IssuedCertificates, key_file: Path) -> None:
        """Use a new certificate from now on. ValueError when it is none; then nothing has changed."""
        now, validity = time.time(), read_validity(issued.chain)
        if validity.ends <= now:
            raise JoinError(clock_problem(validity, now), "set the clock; trying again")
        key = key_file.read_text()
        write_private(self._pair.with_name("next.pem"), f"{issued.chain}{key}".encode(), durable=False)
        tls = Tls(client_context(issued.roots, self._pair.with_name("next.pem")), planned.server)
        self._pair.with_name("next.pem").replace(self._pair)
        key_file.unlink()
        self._write_for_envoy(issued.chain, key, issued.roots)
        self._held = _Held(issued, validity, planned, tls)
        self._keep(key)
        self._renew_at = renewal_time(validity, now, random.uniform(-1, 1))  # noqa: S311  not a secret
        if problem := clock_problem(validity, now):
            # Others take it, if it is our clock that is slow; a token for one use is used up.
            self._complaints.say(self._log, problem, "set the clock")

    def _write_for_envoy(self, chain: str, key: str, roots: str) -> None:
        self._files.mkdir(mode=0o700, exist_ok=True)
        if self._held is None or self._held.issued.roots != roots:
            # Before the certificate that only they prove.
            write_private(self._files / ROOTS_FILE, roots_file(roots), durable=False)
        write_private(self._files / CERTIFICATE_FILE, certificate_file(chain, key), durable=False)

    def _keep(self, key: str) -> None:
        """Keep the identity for a next life of this workload."""
        if self._keeper is None:
            return
        held = self._holding
        self._keeper.keep_identity(
            KeptIdentity(
                chain=held.issued.chain,
                key=key,
                roots=held.issued.roots,
                secure=held.plan.secure,
                join=held.plan.join,
                uri=held.plan.identity.uri,
            )
        )


def _context(planned: JoinPlan) -> Tls:
    try:
        return Tls(client_context(planned.roots), planned.server)
    except ValueError as error:
        raise JoinError(f"{error}: those of --ca-file, of the token, or of the control plane's answer") from error


def _read_ca_file(path: str) -> str:
    if not path:
        return ""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_CA_FILE + 1)
    except OSError as error:
        raise JoinError(f"cannot read the root certificates {path}: {error.strerror}") from error
    if len(content) > _MAX_CA_FILE or b"-----BEGIN CERTIFICATE-----" not in content:
        raise JoinError(f"{path} holds no certificates", "pass a PEM file with --ca-file")
    return content.decode("ascii", "replace")


def _jittered(pause: float) -> float:
    """Keep a thousand agents from coming back in one instant."""
    return pause * random.uniform(0.8, 1.2)  # noqa: S311  not a secret


async def certificate_request(uri: str, key_file: Path, seconds: float) -> str:
    """Make a key, in `key_file`, and return a request (PEM) to certify it for this name; in a process of its own."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lateen.agent.csr", str(key_file), uri,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(seconds):
            made, said = await child.communicate()
    except TimeoutError:
        raise JoinError(f"making a key took longer than {seconds:g} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        last = (said.decode("utf-8", "replace").strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        raise JoinError(f"cannot make a key: {last[:300]}")
    return made.decode("ascii", "replace")
