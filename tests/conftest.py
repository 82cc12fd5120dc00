"""What all tests share: how hard Hypothesis tries.

`make test` tries each property a few dozen times, so that the unit tests stay quick enough to run on every save.
`HYPOTHESIS_PROFILE=thorough make unit` tries ten times as hard; run it when touching a room that has properties.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("quick", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
