"""Each rule of the policy passes a world that keeps it, and refuses one that breaks it with words that tell how."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from charts.good import good
from charts.objects import Object, Objects
from charts.policy import RULES


class Broken(NamedTuple):
    """``edit`` breaks ``rule``, whose message holds ``words``."""

    rule: str
    words: str
    edit: Callable[[Objects], object]

    def __str__(self) -> str:
        return f"{self.rule}: {self.words}"


def one(objects: Objects, kind: str, name: str) -> Object:
    (found,) = [one for one in objects.of(kind) if one["metadata"]["name"] == name]
    return found


def deployment(objects: Objects, name: str = "home-faiss") -> Object:
    return one(objects, "Deployment", name)["spec"]


def pod(objects: Objects, name: str = "home-faiss") -> Object:
    return deployment(objects, name)["template"]["spec"]


def main(objects: Objects, name: str = "home-faiss") -> Object:
    return pod(objects, name)["containers"][0]


def job(objects: Objects) -> Object:
    return one(objects, "Job", "shop-prepare")


def without(found: Object, *keys: str) -> None:
    for key in keys:
        del found[key]


def use_volume(objects: Objects, **volume: Object) -> None:
    pod(objects)["volumes"].append({"name": "more", **volume})
    main(objects)["volumeMounts"].append({"name": "more", "mountPath": "/more"})


def lead_ingress_to(objects: Objects, **service: object) -> None:
    path = one(objects, "Ingress", "shop")["spec"]["rules"][0]["http"]["paths"][0]
    path["backend"]["service"] |= service


def role(objects: Objects) -> Object:
    return one(objects, "Role", "shop-operator")["rules"][0]


def policy(objects: Objects, name: str = "home-faiss") -> Object:
    return one(objects, "NetworkPolicy", name)["spec"]


def expression(objects: Objects) -> Object:
    return one(objects, "PrometheusRule", "shop")["spec"]["groups"][0]["rules"][0]


BROKEN = [
    Broken("takes_nothing_of_the_host", "hostNetwork is set", lambda o: pod(o).update(hostNetwork=True)),
    Broken("takes_nothing_of_the_host", "is a hostPath", lambda o: use_volume(o, hostPath={"path": "/"})),
    Broken("takes_nothing_of_the_host", "hostPort", lambda o: main(o)["ports"][0].update(hostPort=80)),
    Broken("runs_as_its_own_user", "runAsUser is 0", lambda o: pod(o)["securityContext"].update(runAsUser=0)),
    Broken(
        "runs_as_its_own_user",
        "runAsNonRoot is None",
        lambda o: without(pod(o)["securityContext"], "runAsNonRoot"),
    ),
    Broken(
        "runs_as_its_own_user",
        "main: runAsGroup is 0",
        lambda o: main(o)["securityContext"].update(runAsGroup=0),
    ),
    Broken(
        "reads_mounted_secrets", "without fsGroup", lambda o: without(pod(o)["securityContext"], "fsGroup")
    ),
    Broken(
        "reads_mounted_secrets",
        "by others",
        lambda o: pod(o)["volumes"][1]["secret"].update(defaultMode=0o444),
    ),
    Broken("gains_no_privilege", "privileged", lambda o: main(o)["securityContext"].update(privileged=True)),
    Broken(
        "gains_no_privilege",
        "Escalation",
        lambda o: without(main(o)["securityContext"], "allowPrivilegeEscalation"),
    ),
    Broken(
        "gains_no_privilege", "not dropped", lambda o: without(main(o)["securityContext"], "capabilities")
    ),
    Broken(
        "gains_no_privilege",
        "are added",
        lambda o: main(o)["securityContext"]["capabilities"].update(add=["CHOWN"]),
    ),
    Broken("gains_no_privilege", "seccomp", lambda o: without(pod(o)["securityContext"], "seccompProfile")),
    Broken(
        "gains_no_privilege", "procMount", lambda o: main(o)["securityContext"].update(procMount="Unmasked")
    ),
    Broken(
        "writes_to_volumes_only",
        "readOnlyRoot",
        lambda o: without(main(o)["securityContext"], "readOnlyRootFilesystem"),
    ),
    Broken("writes_to_volumes_only", "/tmp is no emptyDir", lambda o: main(o)["volumeMounts"].pop(0)),
    Broken(
        "tells_pods_nothing_unasked", "enableServiceLinks", lambda o: without(pod(o), "enableServiceLinks")
    ),
    Broken(
        "tells_pods_nothing_unasked",
        "Token is not false",
        lambda o: pod(o).update(automountServiceAccountToken=True),
    ),
    Broken(
        "tells_pods_nothing_unasked",
        "Token is not true",
        lambda o: without(pod(o, "shop-operator"), "automountServiceAccountToken"),
    ),
    Broken(
        "tells_pods_nothing_unasked",
        "ServiceAccount/home-faiss",
        lambda o: without(one(o, "ServiceAccount", "home-faiss"), "automountServiceAccountToken"),
    ),
    Broken("names_an_image_exactly", "'sluice/faiss'", lambda o: main(o).update(image="sluice/faiss")),
    Broken("names_an_image_exactly", ":latest", lambda o: main(o).update(image="sluice/faiss:latest")),
    Broken("names_an_image_exactly", "host:5000/faiss", lambda o: main(o).update(image="host:5000/faiss")),
    Broken("says_what_it_takes", "limits of cpu", lambda o: without(main(o)["resources"]["limits"], "cpu")),
    Broken(
        "says_what_it_takes", "requests of cpu, memory", lambda o: without(main(o)["resources"], "requests")
    ),
    Broken("shows_its_health", "no startup probe", lambda o: without(main(o), "startupProbe")),
    Broken(
        "shows_its_health",
        "does not declare",
        lambda o: main(o)["livenessProbe"]["httpGet"].update(port="metrics"),
    ),
    Broken(
        "shows_its_health",
        "not /servez",
        lambda o: main(o)["readinessProbe"]["httpGet"].update(path="/healthz"),
    ),
    Broken("stops_in_time", "terminationGrace", lambda o: without(pod(o), "terminationGracePeriodSeconds")),
    Broken("one_shot_jobs_end", "backoffLimit", lambda o: without(job(o)["spec"], "backoffLimit")),
    Broken(
        "controllers_share_no_pods",
        "Deployment/home-faiss: its selector chooses pods of Deployment/home-faiss-canary",
        lambda o: without(deployment(o)["selector"]["matchLabels"], "sluice.dev/track"),
    ),
    Broken(
        "controllers_share_no_pods",
        "misses its own",
        lambda o: deployment(o)["selector"].update(matchLabels={"app": "other"}),
    ),
    Broken(
        "selectors_hold_through_upgrades",
        "helm.sh/chart",
        lambda o: deployment(o)["selector"]["matchLabels"].update({"helm.sh/chart": "faiss-1"}),
    ),
    Broken(
        "services_choose_what_they_are_called_after",
        "Service/home-faiss: chooses Deployment/home-faiss, Deployment/home-faiss-canary",
        lambda o: one(o, "Service", "home-faiss")["spec"].update(selector={"sluice.dev/model": "home"}),
    ),
    Broken(
        "services_choose_what_they_are_called_after",
        "chooses nothing",
        lambda o: one(o, "Service", "home-faiss-pods")["spec"].update(selector={"app": "faiss"}),
    ),
    Broken(
        "services_choose_what_they_are_called_after",
        "leads to port 9999",
        lambda o: one(o, "Service", "home-faiss")["spec"]["ports"][0].update(targetPort=9999),
    ),
    Broken(
        "budgets_match_their_pods",
        "chooses Deployment/home-faiss, Deployment/home-faiss-canary",
        lambda o: one(o, "PodDisruptionBudget", "home-faiss")["spec"]["selector"].update(
            matchLabels={"sluice.dev/model": "home"}
        ),
    ),
    Broken(
        "budgets_match_their_pods",
        "never be drained",
        lambda o: one(o, "PodDisruptionBudget", "home-faiss")["spec"].update(maxUnavailable=0),
    ),
    Broken(
        "autoscalers_have_their_target",
        "which is not there",
        lambda o: one(o, "HorizontalPodAutoscaler", "home-faiss")["spec"]["scaleTargetRef"].update(
            name="faiss"
        ),
    ),
    Broken("autoscalers_have_their_target", "sets replicas", lambda o: deployment(o).update(replicas=2)),
    Broken(
        "autoscalers_have_their_target",
        "after 0 s",
        lambda o: without(one(o, "HorizontalPodAutoscaler", "home-faiss")["spec"], "behavior"),
    ),
    Broken(
        "faiss_leaves_replicas_to_others",
        "Deployment/home-faiss-canary: says replicas",
        lambda o: deployment(o, "home-faiss-canary").update(replicas=0),
    ),
    Broken(
        "pods_spread_among_their_own",
        "Deployment/home-faiss-canary, not its own",
        lambda o: pod(o)["topologySpreadConstraints"][0].update(
            labelSelector={"matchLabels": {"sluice.dev/model": "home"}}
        ),
    ),
    Broken(
        "monitors_find_pods",
        "port metrics",
        lambda o: one(o, "PodMonitor", "shop")["spec"]["podMetricsEndpoints"][0].update(port="metrics"),
    ),
    Broken(
        "monitors_find_pods",
        "port http",
        lambda o: one(o, "PodMonitor", "shop")["spec"].update(selector={"matchLabels": {"app": "api"}}),
    ),
    Broken(
        "monitors_find_pods",
        "no Service",
        lambda o: o.all.append(
            {
                "kind": "ServiceMonitor",
                "metadata": {"name": "shop"},
                "spec": {"selector": {"matchLabels": {"app": "api"}}, "endpoints": [{"port": "http"}]},
            }
        ),
    ),
    Broken(
        "pods_find_what_they_mount",
        "Secret other",
        lambda o: pod(o)["volumes"][1]["secret"].update(secretName="other"),
    ),
    Broken(
        "pods_find_what_they_mount",
        "ConfigMap home-spec",
        lambda o: without(pod(o, "shop-recommender-api")["volumes"][1]["configMap"], "optional"),
    ),
    Broken(
        "pods_find_what_they_mount",
        "PersistentVolumeClaim snapshots",
        lambda o: use_volume(o, persistentVolumeClaim={"claimName": "snapshots"}),
    ),
    Broken(
        "pods_find_what_they_mount",
        "Secret keys",
        lambda o: main(o)["env"].append(
            {"name": "AWS_ACCESS_KEY_ID", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "id"}}}
        ),
    ),
    Broken(
        "pods_find_what_they_mount",
        "Secret pull",
        lambda o: pod(o).update(imagePullSecrets=[{"name": "pull"}]),
    ),
    Broken(
        "pods_run_under_their_own_account",
        "ServiceAccount default",
        lambda o: without(pod(o), "serviceAccountName"),
    ),
    Broken("containers_mount_what_the_pod_has", "over kafka", lambda o: main(o)["volumeMounts"].pop()),
    Broken(
        "containers_mount_what_the_pod_has",
        "at one path",
        lambda o: main(o)["volumeMounts"][1].update(mountPath="/tmp"),
    ),
    Broken(
        "configured_pods_are_replaced",
        "without a checksum",
        lambda o: o.all.append({"kind": "ConfigMap", "metadata": {"name": "home-spec", "labels": {}}}),
    ),
    Broken("backends_are_services_here", "no Service api", lambda o: lead_ingress_to(o, name="api")),
    Broken("backends_are_services_here", "{'number': 81}", lambda o: lead_ingress_to(o, port={"number": 81})),
    Broken(
        "backends_are_services_here",
        "TLS Secret made-up",
        lambda o: one(o, "Ingress", "shop")["spec"]["tls"][0].update(secretName="made-up"),
    ),
    Broken(
        "every_pod_is_closed",
        "Deployment/home-faiss: no NetworkPolicy limits its egress",
        lambda o: policy(o).update(policyTypes=["Ingress"]),
    ),
    Broken(
        "edges_are_the_declared_ones",
        "api → faiss:8081/TCP is declared, but a policy denies it",
        lambda o: policy(o, "shop-recommender-api")["egress"].pop(0),
    ),
    Broken(
        "edges_are_the_declared_ones",
        "prometheus → faiss:8081/TCP is declared, but a policy denies it",
        lambda o: [policy(o, name)["ingress"].pop(1) for name in ("home-faiss", "home-faiss-canary")],
    ),
    Broken(
        "edges_are_the_declared_ones",
        "stranger → faiss:8081/TCP is allowed, but not declared",
        lambda o: without(policy(o)["ingress"][1], "from"),
    ),
    Broken(
        "edges_are_the_declared_ones",
        "api → stranger:any port/TCP is allowed, but not declared",
        lambda o: policy(o, "shop-recommender-api")["egress"].append({}),
    ),
    Broken(
        "edges_are_the_declared_ones",
        "prometheus → faiss:any port/TCP is allowed, but not declared",
        lambda o: without(policy(o)["ingress"][1], "ports"),
    ),
    Broken(
        "rights_are_the_listed_ones",
        "delete of recommendermodels",
        lambda o: role(o)["verbs"].append("delete"),
    ),
    Broken("rights_are_the_listed_ones", "get of *.sluice.dev", lambda o: role(o).update(resources=["*"])),
    Broken(
        "rights_are_the_listed_ones",
        "get of secrets.core",
        lambda o: role(o).update(apiGroups=[""], resources=["secrets"]),
    ),
    Broken(
        "rights_are_the_listed_ones",
        "watch of recommendermodels.sluice.dev is missing",
        lambda o: role(o)["verbs"].remove("watch"),
    ),
    Broken("rights_are_the_listed_ones", "* of recommendermodels", lambda o: role(o).update(verbs=["*"])),
    Broken(
        "rights_end_at_the_namespace",
        "ClusterRole/shop",
        lambda o: o.all.append({"kind": "ClusterRole", "metadata": {"name": "shop"}, "rules": []}),
    ),
    Broken(
        "bindings_lead_to_what_is_there",
        "Role/other, which is not there",
        lambda o: one(o, "RoleBinding", "shop-operator")["roleRef"].update(name="other"),
    ),
    Broken(
        "bindings_lead_to_what_is_there",
        "to namespace other",
        lambda o: one(o, "RoleBinding", "shop-operator")["subjects"][0].update(namespace="other"),
    ),
    Broken(
        "hooks_are_cleared_away",
        "no delete policy",
        lambda o: without(job(o)["metadata"]["annotations"], "helm.sh/hook-delete-policy"),
    ),
    Broken(
        "hooks_need_nothing_later",
        "before ServiceAccount/shop-operator is there",
        lambda o: job(o)["spec"]["template"]["spec"].update(serviceAccountName="shop-operator"),
    ),
    Broken(
        "definitions_are_kept",
        "resource-policy: keep",
        lambda o: without(
            one(o, "CustomResourceDefinition", "recommendermodels.sluice.dev")["metadata"], "annotations"
        ),
    ),
    Broken(
        "definitions_are_the_generated_ones",
        "differs from manifests/crds",
        lambda o: one(o, "CustomResourceDefinition", "recommendermodels.sluice.dev").update(spec={}),
    ),
    Broken(
        "labels_are_standard",
        "lacks helm.sh/chart",
        lambda o: without(one(o, "Ingress", "shop")["metadata"]["labels"], "helm.sh/chart"),
    ),
    Broken(
        "models_are_labelled",
        "sluice.dev/track",
        lambda o: without(one(o, "Deployment", "home-faiss")["metadata"]["labels"], "sluice.dev/track"),
    ),
    Broken(
        "objects_stay_in_the_release",
        "namespace other",
        lambda o: one(o, "Ingress", "shop")["metadata"].update(namespace="other"),
    ),
    Broken("objects_stay_in_the_release", "there twice", lambda o: o.all.append(job(o))),
    Broken(
        "variables_are_settings",
        "SLUICE_WORKER is",
        lambda o: main(o)["env"].append({"name": "SLUICE_WORKER"}),
    ),
    Broken("variables_are_settings", "no process", lambda o: main(o).update(image="busybox:1")),
    Broken("values_are_accepted", "SLUICE_LISTEN_PORT", lambda o: main(o)["env"][1].update(value="http")),
    Broken(
        "paths_are_mounted",
        "SLUICE_CACHE is /var/cache, where",
        lambda o: main(o)["env"][2].update(value="/var/cache"),
    ),
    Broken(
        "paths_are_mounted",
        "SLUICE_CACHE is /tmp/cache, which is read-only",
        lambda o: main(o)["volumeMounts"][0].update(readOnly=True),
    ),
    Broken(
        "processes_listen_where_pods_say",
        "SLUICE_LISTEN_PORT is 8080",
        lambda o: main(o)["env"][1].update(value="8080"),
    ),
    Broken("processes_listen_where_pods_say", "SLUICE_LISTEN_HOST is None", lambda o: main(o)["env"].pop(0)),
    Broken(
        "what_must_be_alone_is", "replicas is 2", lambda o: deployment(o, "shop-operator").update(replicas=2)
    ),
    Broken(
        "what_must_be_alone_is", "not Recreate", lambda o: without(deployment(o, "shop-operator"), "strategy")
    ),
    Broken("variables_are_named_once", "given twice", lambda o: main(o)["env"].append(main(o)["env"][0])),
    Broken(
        "alerts_ask_for_declared_metrics",
        "sluice_request_total",
        lambda o: expression(o).update(expr="rate(sluice_request_total[5m]) > 1"),
    ),
    Broken(
        "alerts_are_about_their_own_namespace",
        "sluice_requests_total of every namespace",
        lambda o: expression(o).update(expr='rate(sluice_requests_total{namespace="other"}[5m]) > 1'),
    ),
    Broken(
        "alerts_are_about_their_own_namespace",
        "up of every namespace",
        lambda o: expression(o).update(expr="absent(up == 1)"),
    ),
]


def test_the_good_world_keeps_every_rule() -> None:
    assert {name: found for name, rule in RULES.items() if (found := list(rule(good())))} == {}


def test_every_rule_has_an_example_that_it_refuses() -> None:
    assert {broken.rule for broken in BROKEN} == set(RULES)


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_what_breaks_a_rule_is_refused_by_name(broken: Broken) -> None:
    world = good()
    broken.edit(world)
    told = list(RULES[broken.rule](world))
    assert any(broken.words in message for message in told), told


def test_ids_are_refused_where_the_cluster_chooses_them() -> None:
    world = good()._replace(values={"global": {"podSecurity": {"fixedIds": False}}})
    assert any("runAsUser is 10001, not None" in told for told in RULES["runs_as_its_own_user"](world))
    assert any("without fsGroup None" in told for told in RULES["reads_mounted_secrets"](world))
