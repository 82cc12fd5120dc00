"""The admin page of an Envoy on this host: reading its bootstrap. Called by `proxy-config bootstrap`."""

from __future__ import annotations

import http.client
import json
from typing import Any

from lateen.cli.exits import ExitCode, Failure
from lateen.envoy.bootstrap import ADMIN_PORT

SECONDS = 5.0


def envoy_bootstrap(address: str, port: int = ADMIN_PORT) -> dict[str, Any]:
    """Return the bootstrap that the Envoy at this address started with, in protobuf JSON. Raises Failure."""
    connection = http.client.HTTPConnection(address, port, timeout=SECONDS)
    where = f"{address}:{port}"
    try:
        connection.request("GET", "/config_dump")
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise Failure(
            f"the admin page of this proxy at {where} cannot be reached ({error})",
            code=ExitCode.UNREACHABLE,
            hint="it binds the proxy's own loopback address: ask from the proxy's host",
        ) from error
    finally:
        connection.close()
    try:
        for config in json.loads(content).get("configs", ()):
            if "bootstrap" in config:
                found: dict[str, Any] = config["bootstrap"]
                return found
    except (ValueError, AttributeError) as error:
        raise Failure(f"{where} does not answer like an Envoy", code=ExitCode.UNREACHABLE) from error
    raise Failure(f"the admin page at {where} shows no bootstrap")
