"""What Envoy's code refuses besides, when it loads a message: one table, by the message's name.

Called by `checking` and `compiling`. Each rule was tried with Envoy 1.40 (tests/e2e/test_constraints.py): a rule that
Envoy does not have would be worse than none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from lateen.envoy.constraints.clusters import CLUSTER_RULES
from lateen.envoy.constraints.listeners import LISTENER_RULES
from lateen.envoy.constraints.routes import ROUTE_RULES
from lateen.envoy.constraints.tls import TLS_RULES
from lateen.envoy.constraints.values import VALUE_RULES
from lateen.envoy.constraints.violations import Violation
from lateen.envoy.messages import Message

Rule: TypeAlias = Callable[[Message], Iterable[Violation]]

LOADED: Mapping[str, tuple[Rule, ...]] = {
    **VALUE_RULES,
    **ROUTE_RULES,
    **LISTENER_RULES,
    **CLUSTER_RULES,
    **TLS_RULES,
}
