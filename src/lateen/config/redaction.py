"""Documents for printing: the values of Secrets are hidden, and secret members of keys in RequestAuthentications.

Called by whoever shows a document (`lateen get -o yaml`, the API). They are hidden wherever they stand, also in the
copy that `kubectl apply` keeps in an annotation.
"""

from __future__ import annotations

from typing import Any

from lateen.config.key_sets import without_private_members

HIDDEN = "(hidden)"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def redacted(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document as it may be shown; the argument is not changed."""
    match document.get("kind"):
        case "Secret":
            return _without_note(_without_values(document))
        case "RequestAuthentication":
            shown = _without_keys(document)
            return document if shown == document else _without_note(shown)
        case _:
            return document


def _without_values(document: dict[str, Any]) -> dict[str, Any]:
    shown = dict(document)
    for field in ("data", "stringData"):
        if isinstance(values := shown.get(field), dict):
            shown[field] = dict.fromkeys(values, HIDDEN)
        elif values is not None:
            shown[field] = HIDDEN
    return shown


def _without_keys(value: Any) -> Any:
    match value:
        case dict():
            return {
                name: without_private_members(held, hidden=HIDDEN)
                if name == "jwks" and isinstance(held, str)
                else _without_keys(held)
                for name, held in value.items()
            }
        case list():
            return [_without_keys(item) for item in value]
        case _:
            return value


def _without_note(document: dict[str, Any]) -> dict[str, Any]:
    shown = dict(document)
    metadata = shown.get("metadata")
    if isinstance(metadata, dict) and isinstance(notes := metadata.get("annotations"), dict) and _LAST_APPLIED in notes:
        shown["metadata"] = metadata | {"annotations": notes | {_LAST_APPLIED: HIDDEN}}
    return shown
