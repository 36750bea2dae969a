{{- define "type_members" -}}
{{- $type := regexReplaceAll "\\[([^]]+)\\]\\(https:[^)]*\\)" (markdownRenderType .Type) "${1}" }}
{{- $type = regexReplaceAll "^object \\(keys:(.*), values:(.*)\\)$" $type "map of ${1} to ${2}" }}
{{- $type = regexReplaceAll "^(.*) array$" $type "list of ${1}" }}
{{- $optional := "" }}
{{- $limits := list }}
{{- range .Validation }}
{{- if hasPrefix "Optional" . }}{{ $optional = ", optional" }}
{{- else if not (hasPrefix "XValidation" .) }}{{ $limits = append $limits (printf "`%s`" .) }}
{{- end }}
{{- end }}
{{- /* The comment of a field begins with the field's name, where it is a sentence. */}}
{{- $doc := .Doc | replace "\n" " " | trim }}
{{- $name := printf "%s " .Name }}
- `{{ .Name }}` ({{ $type }}{{ $optional }}){{ if not (hasPrefix $name $doc) }}:{{ end }} {{ trimPrefix $name $doc }}
{{- if $limits }} {{ join ", " $limits }}.{{ end }}
{{- end -}}
