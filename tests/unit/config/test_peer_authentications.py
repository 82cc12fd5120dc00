"""What is wrong with a PeerAuthentication: the paths of errors and warnings, as Istio has them."""

from __future__ import annotations

import pytest

from lateen.config.parsing import parse
from lateen.model.findings import Severity

SELECTOR = "selector: {matchLabels: {app: a}}"


@pytest.mark.parametrize(
    ("spec", "errors", "warnings"),
    [
        ("{}", [], []),
        ("{mtls: {mode: STRICT}}", [], []),
        ("{mtls: {mode: strict}}", ["mtls.mode"], []),
        (f"{{{SELECTOR}, mtls: {{mode: UNSET}}, portLevelMtls: {{8080: {{mode: DISABLE}}, '90': {{}}}}}}", [], []),
        ("{portLevelMtls: {8080: {mode: DISABLE}}}", ["portLevelMtls"], []),
        ("{selector: {}, portLevelMtls: {8080: {mode: DISABLE}}}", ["portLevelMtls"], ["selector"]),
        (f"{{{SELECTOR}, portLevelMtls: {{0: {{}}, 65535: {{}}}}}}", ["portLevelMtls.0"], []),
        (
            f"{{{SELECTOR}, portLevelMtls: {{http: {{}}, '080': {{}}, 65536: {{}}, -1: {{}}, '': {{}}}}}}",
            [*(f"portLevelMtls.{key}" for key in ("http", "080", "65536", "-1")), "portLevelMtls[]"],
            [],
        ),
        ("{selector: {}}", [], ["selector"]),
        ("{selector: {matchLabels: {app: 'a*'}}}", ["selector.matchLabels.app"], []),
    ],
)
def test_peer_authentications(spec: str, errors: list[str], warnings: list[str]) -> None:
    text = f"apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: a}}\nspec: {spec}\n"
    found = parse(text.encode(), "f").findings

    paths = {
        severity: [one.path.removeprefix("spec.") for one in found if one.severity is severity]
        for severity in (Severity.ERROR, Severity.WARNING)
    }
    assert paths == {Severity.ERROR: errors, Severity.WARNING: warnings}
