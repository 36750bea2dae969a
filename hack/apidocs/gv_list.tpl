{{- define "gvList" -}}
<!-- Generated from pkg/apis; run make generate. -->
# API

All that srenix serves, stores and is configured with. `kubectl explain` tells the same of the cluster at hand, for example
`kubectl explain proposals.spec` or `kubectl explain approvals.status`. Every kind has `metadata`, as everywhere in Kubernetes.

{{ range . -}}
- {{ markdownRenderGVLink . }}{{ range $i, $kind := .SortedKinds }}{{ if $i }},{{ else }}:{{ end }} [{{ $kind }}](#{{ $kind | lower }}){{ end }}
{{ end }}
{{- range . }}
{{- template "gvDetails" . }}
{{- end }}
{{- end -}}
