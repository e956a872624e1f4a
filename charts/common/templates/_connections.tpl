{{/*
How a component reaches Kafka, MongoDB, Redis and the snapshots. Passwords come as files of existing Secrets, which are
read again when they change; keys of S3 as variables, as every S3 client takes them. A component's own Secret
(values.credentials) wins over the global one.
*/}}

{{/* Name of the Secret for one of kafka, mongo, redis, s3; empty = none. Takes a list: that word, the component. */}}
{{- define "sluice.secretName" -}}
{{- $what := first . -}}
{{- $values := (last .).values -}}
{{- $global := (last .).root.Values.global -}}
{{- $shared := eq $what "s3" | ternary $global.store.s3 (get $global $what) -}}
{{- get $values.credentials $what | default $shared.existingSecret -}}
{{- end -}}

{{- define "sluice.connectionEnv" -}}
{{- $c := . -}}
{{- $global := .root.Values.global -}}
{{- if has "kafka" .uses }}
- name: SLUICE_KAFKA
  value: {{ required "global.kafka.brokers is empty: name your Kafka brokers, host:port,host:port" $global.kafka.brokers | quote }}
{{- if include "sluice.secretName" (list "kafka" $c) }}
- {name: SLUICE_KAFKA_PROPERTIES_FILE, value: /etc/sluice/secrets/kafka/{{ $global.kafka.key }}}
{{- end }}
{{- end }}
{{- range $what := list "mongo" "redis" }}
{{- if has $what $c.uses }}
{{- $shared := get $global $what }}
{{- if include "sluice.secretName" (list $what $c) }}
- {name: SLUICE_{{ upper $what }}_URL_FILE, value: /etc/sluice/secrets/{{ $what }}/{{ $shared.key }}}
{{- else }}
- name: SLUICE_{{ upper $what }}_URL
  value: {{ required (printf "global.%s.existingSecret is empty: name a Secret whose key %s holds the URL" $what $shared.key) $shared.url | quote }}
{{- end }}
{{- if eq $what "mongo" }}
- {name: SLUICE_MONGO_DATABASE, value: {{ $shared.database | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- if has "store" .uses }}
{{- with $global.store.s3 }}
- name: SLUICE_STORE
  value: {{ .url | default "/var/lib/sluice-snapshots" | quote }}
{{- if .url }}
{{- with .endpoint }}
- {name: AWS_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
{{- with .region }}
- {name: AWS_DEFAULT_REGION, value: {{ . | quote }}}
{{- end }}
{{- with include "sluice.secretName" (list "s3" $c) }}
{{- $secret := . }}
{{- range $key := list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ $key }}
  valueFrom: {secretKeyRef: {name: {{ $secret | quote }}, key: {{ $key }}}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "sluice.connectionMounts" -}}
{{- $c := . -}}
{{- range $what := list "kafka" "mongo" "redis" }}
{{- if and (has $what $c.uses) (include "sluice.secretName" (list $what $c)) }}
- {name: {{ $what }}, mountPath: /etc/sluice/secrets/{{ $what }}, readOnly: true}
{{- end }}
{{- end }}
{{- if and (has "store" .uses) (not .root.Values.global.store.s3.url) }}
- {name: snapshots, mountPath: /var/lib/sluice-snapshots, readOnly: {{ not .writes }}}
{{- end }}
{{- end -}}

{{- define "sluice.connectionVolumes" -}}
{{- $c := . -}}
{{- range $what := list "kafka" "mongo" "redis" }}
{{- if has $what $c.uses }}
{{- with include "sluice.secretName" (list $what $c) }}
- name: {{ $what }}
  secret: {secretName: {{ . | quote }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- end }}
{{- if and (has "store" .uses) (not .root.Values.global.store.s3.url) }}
- name: snapshots
  persistentVolumeClaim:
    claimName: {{ .root.Values.global.store.claim.existingClaim | default "sluice-snapshots" | quote }}
{{- end }}
{{- end -}}
