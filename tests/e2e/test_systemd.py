"""Our units under a real systemd: process 1 of a machine made of namespaces, beside a control plane on another host."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from e2e.meshes import eventually
from e2e.systemd_hosts import LATEEN, PYTHON, SystemdHost, machine, why_not
from e2e.test_vm_joining import Bed
from e2e.virtual_hosts import network
from lateen.systemd_units import AgentUnit, Rights, agent_unit

WHY_NOT = why_not()
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(WHY_NOT), reason=f"no systemd can be tried: {WHY_NOT}"),
    pytest.mark.timeout(240),
]
GET = """
import sys, urllib.request as u
print(u.build_opener(u.ProxyHandler({})).open(sys.argv[1], timeout=30).read().decode())
"""
TELL = """
import json, os, sys
json.dump([sys.argv[1:], dict(os.environ), os.getcwd()], open("/mnt/files/told.json", "w"))
"""
LATE = """
import os, runpy, time
while not os.path.exists("/mnt/files/go"):
    time.sleep(0.05)
runpy.run_path("/mnt/apps/echo.py", run_name="__main__")
"""
SLOW_TO_END = """
import runpy, signal, sys, time
def end(*_):
    time.sleep(6)
    sys.exit()
signal.signal(signal.SIGTERM, end)
runpy.run_path("/mnt/apps/echo.py", run_name="__main__")
"""
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front}
spec:
  hosts: ["*"]
  gateways: [front]
  http: [{directResponse: {status: 200, body: {string: '"from the gateway"'}}}]
"""
STRANGE = [
    "$HOME",
    "${HOME}",
    "$$",
    "%h %%",
    "a  b",
    "\"'`",
    "\\",
    "x\\",
    "",
    ";",
    "#",
    "tab\tline\nend",
    "é",
    "-",
    "|",
    "@x",
]


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("systemd")
    config = folder / "config"
    config.mkdir()
    (config / "mesh.yaml").write_text(GATEWAY)
    with network(folder) as net:
        made = Bed(net, net.host("plane"), config)
        made.serve()
        yield made


@pytest.fixture(scope="module")
def booted(bed: Bed) -> Iterator[SystemdHost]:
    with machine(bed.net.host("machine")) as made:
        yield made


def token(bed: Bed, host: SystemdHost, account: str = "default") -> str:
    path = f"/mnt/files/{account}.token"
    host.write(path, Path(bed.token(f"default/{account}")).read_text())
    return path


def status(host: SystemdHost, state: str = "/var/lib/lateen") -> dict[str, Any]:
    """What the only agent says of itself."""
    (only,) = json.loads(host.lateen("proxy", "status", "--state", state, "-o", "json").stdout)
    return dict(only)


def get(host: SystemdHost, address: str, path: str = "/") -> Any:
    return json.loads(host.python(GET, f"http://{address}:8080{path}"))


def install(
    bed: Bed, host: SystemdHost, name: str, *command: str, flags: tuple[str, ...] = ("--port", "8080/http")
) -> str:
    """Have a workload run by `lateen proxy install --systemd`; return its unit."""
    host.lateen(
        "proxy", "install", "--systemd", "--", "run", "--service", name, "--control-plane", bed.at(),
        "--token", token(bed, host), *flags, "--", *(command or (PYTHON, "/mnt/apps/echo.py")),
    )  # fmt: skip
    return f"lateen-{name}.service"


def remove(host: SystemdHost, unit: str) -> None:
    host.systemctl("disable", "--quiet", "--now", unit)
    host.run("rm", "-r", f"/etc/systemd/system/{unit}", "/var/lib/lateen/agents", check=True)
    host.systemctl("daemon-reload")
    host.systemctl("reset-failed", unit, check=False)


def override(host: SystemdHost, unit: str, *lines: str) -> None:
    host.run("mkdir", "-p", f"/run/systemd/system/{unit}.d", check=True)
    host.write(f"/run/systemd/system/{unit}.d/test.conf", "\n".join(("[Service]", *lines, "")))
    host.systemctl("daemon-reload")


@contextmanager
def running(bed: Bed, host: SystemdHost, *command: str) -> Iterator[str]:
    unit = install(bed, host, "web", *command)
    host.state(unit, "active")
    yield unit
    remove(host, unit)
    host.run("rm", "-rf", f"/run/systemd/system/{unit}.d")


@pytest.fixture
def web(bed: Bed, booted: SystemdHost) -> Iterator[str]:
    with running(bed, booted) as unit:
        yield unit


@pytest.fixture
def slow_to_end(bed: Bed, booted: SystemdHost) -> Iterator[str]:
    with running(bed, booted, PYTHON, "-c", SLOW_TO_END) as unit:
        yield unit


def test_words_variables_and_folders_arrive_unharmed(booted: SystemdHost) -> None:
    folder = "/mnt/files/a  b$HOME%h"
    booted.run("mkdir", "-p", folder, check=True)
    values = {f"V{number}": word for number, word in enumerate(STRANGE)}
    unit = AgentUnit(
        name="lateen-tells", description="x \\", command=(PYTHON, "-c", TELL, *STRANGE), environment=values,
        rights=Rights.APP, notify=False, restart="no", folder=folder,
    )  # fmt: skip
    booted.write("/etc/systemd/system/lateen-tells.service", agent_unit(unit))
    booted.systemctl("daemon-reload")
    booted.systemctl("start", "lateen-tells.service")
    words, environment, where = eventually(lambda: json.loads(booted.read("/mnt/files/told.json")), what="its words")
    assert words == STRANGE
    assert {name: environment[name] for name in values} == values
    assert where == folder
    booted.state("lateen-tells.service", "inactive")
    booted.run("rm", "/etc/systemd/system/lateen-tells.service", check=True)


def test_a_unit_is_active_when_the_workload_is_ready(bed: Bed, booted: SystemdHost) -> None:
    unit = install(bed, booted, "late", PYTHON, "-c", LATE)
    eventually(lambda: "envoy" in " ".join(booted.processes(unit).values()), seconds=40, what="its envoy")
    eventually(lambda: status(booted)["connected"], seconds=40, what="the control plane")
    assert booted.shown(unit, "ActiveState") == "activating"
    booted.write("/mnt/files/go", "")
    booted.state(unit, "active")
    assert booted.shown(unit, "StatusText") == "serving"
    assert get(booted, status(booted)["address"])["app"] == "echo"
    envoy = status(booted)["envoy"]["pid"]
    assert "1024 " not in next(
        line for line in booted.read(f"/proc/{envoy}/limits").splitlines() if "open files" in line
    )
    remove(booted, unit)


def test_a_reload_is_a_new_envoy_and_no_lost_request(booted: SystemdHost, web: str) -> None:
    before = status(booted)
    slow = subprocess.Popen(
        booted.inside(PYTHON, "-c", GET, f"http://{before['address']}:8080/delay/3"), stdout=subprocess.PIPE, text=True
    )
    eventually(lambda: get(booted, before["address"], "/count")["count"], what="the request at the app")
    booted.systemctl("reload", web)
    after = status(booted)
    assert after["pid"] == before["pid"] == booted.pid(web)
    assert after["envoy"]["pid"] != before["envoy"]["pid"]
    assert get(booted, before["address"])["app"] == "echo"
    assert json.loads(slow.communicate(timeout=30)[0])["app"] == "echo"


def test_a_stop_drains_first_however_short_systemd_s_patience(booted: SystemdHost, slow_to_end: str) -> None:
    """The request under way is answered, all goes in order, and nothing is left: here in 6 seconds and more."""
    web = slow_to_end
    override(booted, web, "TimeoutStopSec=6")
    address = status(booted)["address"]
    slow = subprocess.Popen(
        booted.inside(PYTHON, "-c", GET, f"http://{address}:8080/delay/3"), stdout=subprocess.PIPE, text=True
    )
    eventually(lambda: get(booted, address, "/count")["count"], what="the request at the app")
    booted.systemctl("stop", web)
    assert json.loads(slow.communicate(timeout=30)[0])["app"] == "echo"
    assert booted.shown(web, "Result") == "success"
    assert booted.shown(web, "ActiveState") == "inactive"
    assert booted.shown(web, "ExecMainStatus") in ("0", "143")
    assert booted.run("ls", "/run/lateen-web").returncode
    assert not booted.processes(web)
    booted.systemctl("start", web)
    assert get(booted, status(booted)["address"])["app"] == "echo"


def test_an_agent_that_is_killed_leaves_nothing_and_comes_back(booted: SystemdHost, web: str) -> None:
    before, address = booted.processes(web), status(booted)["address"]
    booted.run("kill", "-s", "KILL", str(booted.pid(web)), check=True)
    eventually(lambda: booted.shown(web, "NRestarts") == "1", seconds=40, what="another agent")
    booted.state(web, "active")
    assert not before.keys() & booted.processes(web).keys()
    assert len(booted.run("ls", "/run/lateen-web", check=True).stdout.split()) == 1
    eventually(lambda: get(booted, address)["app"] == "echo", what="an answer")
    shared = booted.run("ls", "/dev/shm").stdout.split()
    assert len(shared) <= 1, shared


def test_an_agent_that_hangs_is_started_again(booted: SystemdHost, web: str) -> None:
    override(booted, web, "WatchdogSec=10")
    booted.systemctl("restart", web)
    booted.state(web, "active")
    hung = booted.pid(web)
    booted.run("kill", "-s", "STOP", str(hung), check=True)
    eventually(lambda: booted.pid(web) not in (0, hung), seconds=60, what="another agent")
    booted.state(web, "active")
    assert "watchdog" in booted.journal(web).lower()
    assert hung not in booted.processes(web)
    assert get(booted, status(booted)["address"])["app"] == "echo"


def test_a_job_is_done_once(bed: Bed, booted: SystemdHost) -> None:
    """Even one that ends before anybody could be told that it is ready."""
    done = "open('/mnt/files/done', 'a').write('x')"
    unit = install(bed, booted, "job", PYTHON, "-c", done, flags=("--job",))
    eventually(lambda: booted.run("cat", "/mnt/files/done").stdout, what="the job")
    booted.state(unit, "inactive")
    assert booted.shown(unit, "Result") == "success"
    assert booted.read("/mnt/files/done") == "x"
    remove(booted, unit)


def test_a_unit_of_a_user_s_own_systemd(bed: Bed, booted: SystemdHost) -> None:
    """As `--user` has it: state at home, no rights asked for that a user has not."""
    home = {"HOME": "/mnt/files/home", "XDG_RUNTIME_DIR": "/run/user/2"}
    settings = ("-p", "Delegate=yes", *(f"--setenv={name}={value}" for name, value in home.items()))
    for name in (home["HOME"], home["XDG_RUNTIME_DIR"]):
        booted.run("install", "-d", "-m", "0700", "-o", "daemon", name, check=True)
    path = token(bed, booted)
    booted.run("chown", "daemon", path, check=True)
    booted.run("systemd-run", "--unit", "user-systemd", "--uid", "daemon", *settings, "/lib/systemd/systemd", "--user")
    user = ("setpriv", "--reuid", "daemon", "--clear-groups")

    def run(*words: str, check: bool = True) -> str:
        return booted.run(*user, *words, check=check, **home).stdout.strip()

    def state() -> str:
        return run("systemctl", "--user", "show", "--value", "--property=ActiveState", "lateen-mine.service")

    try:
        eventually(
            lambda: "running" in run("systemctl", "--user", "is-system-running", check=False),
            seconds=60,
            what="its systemd",
        )
        run(
            *LATEEN, "proxy", "install", "--systemd", "--user", "--", "run", "--service", "mine", "--control-plane",
            bed.at(), "--token", path, "--port", "8080/http", "--", PYTHON, "/mnt/apps/echo.py",
        )  # fmt: skip
        eventually(lambda: state() == "active", seconds=40, what="its unit")
        run("systemctl", "--user", "reload", "lateen-mine.service")
        (only,) = json.loads(run(*LATEEN, "proxy", "status", "-o", "json"))
        assert get(booted, only["address"])["app"] == "echo"
        run("systemctl", "--user", "stop", "lateen-mine.service")
        assert state() == "inactive"
    finally:
        booted.systemctl("stop", "user-systemd")


# --- joining -------------------------------------------------------------------------------------------------


def join(bed: Bed, host: SystemdHost, name: str, *flags: str) -> str:
    path = token(bed, host)
    host.lateen(
        "join", "--control-plane", bed.at(), "--token", path, "--service", name, "--port", "8080/http", *flags
    )  # fmt: skip
    return f"lateen-{name}.service"


def files(host: SystemdHost) -> set[str]:
    """What there is, but for the empty folder of records with its lock, which stays once there were rules."""
    script = "find /etc /var/lib/lateen/* /run/systemd/transient/* /run/lateen* /dev/shm -printf '%p %m %U %l\\n'"
    found = host.run("sh", "-c", script).stdout.splitlines()
    return {line for line in found if "/lateen/interception 700" not in line and "lock" not in line}


def test_joining_starts_a_service_and_leaving_leaves_nothing(bed: Bed, booted: SystemdHost) -> None:
    before = files(booted)
    unit = join(bed, booted, "joined")
    booted.state(unit, "active")
    assert booted.systemctl("is-enabled", unit) == "enabled"
    state = "/var/lib/lateen/workloads/joined"
    envoy = status(booted, state)["envoy"]["pid"]
    booted.systemctl("reload", unit)
    assert status(booted, state)["envoy"]["pid"] not in (0, envoy)
    booted.run("kill", "-s", "KILL", str(booted.pid(unit)), check=True)
    eventually(lambda: booted.shown(unit, "NRestarts") == "1", seconds=40, what="another agent")
    booted.state(unit, "active")
    booted.lateen("leave", "joined")
    assert booted.systemctl("list-units", "--all", "--plain", "--no-legend", "lateen-*") == ""
    assert files(booted) == before


def test_a_confined_gateway_of_another_user_has_port_80(bed: Bed, booted: SystemdHost) -> None:
    before, file = files(booted), token(bed, booted)
    booted.lateen(
        "join", "--control-plane", bed.at(), "--token", file, "--gateway", "--name", "front", "--namespace", "default",
        "--label", "istio=ingressgateway", "--user", "daemon",
    )  # fmt: skip
    unit, url = "lateen-front.service", f"http://{booted.host.ip}:80/"
    booted.state(unit, "active")
    eventually(lambda: booted.python(GET, url) == '"from the gateway"\n', what="an answer")
    user = booted.run("stat", "-c", "%U", f"/proc/{booted.pid(unit)}").stdout.strip()
    assert user == "daemon"
    pid = booted.pid(unit)
    booted.systemctl("reload", unit)
    assert booted.pid(unit) == pid
    assert booted.python(GET, url) == '"from the gateway"\n'
    booted.lateen("leave", "front")
    assert files(booted) == before


def test_rules_of_an_agent_that_was_killed_go_and_come_back(bed: Bed, booted: SystemdHost) -> None:
    before = files(booted)
    unit = join(bed, booted, "host", "--intercept", "host", "--app-user", "nobody")
    booted.state(unit, "active")
    rules = booted.run("nft", "list", "ruleset").stdout
    assert "table inet lateen" in rules
    override(booted, unit, "RestartSec=10")
    booted.run("kill", "-s", "KILL", str(booted.pid(unit)), check=True)
    eventually(lambda: not booted.run("nft", "list", "ruleset").stdout.strip(), what="the end of the rules")
    booted.state(unit, "active")
    eventually(lambda: booted.run("nft", "list", "ruleset").stdout == rules, seconds=45, what="the rules")
    booted.run("rm", "-r", f"/run/systemd/system/{unit}.d", check=True)
    booted.lateen("leave", "host")
    assert not booted.run("nft", "list", "ruleset").stdout.strip()
    assert files(booted) == before


# --- rules by hand -------------------------------------------------------------------------------------------

FLAGS = ("--user", "nobody", "--exclude-port", "25")
RULES_UNIT = "lateen-intercept-default.service"


def ruleset(host: SystemdHost) -> str:
    return host.run("nft", "list", "ruleset").stdout.strip()


def test_a_trial_ends_by_a_timer_whatever_the_folder_is_called(booted: SystemdHost) -> None:
    before, state = files(booted), "/mnt/files/a b$HOME%h'\"\\"
    done = booted.lateen("intercept", "apply", "--trial", "8", "--state", state, "--install-unit", *FLAGS)
    assert "a timer of systemd" in done.stderr
    assert ruleset(booted)
    eventually(lambda: not ruleset(booted), seconds=45, what="the end of the trial")
    eventually(lambda: not booted.systemctl("list-units", "--all", "--no-legend", "lateen-*"), what="the timer's end")
    assert files(booted) == before


def test_a_confirmed_trial_stays_and_its_unit_is_started(booted: SystemdHost) -> None:
    before = files(booted)
    booted.lateen("intercept", "apply", "--trial", "12", "--install-unit", *FLAGS)
    booted.lateen("intercept", "confirm")
    rules = ruleset(booted)
    booted.state(RULES_UNIT, "active")
    eventually(
        lambda: "trial" not in booted.systemctl("list-units", "--all", "lateen-*"),
        seconds=45,
        what="the end of the timer",
    )
    assert ruleset(booted) == rules
    booted.systemctl("stop", RULES_UNIT)
    assert not ruleset(booted)
    booted.systemctl("start", RULES_UNIT)
    assert ruleset(booted) == rules
    booted.lateen("intercept", "revert")
    assert not ruleset(booted)
    eventually(lambda: not booted.systemctl("list-units", "--all", "--no-legend", "lateen-*"), what="the unit's end")
    assert files(booted) == before


# --- reboots -------------------------------------------------------------------------------------------------

EARLY = {
    # As ifupdown and cloud-init have it: the network comes up before what most services wait for.
    "test-network.service": (
        "Wants=network.target\nAfter=network-pre.target\nBefore=network.target",
        "nft list ruleset",
    ),
    "test-cloud.service": ("After=test-network.service\nBefore=sysinit.target network-online.target", "true"),
}


@pytest.mark.parametrize("hard", [False, True], ids=["shutdown", "power-cut"])
def test_after_a_reboot_without_a_control_plane_all_is_as_before(bed: Bed, booted: SystemdHost, hard: bool) -> None:
    """Rules are there before the network is, and the workload serves by what it kept."""
    for name, (order, program) in EARLY.items():
        booted.write(
            f"/etc/systemd/system/{name}",
            f"[Unit]\nDefaultDependencies=no\n{order}\n[Service]\nType=oneshot\nRemainAfterExit=yes\n"
            f"ExecStart=/usr/bin/env {program}\n[Install]\nWantedBy=sysinit.target\n",
        )
        booted.systemctl("enable", "--quiet", name)
    unit = install(bed, booted, "web")
    booted.state(unit, "active")
    booted.lateen("intercept", "apply", "--confirm", "--install-unit", *FLAGS)
    booted.state(RULES_UNIT, "active")
    rules = ruleset(booted)
    eventually(lambda: status(booted)["lastGoodAt"], seconds=60, what="what it keeps")
    bed.process.terminate()
    bed.process.wait(45)
    try:
        booted.off(hard=hard)
        booted.boot()
        # That they came before the network did is what is listed below: this may be early in the boot.
        eventually(lambda: ruleset(booted) == rules, seconds=45, what="the rules")
        booted.state(unit, "active")
        assert status(booted)["configuration"] == "last_good"
        assert get(booted, status(booted)["address"])["app"] == "echo"
        assert "ordering cycle" not in booted.journal()
        assert "lateen" in booted.journal("test-network.service"), "the network came before the rules"
    finally:
        bed.serve()
    eventually(lambda: status(booted)["connected"], seconds=40, what="the control plane")
    booted.lateen("intercept", "revert")
    remove(booted, unit)
