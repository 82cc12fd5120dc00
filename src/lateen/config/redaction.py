"""Documents for printing: the values of Secrets are hidden.

Called by whoever shows a document (`lateen get -o yaml`, the API). A Secret's values are hidden wherever they stand,
also in the copy that `kubectl apply` keeps in an annotation.
"""

from __future__ import annotations

from typing import Any

HIDDEN = "(hidden)"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def redacted(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document as it may be shown; only Secrets differ, and the argument is not changed."""
    if document.get("kind") != "Secret":
        return document
    shown = dict(document)
    for field in ("data", "stringData"):
        if isinstance(values := shown.get(field), dict):
            shown[field] = dict.fromkeys(values, HIDDEN)
        elif values is not None:
            shown[field] = HIDDEN
    metadata = shown.get("metadata")
    if isinstance(metadata, dict) and isinstance(notes := metadata.get("annotations"), dict) and _LAST_APPLIED in notes:
        shown["metadata"] = metadata | {"annotations": notes | {_LAST_APPLIED: HIDDEN}}
    return shown
