"""A violation: one rule broken at one field, before file and line are known.

Made by `config.decoding` and `config.validation`; `config.parsing` adds the place and makes a finding of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from lateen.config.codes import SCHEMA_VALIDATION, SCHEMA_WARNING, Code
from lateen.config.positions import Path


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule."""

    path: Path
    """From the root of the object's spec."""
    message: str
    """What is wrong."""
    hint: str = ""
    """What to write instead."""
    code: Code = SCHEMA_VALIDATION

    @property
    def text(self) -> str:
        """Message and hint in one sentence."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


def warning(path: Path, message: str, hint: str = "") -> Violation:
    """Return a violation that Istio too only warns of."""
    return Violation(path, message, hint, SCHEMA_WARNING)
