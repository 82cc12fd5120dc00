"""Findings that are accepted: by the object's annotation, or by a rule."""

import pytest

from analysis_cases import codes, document
from lateen.analysis.suppression import Suppression, without_suppressed
from lateen.model.findings import Finding, Severity


@pytest.mark.parametrize(
    ("annotation", "said"),
    [("IST0174", False), ("IST0101,IST0174", False), ("IST0101, IST0174", False), ("*", False), ("IST0101", True)],
)
def test_the_annotation_suppresses_codes_of_its_object_alone(annotation: str, *, said: bool) -> None:
    """Istio's annotation, with its list of codes."""
    extra = f", annotations: {{galley.istio.io/analyze-suppress: '{annotation}'}}"
    one = document("DestinationRule", "a", "{host: nobody}", extra=extra)
    other = document("DestinationRule", "b", "{host: nobody}")
    expected = [f"IST0174 DestinationRule/{name} spec.host" for name in ("a", "b") if said or name == "b"]
    assert codes(one, other) == expected


FINDING = Finding(
    code="IST0101", severity=Severity.ERROR, message="m", kind="VirtualService", namespace="default", name="reviews"
)


@pytest.mark.parametrize(
    ("rule", "covers"),
    [
        ("IST0101=VirtualService reviews.default", True),
        ("ist0101=VirtualService *.default", True),
        ("*=* *", True),
        ("IST0102=VirtualService reviews.default", False),
        ("IST0101=DestinationRule reviews.default", False),
        ("IST0101=VirtualService reviews.other", False),
    ],
)
def test_rules_cover_a_code_of_an_object(rule: str, *, covers: bool) -> None:
    """The form is istioctl's."""
    assert without_suppressed([FINDING], [Suppression.parse(rule)]) == (() if covers else (FINDING,))


@pytest.mark.parametrize("text", ["", "IST0101", "IST0101=VirtualService", "=VirtualService a.b", "IST0101=a b c"])
def test_other_forms_are_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="is not of the form CODE=KIND"):
        Suppression.parse(text)
