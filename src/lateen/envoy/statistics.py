"""Which statistics an Envoy makes, and which labels its metrics page cuts out of their names.

Called by `bootstrap`. Envoy makes 200 lines of metrics for each cluster that it is sent, used or not: at 5,000 services
101 MB for one scrape, a third of Envoy's memory (433 MB, against 279 MB) and most of its start-up (7 s of CPU, against
1.5 s). So two things are asked of it. A cluster's traffic statistics come into being with its first request or
connection; and what is not on the list below never does. Plain JSON like the bootstrap. Must not know: who reads the
statistics, or how a user's additions are spelled as flags.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_NAME = r"(([^;]+(?=;)|[^.;]+);?\.)"
"""A name in a statistic, and the dot after it. Generated names hold dots, so they end with `;`; others have neither."""

_STATS_TAGS = {
    "cluster_name": rf"^cluster\.{_NAME}",
    "http_conn_manager_prefix": rf"^http\.{_NAME}",
    "tcp_prefix": rf"^tcp\.{_NAME}",
}
"""Labels of the metrics page by the names that Istio gives them: Envoy's own rules end a name at its first dot. Group
1 is cut out of the statistic's name, group 2 is the label's value. Every expression is anchored with the statistic's
first word: Envoy tries one that is not on every statistic. With all of a mesh of 1,000 services (a user may add them)
start-up took 8.9 s, against 1.1 s without labels and 2.3 s with these."""

_DEFAULT_TAGS = ("envoy.listener_address", "envoy.response_code", "envoy.response_code_class")
"""Labels that Envoy's own rules find, which it does without trying an expression on each statistic."""

_PREFIXES = (
    # Dozens for the whole Envoy, however large the mesh. A prefix that ends with a dot is compared without making a
    # string of the name, so these cost nothing.
    "cluster_manager.",
    "listener_manager.",
    "control_plane.",
    "server.",
    "cluster.xds-grpc.",
    # From here on they cost a string: metrics in Istio's names, and of plug-ins.
    "istio",
    "wasm",
)
"""What Istio keeps, and whether the control plane is connected. The agent reads `server.live` and
`listener_manager.lds.update_success`."""

_SUFFIXES = ("rbac.allowed", "rbac.denied", "shadow_allowed", "shadow_denied")
"""Istio keeps these, by these suffixes."""

_CLUSTER = (
    # Is it in use, how much, how fast, with what result?
    "upstream_rq_(total|[1-5]xx|time)",
    "upstream_cx_(total|[rt]x_bytes_total)",
    # What is under way: the agent waits for the first two of `inbound|...` before it stops an app.
    "upstream_rq_(active|pending_active)",
    "upstream_cx_active",
    # Why it failed, by response flag: UH, UF, UC, UR, UT, UO, URX.
    "upstream_cx_none_healthy",
    "upstream_cx_connect_(fail|timeout)",
    "upstream_cx_destroy_remote_with_active_rq",
    "upstream_rq_rx_reset",
    "upstream_rq_(per_try_)?timeout",
    "upstream_(rq_pending|cx)_overflow",
    "upstream_rq_retry(_success|_overflow|_limit_exceeded)?",
    # Only where a DestinationRule asks for it; these, unlike those above, an idle cluster has too.
    r"outlier_detection\.ejections_(active|enforced_total)",
)
"""Of a cluster that is used. Members and healthy members are not here: two lines for each service and proxy, idle or
not, would be 0.9 MB of each scrape at 5,000 services, against 50 kB without; `/clusters` has them."""

_CONNECTION_MANAGER = (
    # The agent waits for `downstream_rq_active`. What was refused before a cluster was chosen shows only here.
    "downstream_rq_(total|[1-5]xx|time|active|timeout|rx_reset)",
    "downstream_cx_(total|active|protocol_error)",
    "no_(route|cluster)",
    r"fault\.(aborts|delays)_injected",
    # What an authorization server said, and how often it was let through that it could not say.
    r"ext_authz\.(ok|denied|error|failure_mode_allowed)",
    # The agent does not start an app before its routes were accepted.
    r"rds\..*\.update_(success|rejected|failure)",
)
"""Of each HTTP listener."""

_LISTENER = (
    "downstream_cx_(total|active)",
    "no_filter_chain_match",
    # A handshake that failed leaves no line in an access log.
    r"ssl\.(handshake|connection_error|fail_verify_.*)",
)
"""Of listeners of every address and of our own; services' own addresses have listeners by the thousand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsInclusion:
    """Statistics that a user wants besides ours, by the words of Istio's `proxyStatsMatcher`.

    Patterns of names as Envoy's `/stats` shows them (`cluster.outbound|80||web;.membership_healthy`).
    """

    prefixes: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    regexps: tuple[str, ...] = ()
    """RE2, each for a whole name; `.*` is everything."""


def stats_config(address: str, added: StatsInclusion) -> dict[str, Any]:
    """Return the bootstrap's `stats_config` for an Envoy that listens on this IP address.

    Cheapest matchers first: Envoy tries one after the other on each statistic that it is about to make. An expression
    that begins with a statistic's first word costs no more than a suffix (1.5 to 2.1 s of start-up at 5,000 services
    either way, and 1.4 s with prefixes alone).
    """
    prefixes = (*_PREFIXES, *added.prefixes)
    suffixes = (*_SUFFIXES, *added.suffixes)
    regexps = (*_regexps(address), *added.regexps)
    return {
        "stats_tags": [
            *({"tag_name": name, "regex": regex} for name, regex in _STATS_TAGS.items()),
            *({"tag_name": name} for name in _DEFAULT_TAGS),
        ],
        "use_all_default_tags": False,
        "stats_matcher": {
            "inclusion_list": {
                "patterns": [
                    *({"prefix": prefix} for prefix in prefixes),
                    *({"suffix": suffix} for suffix in suffixes),
                    *({"safe_regex": {"regex": regexp}} for regexp in regexps),
                ]
            }
        },
    }


def deferred_stat_options() -> dict[str, Any]:
    """Return the bootstrap's `deferred_stat_options`: traffic statistics begin with a cluster's first use.

    With 5,000 idle services that saves 30 MB and half of the start-up that the list alone, which keeps some of them,
    would leave. When a cluster in use is changed, Envoy goes on counting.
    """
    return {"enable_deferred_creation_stats": True}


def _regexps(address: str) -> tuple[str, ...]:
    # Names that we generate end with `;`. The dot after it leaves out the copies that Envoy makes of some statistics
    # below a name (`...;.internal.upstream_rq_2xx`).
    own = re.escape(f"[{address}]" if ":" in address else address).replace(":", "_")
    return (
        rf"cluster\..*;\.({'|'.join(_CLUSTER)})",
        rf"http\..*;\.({'|'.join(_CONNECTION_MANAGER)})",
        rf"listener\.(0\.0\.0\.0|\[__\]|{own})_\d+\.({'|'.join(_LISTENER)})",
        # A route's `statPrefix`: whoever writes one wants its statistics. Istio keeps them too.
        r"vhost\..*\.route\..*",
    )
