{{/*
Every template here but the first two takes a component: a dict of
  root       the chart's own context ($)
  component  its name in edges.yaml and in the label app.kubernetes.io/component
  name       the name of its objects
  values     its values
  port       name and number of the port that answers /healthz and /readyz, dict "name" "number"
  ready      path that tells whether requests may come, where it is not /readyz
and where they apply
  model, track   values of the labels sluice.dev/model and sluice.dev/track
*/}}

{{/* The release's name, with the chart's behind it unless it holds that already. */}}
{{- define "sluice.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" (.Release.Name | trunc 28 | trimSuffix "-") .Chart.Name -}}
{{- end -}}
{{- end -}}

{{/* <namespace>.<name> of the model. */}}
{{- define "sluice.modelKey" -}}
{{ .Release.Namespace }}.{{ .Values.global.model.name }}
{{- end -}}

{{/* What selects the component's pods and no others, for good: selectors cannot be changed. */}}
{{- define "sluice.selectorLabels" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- with .model }}
sluice.dev/model: {{ . | quote }}
{{- end }}
{{- with .track }}
sluice.dev/track: {{ . }}
{{- end }}
{{- end -}}

{{- define "sluice.labels" -}}
{{ include "sluice.selectorLabels" . }}
app.kubernetes.io/part-of: sluice
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "sluice.metadata" -}}
name: {{ .name | quote }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "sluice.labels" . | nindent 2 }}
{{- end -}}

{{/* A digest wins over a tag; without either, the tag is the chart's appVersion. */}}
{{- define "sluice.image" -}}
{{- $image := .root.Values.image -}}
{{- $repository := $image.repository -}}
{{- with .root.Values.global.imageRegistry -}}
{{- $repository = printf "%s/%s" . $repository -}}
{{- end -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}
