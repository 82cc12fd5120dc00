"""What all tests share: how hard Hypothesis tries, and a home of their own for what programs keep.

`make test` tries each property a few dozen times, so that the unit tests stay quick enough to run on every save.
`HYPOTHESIS_PROFILE=thorough make unit` tries ten times as hard; run it when touching a room that has properties.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# They fail by chance, or by the machine's speed, and say nothing about what is tested.
_UNHEARD = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("quick", max_examples=25, deadline=None, suppress_health_check=_UNHEARD)
settings.register_profile("thorough", max_examples=250, deadline=None, suppress_health_check=_UNHEARD)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(autouse=True, scope="session")
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test touches the certificate authority of the user who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield
