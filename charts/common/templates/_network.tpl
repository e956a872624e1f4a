{{/*
The component's NetworkPolicy, made of the edges that lead to it and away from it. As a policy selects the pods,
whatever is no edge is denied. Components are found by their labels in this namespace, whichever release made them.
*/}}
{{- define "sluice.networkPolicy" -}}
{{- if .root.Values.global.networkPolicy.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "sluice.metadata" . | nindent 2 }}
  {{- with .hook }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  podSelector:
    matchLabels:
      {{- include "sluice.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    {{- include "sluice.ingressRules" . | fromYamlArray | default list | toYaml | nindent 4 }}
  egress:
    {{- include "sluice.egressRules" . | fromYamlArray | default list | toYaml | nindent 4 }}
{{- end }}
{{- end -}}

{{- define "sluice.edges" -}}
{{ (.root.Files.Get "edges.yaml" | fromYaml).edges | toJson }}
{{- end -}}

{{- define "sluice.ingressRules" -}}
{{- $c := . -}}
{{- range include "sluice.edges" . | fromJsonArray }}
{{- if eq .to $c.component }}
- ports:
  - {protocol: TCP, port: {{ .port }}}
  {{- with include "sluice.peers" (list .from $c) | fromYamlArray }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- with .values.networkPolicy }}
{{- with .extraIngress }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "sluice.egressRules" -}}
{{- $c := . -}}
{{- range include "sluice.edges" . | fromJsonArray }}
{{- if and (eq .from $c.component) (or (ne .to "s3") $c.root.Values.global.store.s3.url) }}
- ports:
  {{- include "sluice.edgePorts" (list . $c) | nindent 2 }}
  {{- with include "sluice.peers" (list .to $c) | fromYamlArray }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- with .values.networkPolicy }}
{{- with .extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Selectors of one end of an edge; an empty list is anywhere. Takes a list: that end's name, the component. */}}
{{- define "sluice.peers" -}}
{{- with get (last .).root.Values.global.networkPolicy.peers (first .) -}}
{{ toYaml .selectors }}
{{- else -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/part-of: sluice
      app.kubernetes.io/component: {{ first . }}
{{- end -}}
{{- end -}}

{{/*
Ports an edge leads to: the component's, or the peer's, those in addresses of the values among them; an S3 server's whose
address names none is that of its scheme. Takes a list: the edge, the component.
*/}}
{{- define "sluice.edgePorts" -}}
{{- $edge := first . -}}
{{- $global := (last .).root.Values.global -}}
{{- if $edge.port }}
- {protocol: TCP, port: {{ $edge.port }}}
{{- else }}
{{- $ports := (get $global.networkPolicy.peers $edge.to).ports }}
{{- $addresses := dict "kafka" $global.kafka.brokers "mongo" $global.mongo.url "redis" $global.redis.url
  "s3" $global.store.s3.endpoint }}
{{- range regexFindAll ":[0-9]+([,/?]|$)" (get $addresses $edge.to) -1 }}
{{- $ports = append $ports (regexFind "[0-9]+" . | float64) }}
{{- end }}
{{- if and (eq $edge.to "s3") (not (regexMatch ":[0-9]+([,/?]|$)" $global.store.s3.endpoint)) }}
{{- range $scheme, $port := dict "http" 80 "https" 443 }}
{{- if hasPrefix (printf "%s://" $scheme) $global.store.s3.endpoint }}
{{- $ports = append $ports (float64 $port) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $ports | uniq }}
- {protocol: TCP, port: {{ int . }}}
{{- if eq $edge.to "dns" }}
- {protocol: UDP, port: {{ int . }}}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
