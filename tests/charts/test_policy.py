"""Every rendering keeps every rule of :mod:`charts.policy`; that each rule can refuse, ``test_rules.py`` proves."""

import pytest

from charts.policy import problems
from charts.rendering import Helm, Scenario, scenarios


@pytest.mark.parametrize("scenario", scenarios(), ids=str)
def test_renderings_keep_the_rules(helm: Helm, scenario: Scenario) -> None:
    told = problems(helm.render(scenario))
    assert not told, "\n".join(told)
