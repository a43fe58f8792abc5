{{- define "name" -}}
gardener-extension-{{ .Values.config.type | default "audit" }}{{ if .Values.gardener.runtimeCluster.enabled }}-runtime{{ end }}
{{- end }}

{{- define "selector" -}}
app.kubernetes.io/name: {{ include "name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "config" -}}
{{- $class := ternary "garden" "shoot" .Values.gardener.runtimeCluster.enabled -}}
{{- toYaml (mergeOverwrite (dict "apiVersion" "auditsink.extensions.config.gardener.cloud/v1alpha1" "kind" "ControllerConfiguration" "image" (include "image" .) "class" $class) (deepCopy .Values.config)) -}}
{{- end }}
