"""Rules that every rendering keeps. A rule takes the objects and yields one sentence for each that breaks it."""

from collections.abc import Callable, Iterator
from inspect import getmembers, isfunction

from charts.objects import Objects
from charts.policy import (
    alerts,
    containers,
    environment,
    lifecycle,
    network,
    references,
    restricted,
    roles,
    selectors,
)

Rule = Callable[[Objects], Iterator[str]]

_MODULES = (restricted, containers, selectors, references, network, roles, lifecycle, environment, alerts)
RULES: dict[str, Rule] = {
    name: rule
    for module in _MODULES
    for name, rule in getmembers(module, isfunction)
    if rule.__module__ == module.__name__
    and not name.startswith("_")
    and rule.__annotations__["return"] == Iterator[str]
}
"""Every public function of the modules that takes objects and tells problems."""


def problems(objects: Objects) -> list[str]:
    """Return what every rule has to say, each sentence with the rule's name."""
    return [f"{name}: {told}" for name, rule in RULES.items() for told in rule(objects)]
