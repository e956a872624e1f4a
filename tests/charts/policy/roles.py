"""What the operator may do: exactly the table below, in its own namespace; nobody else may do anything."""

from collections.abc import Iterator

from charts.objects import Object, Objects, title

OPERATOR: dict[tuple[str, str], frozenset[str]] = {
    ("sluice.dev", "recommendermodels"): frozenset({"get", "list", "watch"}),
    ("sluice.dev", "recommendermodels/status"): frozenset({"update"}),
    ("sluice.dev", "indexsnapshots"): frozenset({"list", "create", "delete"}),
    ("sluice.dev", "indexsnapshots/status"): frozenset({"patch"}),
    ("", "configmaps"): frozenset({"get", "create", "update"}),
    ("", "pods"): frozenset({"get", "list", "patch"}),
    ("", "events"): frozenset({"create"}),
    ("apps", "deployments/scale"): frozenset({"get", "patch"}),
}
"""(API group, resource) → verbs: what ``sluice_operator.kubernetes`` asks for, and kopf's watch of the models."""


def rights_are_the_listed_ones(objects: Objects) -> Iterator[str]:
    """The operator's Role gives each verb of the table and no other; a new need enters both at once."""
    wanted = {(*what, verb) for what, verbs in OPERATOR.items() for verb in verbs}
    for role in objects.of("Role"):
        given = set(_rights(role))
        for verdict, rights in (("is not in the table", given - wanted), ("is missing", wanted - given)):
            for group, resource, verb in sorted(rights):
                yield f"{title(role)}: {verb} of {resource}.{group or 'core'} {verdict}"


def rights_end_at_the_namespace(objects: Objects) -> Iterator[str]:
    """No ClusterRoles: an operator watches its own namespace."""
    for found in objects.of("ClusterRole", "ClusterRoleBinding"):
        yield f"{title(found)}: reaches beyond the namespace"


def bindings_lead_to_what_is_there(objects: Objects) -> Iterator[str]:
    """A RoleBinding names a Role and ServiceAccounts of the rendering, in its namespace."""
    for binding in objects.of("RoleBinding"):
        wanted = [(binding["roleRef"]["kind"], binding["roleRef"]["name"])]
        wanted += [(subject["kind"], subject["name"]) for subject in binding["subjects"]]
        for kind, name in wanted:
            if name not in [one["metadata"]["name"] for one in objects.of(kind)]:
                yield f"{title(binding)}: binds {kind}/{name}, which is not there"
        for subject in binding["subjects"]:
            if subject.get("namespace", objects.namespace) != objects.namespace:
                yield f"{title(binding)}: gives rights to namespace {subject['namespace']}"


def _rights(role: Object) -> Iterator[tuple[str, str, str]]:
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield group, resource, verb
