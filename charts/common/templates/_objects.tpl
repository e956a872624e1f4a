{{/* What stands around a component's pods: each only where the component has values for it. */}}

{{- define "sluice.serviceAccount" -}}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "sluice.metadata" . | nindent 2 }}
  {{- with .values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}

{{/* .headless is the Service's own name then, one without an address: every ready pod is one. */}}
{{- define "sluice.service" -}}
---
apiVersion: v1
kind: Service
metadata:
  {{- include "sluice.metadata" (merge (dict "name" (.headless | default .service | default .name)) .) | nindent 2 }}
spec:
  {{- if .headless }}
  clusterIP: None
  {{- end }}
  selector:
    {{- include "sluice.selectorLabels" . | nindent 4 }}
  ports:
  - {name: {{ .port.name }}, port: {{ .port.number }}, targetPort: {{ .port.name }}}
{{- end -}}

{{- define "sluice.disruptionBudget" -}}
{{- if .values.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "sluice.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .values.podDisruptionBudget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "sluice.selectorLabels" . | nindent 6 }}
{{- end }}
{{- end -}}

{{/*
Up at once, down slowly: a pod that comes back must load its snapshots first. Without autoscaling, a component that says
how many pods it has (.values.replicas) gets bounds of that number: `replicas` in its Deployment would be taken away when
autoscaling is switched on, which leaves one pod, and put back by every upgrade.
*/}}
{{- define "sluice.autoscaler" -}}
{{- $c := . -}}
{{- $bounds := dict -}}
{{- with .values.autoscaling -}}
{{- if .enabled -}}
{{- $bounds = dict "min" .minReplicas "max" .maxReplicas -}}
{{- include "sluice.reachableTarget" $c -}}
{{- else if $c.values.replicas -}}
{{- $bounds = dict "min" $c.values.replicas "max" $c.values.replicas -}}
{{- end -}}
{{- end -}}
{{- if $bounds }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "sluice.metadata" . | nindent 2 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ .name | quote }}}
  minReplicas: {{ $bounds.min }}
  maxReplicas: {{ $bounds.max }}
  metrics:
  - type: Resource
    resource:
      name: cpu
      target: {type: Utilization, averageUtilization: {{ .values.autoscaling.targetCPUUtilizationPercentage }}}
  behavior:
    scaleUp:
      stabilizationWindowSeconds: 0
      policies:
      - {type: Percent, value: 100, periodSeconds: 30}
      - {type: Pods, value: 2, periodSeconds: 30}
    scaleDown:
      stabilizationWindowSeconds: {{ .values.autoscaling.scaleDownAfterSeconds }}
      policies:
      - {type: Pods, value: 1, periodSeconds: 120}
{{- end }}
{{- end -}}

{{/* Refuses a target that the CPU limit keeps pods from ever reaching. Kubernetes takes the limit for a missing request. */}}
{{- define "sluice.reachableTarget" -}}
{{- $target := .values.autoscaling.targetCPUUtilizationPercentage -}}
{{- $limit := dig "limits" "cpu" "" .values.resources -}}
{{- $request := dig "requests" "cpu" "" .values.resources | default $limit -}}
{{- if not $request -}}
{{- fail (printf "%s: autoscaling measures CPU in percent of resources.requests.cpu, which is not given" .name) -}}
{{- end -}}
{{- if $limit -}}
{{- $aimed := divf (mulf $target (include "sluice.milliCPU" $request)) 100 -}}
{{- if ge $aimed (include "sluice.milliCPU" $limit | float64) -}}
{{- fail (printf "%s: autoscaling never adds a pod: it aims at %v %% of the requested CPU %v, and the limit is %v. Lower autoscaling.targetCPUUtilizationPercentage, or raise resources.limits.cpu" .name $target $request $limit) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A quantity of CPU in thousandths: of "250m" 250, of 2 or "2" 2000. */}}
{{- define "sluice.milliCPU" -}}
{{- $quantity := toString . -}}
{{- if hasSuffix "m" $quantity -}}
{{ trimSuffix "m" $quantity }}
{{- else -}}
{{ mulf $quantity 1000 }}
{{- end -}}
{{- end -}}

{{- define "sluice.podMonitor" -}}
{{- with .root.Values.global.metrics.podMonitor }}
{{- if .enabled }}
---
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  {{- include "sluice.metadata" $ | nindent 2 }}
    {{- with .labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  jobLabel: app.kubernetes.io/component
  selector:
    matchLabels:
      {{- include "sluice.selectorLabels" $ | nindent 6 }}
  podMetricsEndpoints:
  - {port: {{ $.port.name }}, path: /metrics, interval: {{ .interval | quote }}}
{{- end }}
{{- end }}
{{- end -}}

{{/*
Alert rules of the chart, in which $NAMESPACE is the release's. Takes a list: the component, its rules as YAML, which are no
template, as alerts have braces of their own.
*/}}
{{- define "sluice.prometheusRule" -}}
{{- $c := first . -}}
{{- with $c.root.Values.global.metrics.prometheusRule }}
{{- if .enabled }}
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  {{- include "sluice.metadata" $c | nindent 2 }}
    {{- with .labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  groups:
  - name: {{ $c.name | quote }}
    rules:
      {{- last $ | replace "$NAMESPACE" $c.root.Release.Namespace | nindent 6 }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
The pod of `helm test` and its NetworkPolicy. The pod asks each of .urls whether it is ready, for a minute. It runs the
chart's image, where .values let pods run.
*/}}
{{- define "sluice.test" -}}
{{- $values := pick .values "priorityClassName" "nodeSelector" "tolerations" -}}
{{- $test := dict "root" .root "component" "test" "name" (printf "%s-test" .name) "model" .model "values" $values -}}
{{- include "sluice.networkPolicy" $test }}
---
apiVersion: v1
kind: Pod
metadata:
  {{- include "sluice.metadata" $test | nindent 2 }}
  annotations:
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  restartPolicy: Never
  {{- include "sluice.podBase" $test | nindent 2 }}
  {{- with include "sluice.scheduling" $test | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  containers:
  - name: test
    image: {{ include "sluice.image" . }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    command:
    - /opt/sluice/bin/python
    - -c
    - |
      import sys, time, urllib.request
      deadline = time.monotonic() + 60
      for url in sys.argv[1:]:
          while True:
              try:
                  print(url, urllib.request.urlopen(url, timeout=5).status)
                  break
              except OSError as error:
                  if time.monotonic() > deadline:
                      sys.exit(f"{url}: {error}")
                  time.sleep(1)
    {{- range .urls }}
    - {{ . }}
    {{- end }}
    resources:
      requests: {cpu: 10m, memory: 32Mi}
      limits: {cpu: 500m, memory: 128Mi}
    securityContext:
      {{- include "sluice.containerSecurityContext" . | nindent 6 }}
    volumeMounts:
    - {name: tmp, mountPath: /tmp}
  volumes:
  - name: tmp
    emptyDir: {sizeLimit: 16Mi}
{{- end -}}

{{/* Spec of a claim; takes its values: accessModes, size, storageClass. */}}
{{- define "sluice.claimSpec" -}}
accessModes: {{ toJson .accessModes }}
{{- with .storageClass }}
storageClassName: {{ eq . "-" | ternary "" . | quote }}
{{- end }}
resources:
  requests: {storage: {{ .size | quote }}}
{{- end -}}
