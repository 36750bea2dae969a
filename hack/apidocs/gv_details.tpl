{{- define "gvDetails" }}
## {{ .GroupVersionString }}

{{ regexReplaceAll "^Package [^ ]+" (trim .Doc) (printf "`%s`" .GroupVersionString) }}
{{ $gv := . }}
{{- range .SortedKinds }}
{{- template "type" $gv.TypeForKind . }}
{{- end }}
{{- range .SortedTypes }}
{{- if not .GVK }}
{{- template "type" . }}
{{- end }}
{{- end }}
{{- end -}}
