{{/*
A pod and its one container, by the Pod Security Standard `restricted`. Beside what _names.tpl lists, the component has
  args      arguments of the image's entry point
  uses      what it is connected with: kafka, mongo, redis, store
  env       list of its own variables
  volumes, mounts   lists of its own volumes and their mounts
and where they apply
  drain     seconds between the order to end and SIGTERM, in which callers forget the pod
  grace     seconds between SIGTERM and SIGKILL
  token     true if the pod talks to the API server
  resources instead of those in its values
*/}}

{{/* Metadata of the pods: without the chart's version, so that a new chart alone restarts nothing. */}}
{{- define "sluice.podMetadata" -}}
labels:
  {{- include "sluice.selectorLabels" . | nindent 2 }}
  app.kubernetes.io/part-of: sluice
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "sluice.podSecurityContext" -}}
runAsNonRoot: true
{{- if .root.Values.global.podSecurity.fixedIds }}
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "sluice.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where the pods run. */}}
{{- define "sluice.scheduling" -}}
{{- $selector := include "sluice.selectorLabels" . | fromYaml -}}
{{- with .values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{ toYaml (merge (dict) . (dict "labelSelector" (dict "matchLabels" $selector))) | nindent 4 | trim }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* The parts of a pod's spec that every pod has, Jobs and tests too. */}}
{{- define "sluice.podBase" -}}
automountServiceAccountToken: {{ .token | default false }}
enableServiceLinks: false
{{- with .root.Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "sluice.podSecurityContext" . | nindent 2 }}
{{- end -}}

{{- define "sluice.podSpec" -}}
{{- $drain := .drain | default 0 -}}
{{- if not .hook }}
serviceAccountName: {{ .name | quote }}
{{- end }}
{{ include "sluice.podBase" . }}
terminationGracePeriodSeconds: {{ add $drain (.grace | default 30) }}
{{- with include "sluice.scheduling" . | trim }}
{{ . }}
{{- end }}
containers:
- name: {{ .component }}
  image: {{ include "sluice.image" . }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  {{- with .args }}
  args: {{ toJson . }}
  {{- end }}
  env:
    {{- include "sluice.env" . | nindent 4 }}
  {{- with .port }}
  ports:
  - name: {{ .name }}
    containerPort: {{ .number }}
  startupProbe:
    httpGet: {path: /healthz, port: {{ .name }}}
    {{- toYaml $.values.startupProbe | nindent 4 }}
  livenessProbe:
    httpGet: {path: /healthz, port: {{ .name }}}
    {{- toYaml $.values.livenessProbe | nindent 4 }}
  readinessProbe:
    httpGet: {path: {{ $.ready | default "/readyz" }}, port: {{ .name }}}
    {{- toYaml $.values.readinessProbe | nindent 4 }}
  {{- end }}
  {{- if $drain }}
  lifecycle:
    preStop:
      sleep: {seconds: {{ $drain }}}
  {{- end }}
  resources:
    {{- toYaml (.resources | default .values.resources) | nindent 4 }}
  securityContext:
    {{- include "sluice.containerSecurityContext" . | nindent 4 }}
  volumeMounts:
    {{- include "sluice.mounts" . | nindent 4 }}
volumes:
  {{- include "sluice.volumes" . | nindent 2 }}
{{- end -}}

{{/* Environment: what all have, what the connections need, the component's own, the user's. */}}
{{- define "sluice.env" -}}
- {name: SLUICE_HOME, value: /var/lib/sluice}
- {name: SLUICE_LOG_LEVEL, value: {{ .root.Values.global.logLevel }}}
{{- with include "sluice.connectionEnv" . | trim }}
{{ . }}
{{- end }}
{{- range .env }}
- {{ toYaml . | nindent 2 | trim }}
{{- end }}
{{- with .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sluice.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- with include "sluice.connectionMounts" . | trim }}
{{ . }}
{{- end }}
{{- with .mounts }}
{{ toYaml . }}
{{- end }}
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sluice.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- with include "sluice.connectionVolumes" . | trim }}
{{ . }}
{{- end }}
{{- with .volumes }}
{{ toYaml . }}
{{- end }}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
