"""Builders that generation's own tests do not reach by YAML."""

from __future__ import annotations

import pytest

from lateen.config.mesh_config import AccessLogEncoding, MeshConfig
from lateen.config.networking import HTTPMatchRequest, HTTPRedirect, StringMatch
from lateen.envoy.access_logs import access_logs
from lateen.envoy.listeners import cidr_range, is_cidr, is_ip, only_on_ports, sni_match, socket_address, tls_inspector
from lateen.envoy.messages import packed, serialise, to_json
from lateen.envoy.route_policies import default_retry_policy
from lateen.envoy.routes import is_presence, matches_everything, redirect_action, route_match


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1", True),
        ("255.255.255.255", True),
        ("256.0.0.1", False),
        ("10.0.0", False),
        ("010.0.0.1", False),
        ("fd00::1", True),
        ("a:b", False),
        ("example.com", False),
        ("", False),
    ],
)
def test_ip_literals(text: str, expected: bool) -> None:
    assert is_ip(text) is expected


def test_addresses() -> None:
    assert socket_address("unix:///run/app.sock", 80) == {"pipe": {"path": "/run/app.sock"}}
    assert cidr_range("10.1.2.3/8") == {"address_prefix": "10.0.0.0", "prefix_len": {"value": 8}}
    assert cidr_range("fd00::1") == {"address_prefix": "fd00::1", "prefix_len": {"value": 128}}
    assert not is_cidr("example.com")


def test_any_server_name_is_any_tls() -> None:
    assert sni_match(["*"]) == {"transport_protocol": "tls"}


def test_a_shared_filter_is_not_changed_by_its_users() -> None:
    before = dict(tls_inspector())
    only_on_ports(tls_inspector(), [1, 2])

    assert tls_inspector() == before


def test_what_matches_everything() -> None:
    assert matches_everything(route_match(None))
    assert matches_everything(route_match(HTTPMatchRequest(uri=StringMatch(regex=".*"))))
    assert not matches_everything(route_match(HTTPMatchRequest(uri=StringMatch(prefix="/a"))))
    assert not matches_everything(route_match(HTTPMatchRequest(method=StringMatch(exact="GET"))))


def test_the_regex_star_asks_for_presence() -> None:
    """Istio's rule: `*` is no RE2 expression."""
    assert is_presence(StringMatch(regex="*"))
    assert not is_presence(StringMatch(regex=".*"))


def test_a_redirect_leaves_the_default_port_out() -> None:
    assert "port_redirect" not in redirect_action(HTTPRedirect(port=443), port=443, tls=True)
    assert redirect_action(HTTPRedirect(port=443), port=80, tls=False)["port_redirect"] == 443


def test_access_log_formats() -> None:
    def log_format(**fields: object) -> dict[str, object]:
        config = MeshConfig(access_log_file="/dev/stdout", **fields)  # type: ignore[arg-type]
        packed_config = access_logs(config)[0]["typed_config"]
        kind = packed_config["type_url"].rpartition("/")[2]
        found: dict[str, object] = to_json(kind, packed_config["value"])["log_format"]
        return found

    assert log_format(access_log_format="%PROTOCOL%") == {"text_format_source": {"inline_string": "%PROTOCOL%\n"}}
    encoded = log_format(access_log_encoding=AccessLogEncoding.JSON, access_log_format='{"p": "%PROTOCOL%"}')
    assert encoded == {"json_format": {"p": "%PROTOCOL%"}}
    broken = log_format(access_log_encoding=AccessLogEncoding.JSON, access_log_format="not json")
    assert "json_format" in broken


def test_the_default_retry_policy_is_the_same_object() -> None:
    """It is shared by every route, so nobody may build on it in place."""
    assert default_retry_policy() is default_retry_policy()
    assert "retry_host_predicate" not in default_retry_policy(hashed=True)


def test_a_wrong_field_name_never_reaches_envoy() -> None:
    with pytest.raises(ValueError, match="no_such_field"):
        serialise("envoy.config.cluster.v3.Cluster", {"no_such_field": 1})
    with pytest.raises(TypeError):
        serialise("envoy.config.cluster.v3.Cluster", {"name": 1})


def test_messages_of_one_content_have_one_form() -> None:
    """Maps are written in the order of their keys: versions are hashes of the bytes."""

    def cluster(keys: tuple[str, str]) -> bytes:
        options = {key: packed("google.protobuf.Duration", {"seconds": 1}) for key in keys}
        return serialise("envoy.config.cluster.v3.Cluster", {"typed_extension_protocol_options": options})

    assert cluster(("a", "b")) == cluster(("b", "a"))
