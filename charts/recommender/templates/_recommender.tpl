{{/* Names of the models served, as JSON. */}}
{{- define "recommender.models" -}}
{{ .Values.models | default (list .Values.global.model.name) | toJson }}
{{- end -}}

{{/* Where the models' files lie, comma separated. */}}
{{- define "recommender.modelFiles" -}}
{{- range $index, $model := include "recommender.models" . | fromJsonArray -}}
{{ if $index }},{{ end }}/etc/sluice/models/{{ $model }}/model.yaml
{{- end -}}
{{- end -}}

{{/* Where the pods of a track answer, for each model. Takes a list: the context, what follows a model's name. */}}
{{- define "recommender.urls" -}}
{{- $namespace := (first .).Release.Namespace -}}
{{- $service := last . -}}
{{- range $index, $model := include "recommender.models" (first .) | fromJsonArray -}}
{{ if $index }};{{ end }}{{ $namespace }}.{{ $model }}=dns+http://{{ $model }}-{{ $service }}:8081
{{- end -}}
{{- end -}}

{{/* Variables, volumes and mounts of both components: the models they follow. */}}
{{- define "recommender.following" -}}
env:
- {name: SLUICE_MODEL_FILE, value: {{ include "recommender.modelFiles" . | quote }}}
- {name: SLUICE_FOLLOW_MODEL, value: "true"}
{{- with .Values.experiment }}
- {name: SLUICE_EXPERIMENT, value: {{ . | quote }}}
{{- end }}
volumes:
- {name: home, emptyDir: {sizeLimit: 2Gi}}
{{- range $index, $model := include "recommender.models" . | fromJsonArray }}
- {name: model-{{ $index }}, configMap: {name: {{ $model }}-spec, optional: true}}
{{- end }}
mounts:
- {name: home, mountPath: /var/lib/sluice}
{{- range $index, $model := include "recommender.models" . | fromJsonArray }}
- {name: model-{{ $index }}, mountPath: /etc/sluice/models/{{ $model }}, readOnly: true}
{{- end }}
{{- end -}}
