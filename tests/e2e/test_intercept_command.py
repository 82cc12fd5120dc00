"""`lateen intercept` on a machine made of a network namespace, among rules as Docker and an administrator make them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.meshes import LATEEN, eventually
from e2e.test_interception import WHY_NOT

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

OTHERS = """
set -e
ip link set lo up
ip link add uplink type veth peer name wire
ip link set uplink up
ip link set wire up
ip address add 192.0.2.1/24 dev uplink
ip route add default via 192.0.2.254
iptables -t nat -N DOCKER
iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
iptables -t nat -A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
iptables -P FORWARD DROP
ip6tables -t nat -A OUTPUT -p tcp --dport 4444 -j RETURN
ip6tables -t nat -A PREROUTING -p tcp --dport 4444 -j RETURN
nft add table inet firewall
nft add chain inet firewall input '{ type filter hook input priority 0; policy accept; }'
nft add rule inet firewall input tcp dport 22 accept
"""


@dataclass
class Machine:
    pid: int
    state: Path

    def run(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        inside = ("nsenter", f"--net=/proc/{self.pid}/ns/net", *words)
        return subprocess.run(inside, input=text, capture_output=True, text=True, check=False, timeout=60)

    def intercept(self, command: str, *flags: str) -> subprocess.CompletedProcess[str]:
        return self.run(*LATEEN, "intercept", command, "--state", str(self.state), *flags)

    def rules(self) -> str:
        """All rules of the machine, of whatever program."""
        said = [self.run(*words.split()) for words in ("nft list ruleset", "iptables-save", "ip6tables-save")]
        assert not any(done.returncode for done in said), said
        # The time at which they were listed.
        return re.sub(r"# (Generated|Completed).*\n", "", "".join(done.stdout for done in said))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with namespace() as pid:
        made = Machine(pid, tmp_path / "state")
        done = made.run("sh", text=OTHERS)
        assert done.returncode == 0, done.stderr
        yield made


@contextmanager
def namespace() -> Iterator[int]:
    holder = subprocess.Popen(("unshare", "--net", "cat"), stdin=subprocess.PIPE)
    try:
        here = Path("/proc/self/ns/net").readlink()
        eventually(lambda: Path(f"/proc/{holder.pid}/ns/net").readlink() != here, what="the namespace")
        yield holder.pid
    finally:
        assert holder.stdin is not None
        holder.stdin.close()
        holder.wait(30)


FLAGS = ("--user", "nobody", "--hops", "both", "--inbound-port", "9080", "--exclude-network", "10.0.0.0/8")


@pytest.mark.parametrize("backend", ["nft", "iptables"])
def test_rules_of_others_are_the_same_byte_for_byte(machine: Machine, backend: str) -> None:
    """Afterwards; and meanwhile nothing of theirs is missing."""
    before = machine.rules()
    applied = machine.intercept("apply", "--confirm", "--backend", backend, *FLAGS)
    assert applied.returncode == 0, applied.stderr
    meanwhile = machine.rules()
    assert "15001" in meanwhile
    assert set(before.splitlines()) <= set(meanwhile.splitlines())
    verified = machine.intercept("verify", "--rules-only")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert machine.intercept("revert").returncode == 0
    assert machine.rules() == before
    assert not list(machine.state.glob("*.json"))


@pytest.mark.parametrize("backend", ["nft", "iptables"])
def test_plan_is_what_is_applied_and_changes_nothing(machine: Machine, backend: str) -> None:
    """The text of the plan is what the program reads when the rules are applied."""
    before = machine.rules()
    planned = machine.intercept("plan", "--backend", backend, *FLAGS).stdout
    assert machine.rules() == before
    applied = machine.intercept("apply", "--confirm", "--backend", backend, *FLAGS).stdout
    assert planned.splitlines()[1:] == applied.splitlines()[1:]


def test_unconfirmed_rules_go_by_themselves(machine: Machine) -> None:
    """Nobody has to be able to reach the machine for it."""
    before = machine.rules()
    applied = machine.intercept("apply", "--trial", "8", *FLAGS)
    assert "lateen intercept confirm" in applied.stderr
    assert machine.rules() != before
    assert [oct(path.stat().st_mode & 0o777) for path in machine.state.glob("*.json")] == ["0o600"]
    eventually(lambda: machine.rules() == before, seconds=45, what="the rules to go")
    confirmed = machine.intercept("confirm")
    assert confirmed.returncode == 1
    assert "nothing to confirm" in confirmed.stderr


def test_confirmed_rules_stay(machine: Machine) -> None:
    """The one who waits for the end of the trial finds it ended well."""
    before = machine.rules()
    machine.intercept("apply", "--trial", "12", "--name", "other", "--user", "daemon")
    machine.intercept("apply", "--trial", "12", *FLAGS)
    assert machine.intercept("confirm").returncode == 0
    # The other trial began first, so when it is over, this one's time is almost over too; then it is verified.
    eventually(lambda: "lateen_other" not in machine.rules(), seconds=45, what="the end of the other trial")
    eventually(lambda: not _waiting(machine.state), seconds=45, what="nobody to wait any more")
    assert machine.intercept("verify", "--rules-only").returncode == 0
    machine.intercept("revert")
    assert machine.rules() == before


def _waiting(state: Path) -> bool:
    """Whether a process waits for the end of a trial of this folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(state).encode() in words and b"expire" in words:
            return True
    return False


def test_second_apply_replaces_the_first(machine: Machine) -> None:
    """With one table in place of the other, by another program too."""
    before = machine.rules()
    machine.intercept("apply", "--confirm", "--backend", "iptables", *FLAGS)
    assert machine.intercept("apply", "--confirm", "--backend", "nft", "--user", "daemon").returncode == 0
    assert "LATEEN_" not in machine.rules()
    assert machine.intercept("verify", "--rules-only").returncode == 0
    machine.intercept("revert")
    assert machine.rules() == before


def test_second_apply_of_iptables_leaves_one_jump_of_each(machine: Machine) -> None:
    """Also when the second one leaves IPv6 alone."""
    before = machine.rules()
    for flags in ((), ("--exclude-port", "25"), ("--no-ipv6",)):
        applied = machine.intercept("apply", "--confirm", "--backend", "iptables", *FLAGS, *flags)
        assert applied.returncode == 0, applied.stderr
        assert machine.run("iptables-save", "-t", "nat").stdout.count("-j LATEEN_OUTPUT") == 1
        assert machine.run("ip6tables-save", "-t", "nat").stdout.count("-j LATEEN_OUTPUT") == ("--no-ipv6" not in flags)
        assert machine.intercept("verify", "--rules-only").returncode == 0
    machine.intercept("revert")
    assert machine.rules() == before


def test_verify_sees_changed_rules_and_a_missing_proxy(machine: Machine) -> None:
    """What somebody else flushed is shown as a difference; a real connection tells that nobody listens."""
    machine.intercept("apply", "--confirm", "--user", "nobody")
    silent = machine.intercept("verify")
    assert silent.returncode == 1
    assert "nobody listens on port 15001" in silent.stderr
    machine.run("nft", "flush", "chain", "inet", "lateen", "captured")
    changed = machine.intercept("verify")
    assert changed.returncode == 1
    assert "redirect to :15001" in changed.stdout


def test_rules_that_the_kernel_refuses_change_nothing(machine: Machine, tmp_path: Path) -> None:
    """All or nothing, and no record of it."""
    before = machine.rules()
    refusing = tmp_path / "programs" / "nft"
    refusing.parent.mkdir()
    refusing.write_text("#!/bin/sh\necho 'Error: Could not process rule: Operation not supported' >&2\nexit 1\n")
    refusing.chmod(0o755)
    path = f"PATH={refusing.parent}:{os.environ['PATH']}"
    refused = machine.run(
        "env", path, *LATEEN, "intercept", "apply", "--confirm", "--state", str(machine.state), *FLAGS
    )
    assert refused.returncode == 1
    assert "nothing was changed" in refused.stderr
    assert "this kernel lacks a part" in refused.stderr
    assert machine.rules() == before
    assert not list(machine.state.glob("*.json"))


def test_unit_brings_confirmed_rules_back(machine: Machine) -> None:
    """What the unit calls at start puts the recorded rules in force again, as after a reboot."""
    machine.intercept("apply", "--confirm", *FLAGS)
    machine.run("nft", "delete", "table", "inet", "lateen")
    unit = machine.intercept("plan", "--install-unit", *FLAGS).stdout
    (start,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    done = machine.run("sh", "-c", start)
    assert done.returncode == 0, done.stderr
    assert machine.intercept("verify", "--rules-only").returncode == 0


def test_flags_that_say_too_little(machine: Machine) -> None:
    """Nobody is intercepted by accident."""
    for flags, missing in (((), "--everybody"), (("--user", "nobody", "--hops", "both"), "--inbound-port")):
        refused = machine.intercept("plan", *flags)
        assert refused.returncode == 2
        assert missing in refused.stderr


@pytest.mark.parametrize(("flags", "warned"), [(("--everybody",), True), (FLAGS, False)])
def test_a_proxy_that_is_intercepted_itself_is_told(machine: Machine, flags: tuple[str, ...], warned: bool) -> None:
    """Here it is root's, and of no excluded group."""
    listen = "import socket, sys; made = socket.create_server(('127.0.0.1', 15001)); print(); sys.stdin.read()"
    command = ("nsenter", f"--net=/proc/{machine.pid}/ns/net", sys.executable, "-uc", listen)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as proxy:
        assert proxy.stdout is not None
        proxy.stdout.readline()
        said = machine.intercept("apply", "--confirm", *flags)
        proxy.communicate()
    assert said.returncode == 0, said.stderr
    assert ("warning: who listens on port 15001 is of user 0" in said.stderr) is warned
