{{- define "type" -}}
{{- if markdownShouldRenderType . }}
### {{ .Name }}

{{ .Doc | trim }}
{{- if .References }} Used in{{ range $i, $in := .SortedReferences }}{{ if $i }},{{ end }} {{ markdownRenderTypeLink $in }}{{ end }}.{{ end }}
{{ range .Members }}
{{- if ne .Name "metadata" }}
{{- template "type_members" . }}
{{- end }}
{{- end }}
{{- /* The comment of a constant begins with the constant's name. */}}
{{- range .EnumValues }}
- {{ regexReplaceAll "^[^ ]+" .Doc (printf "`%s`" .Name) | replace "\n" " " | trim }}
{{- end }}
{{ end -}}
{{- end -}}
