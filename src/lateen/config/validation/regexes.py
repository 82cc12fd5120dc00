"""Regular expressions in RE2's syntax, as Envoy compiles them.

Called by the kinds' rules. There is no RE2 here; Python's `re` is a near superset, so a pattern is refused when it uses
what RE2 is known to lack, or when `re` refuses its translation. Nothing is ever matched, only compiled. Source: RE2's
syntax page; Istio's limit of 1024 characters.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator

from lateen.config.positions import Path
from lateen.config.violations import Violation

MAX_LENGTH = 1024
_MAX_REPEAT = 1000
"""RE2 refuses larger counts."""

_ESCAPE = re.compile(r"\\[^1-9]", re.DOTALL)
_CLASS = re.compile(r"\[\^?\]?[^\]]*\]")
_NOT_RE2 = re.compile(r"\(\?(?:=|!|<=|<!|>|P=|P>|\(|#)|\\[1-9]|[*+?}]\+|\*\*")
"""Look-around, atomic groups, backreferences, conditions, comments, possessive repetition."""
_COUNT = re.compile(r"\{(\d{1,9})(?:,(\d{0,9}))?\}")
_TRANSLATIONS = (
    (re.compile(r"\[:\^?[a-z]+:\]"), "a-z"),
    (re.compile(r"\\[pP](?:\{\^?[A-Za-z_]+\}|[A-Z])"), r"\\w"),
    (re.compile(r"\\x\{[0-9A-Fa-f]{1,6}\}"), "x"),
    (re.compile(r"\\z"), r"\\Z"),
    (re.compile(r"\(\?<(?![=!])"), "(?P<"),
    (re.compile(r"\(\?[imsU]*(?:-[imsU]+)?\)"), ""),
    (re.compile(r"\(\?[imsU]*(?:-[imsU]+)?:"), "(?:"),
)
"""What RE2 writes differently, replaced by something of the same grammatical place."""


def regex(path: Path, pattern: str) -> Iterator[Violation]:
    """A pattern that Envoy will compile."""
    if not pattern:
        yield Violation(path, "a regex must not be empty", "write .* for anything")
        return
    if len(pattern) > MAX_LENGTH:
        yield Violation(path, f"the regex has {len(pattern)} characters", f"at most {MAX_LENGTH} are allowed")
        return
    bare = _CLASS.sub("_", _ESCAPE.sub("__", pattern))
    if found := _NOT_RE2.search(bare):
        hint = "RE2 has no look-around, no backreferences and no possessive repetition"
        yield Violation(path, f"the regex uses {found[0]!r}, which RE2 does not know", hint)
    elif any(int(number) > _MAX_REPEAT for match in _COUNT.finditer(bare) for number in match.groups() if number):
        yield Violation(path, f"the regex repeats more than {_MAX_REPEAT} times, which RE2 refuses")
    elif problem := _compile_problem(pattern):
        yield Violation(path, f"the regex does not compile: {problem}", "write it in RE2's syntax")


def _compile_problem(pattern: str) -> str:
    for sought, replacement in _TRANSLATIONS:
        pattern = sought.sub(replacement, pattern)
    try:
        with warnings.catch_warnings():
            # Python warns of sets that a later version may read differently; RE2 will not.
            warnings.simplefilter("ignore", FutureWarning)
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return str(error)
    return ""
