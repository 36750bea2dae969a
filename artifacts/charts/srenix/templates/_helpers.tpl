{{/* A file of files/, where srenix is in the release's namespace. */}}
{{- define "srenix.file" -}}
{{ .root.Files.Get .path | replace "srenix-system" .root.Release.Namespace }}
{{- end }}

{{/* The image's reference. */}}
{{- define "srenix.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* The configuration file: the values over files/config.yaml. */}}
{{- define "srenix.configuration" -}}
{{ mergeOverwrite (include "srenix.file" (dict "root" . "path" "files/config.yaml") | fromYaml) (deepCopy .Values.configuration) | toYaml }}
{{- end }}

{{/* The Secret whose certificate is given to the programs as files, or nothing. */}}
{{- define "srenix.servingSecret" -}}
{{- with .Values.certificates -}}
{{- if eq .mode "certManager" -}}
srenix-apiserver-tls
{{- else if eq .mode "provided" -}}
{{ required "certificates.provided.secretName: name the Secret with the certificate, or choose another certificates.mode" .provided.secretName }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What is the same for the pods of all programs: scheduling. */}}
{{- define "srenix.scheduling" -}}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
{{- range . }}
  - {{ merge (deepCopy .) (dict "labelSelector" (dict "matchLabels" (dict "app.kubernetes.io/name" $.name))) | toYaml | nindent 4 | trim }}
{{- end }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The security contexts that the Pod Security Standard "restricted" asks for. */}}
{{- define "srenix.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}
{{- define "srenix.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end }}

{{/* Who and where a pod is, and what of it is switched off. */}}
{{- define "srenix.environment" -}}
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}

{{/* What the programs that take part in an approval have besides. */}}
{{- define "srenix.tracing" -}}
{{- with .Values.tracing.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{/* The programs beside the API server, which serve metrics and probes and nothing else. */}}
{{- define "srenix.workers" -}}
- srenix-executor
{{- if .Values.advisor.enabled }}
- srenix-advisor
{{- end }}
{{- end }}
