"""What an agent shows of itself: to `lateen proxy status`, and as metrics. Asked by `lifecycle`'s servers."""

from __future__ import annotations

import os
from typing import Any

from lateen.agent.addresses import OwnAddress
from lateen.agent.app_life import AppLife
from lateen.agent.app_pages import Pages
from lateen.agent.envoy_life import EnvoyLife
from lateen.agent.membership import Membership
from lateen.agent.readiness import Readiness


def status(member: Membership, address: OwnAddress, readiness: Readiness, life: EnvoyLife | None) -> dict[str, Any]:
    """Return what `lateen proxy status` shows. `life`: None until Envoy was started."""
    child = life.supervisor.child if life else None
    attachment, settings = member.attachment, member.settings
    # While the control plane is away: the name that it had given, or what its user calls it.
    name = attachment.registration.name or member.wanted.name or settings.service or settings.workload_group or "-"
    return {
        "workload": f"{name}.{settings.namespace}",
        "address": address.ip,
        "pid": os.getpid(),
        "ready": readiness.ready,
        "reason": readiness.reason,
        "controlPlane": settings.control_plane,
        "connected": attachment.connected,
        "configuration": life.source.name.lower() if life else "",
        "lastGoodAt": life.kept_at if life else 0.0,
        "certificateExpires": member.certificates.expires,
        "envoy": {
            "pid": child.pid if child else 0,
            "epoch": life.supervisor.epoch if life else 0,
            "restarts": life.supervisor.restarts if life else 0,
            "reliefs": life.supervisor.reliefs if life else 0,
        },
    }


def metrics(
    member: Membership, readiness: Readiness, life: EnvoyLife | None, app: AppLife, pages: Pages
) -> dict[str, float]:
    """Return the agent's own metrics by name."""
    found = {
        "lateen_agent_control_plane_connected": float(member.attachment.connected),
        "lateen_agent_control_plane_reconnects_total": float(member.attachment.reconnects),
        "lateen_agent_envoy_restarts_total": float(life.supervisor.restarts if life else 0),
        "lateen_agent_envoy_reliefs_total": float(life.supervisor.reliefs if life else 0),
        "lateen_agent_configuration_last_good": float(life.stands_alone if life else False),
        "lateen_agent_workload_ready": float(readiness.ready),
        "lateen_agent_certificate_renewals_total": float(member.certificates.renewals),
        **pages.metrics(),
    }
    if app.tally is not None:
        found["lateen_agent_probes_total"] = app.tally.checks
        found["lateen_agent_probe_failures_total"] = app.tally.failures
    if life and life.kept_at:
        found["lateen_agent_last_good_timestamp_seconds"] = life.kept_at
    if expires := member.certificates.expires:
        found["lateen_agent_certificate_expiration_timestamp_seconds"] = expires
    return found
