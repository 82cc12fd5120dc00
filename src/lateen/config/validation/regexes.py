"""Regular expressions as Envoy compiles them: with RE2 itself.

Called by the kinds' rules. Nothing is ever matched, only compiled. One expression that Envoy refuses takes the whole
route configuration with it, so a near relative of RE2 would not do. Source: Istio's limit of 1024 characters; Envoy's
`RegexMatcher`.
"""

from __future__ import annotations

from collections.abc import Iterator

from lateen.config.positions import Path
from lateen.config.violations import Violation

MAX_LENGTH = 1024


def regex(path: Path, pattern: str) -> Iterator[Violation]:
    """A pattern that Envoy will compile."""
    if not pattern:
        yield Violation(path, "a regex must not be empty", "write .* for anything")
    elif len(pattern) > MAX_LENGTH:
        yield Violation(path, f"the regex has {len(pattern)} characters", f"at most {MAX_LENGTH} are allowed")
    elif problem := _compile_problem(pattern):
        hint = "RE2 has no look-around, no backreferences and no possessive repetition"
        yield Violation(path, f"the regex does not compile: {problem}", hint)


def _compile_problem(pattern: str) -> str:
    import re2  # a compiled library that only documents with a regex need

    options = re2.Options()
    options.log_errors = False
    # Envoy refuses what stands for more than a byte (`\x{100}`), as RE2 does in this encoding (observed in 1.40).
    options.encoding = re2.Options.Encoding.LATIN1
    try:
        re2.compile(pattern.encode(), options)
    except re2.error as error:
        (reason,) = error.args
        return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
    return ""
