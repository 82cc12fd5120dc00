"""Which EnvoyFilters changed a resource, in its metadata: `filter_metadata.lateen.envoyFilters`.

Called by the modules that apply patches. Origin and object behind the resource itself stay what they were.
"""

from __future__ import annotations

from collections.abc import Iterable

from lateen.envoy.messages import Message
from lateen.generate.envoy_filters.patches import FilterPatch

FIELD = "envoyFilters"


def note_origins(message: Message, patches: Iterable[FilterPatch]) -> None:
    """Write into a message that has metadata which EnvoyFilters changed it."""
    labels = list(dict.fromkeys(patch.label for patch in patches))
    if not labels or "metadata" not in message.DESCRIPTOR.fields_by_name:
        return
    values = message.metadata.filter_metadata["lateen"].fields[FIELD].list_value.values
    known = {value.string_value for value in values}
    for label in labels:
        if label not in known:
            values.add().string_value = label
