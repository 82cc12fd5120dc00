"""Filters whose settings are resources of their own (ECDS), so that they change for the next request or connection.

Called by the modules of such filters. Were the settings in the listener, a change would be a new listener: connections
that are open keep the old filters until they are drained, and what lasts longer than that is cut.
"""

from __future__ import annotations

from lateen.envoy.messages import Fields
from lateen.envoy.resources import EXTENSION, TYPE_PREFIX, Resource, make_resource


def discovered_filter(name: str, *configs: str) -> Fields:
    """Return an HTTP or network filter whose settings are the resource of its name, a message of one of these types.

    A listener waits for the first settings for ever: it never serves without them. Where they are gone later, requests
    are answered 500 and connections closed (observed), so nothing passes unseen.
    """
    source: Fields = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": {"seconds": 0}}
    types = [TYPE_PREFIX + config for config in configs]
    return {"name": name, "config_discovery": {"config_source": source, "type_urls": types}}


def filter_settings(name: str, config: Fields) -> Resource:
    """Return the settings of the filter of this name; `config`: fields of an Any."""
    return make_resource(EXTENSION, name, {"name": name, "typed_config": config})
