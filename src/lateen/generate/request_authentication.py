"""RequestAuthentications of a proxy as filters: whose tokens it accepts.

Called by `security_filters`.
"""

from __future__ import annotations

from lateen.envoy.messages import Fields
from lateen.generate.view import View


def http_filters(view: View) -> tuple[Fields, ...]:
    """Return the HTTP filters, first to last; the same for every HTTP chain of the proxy."""
    return ()
