{{- /* What the sink and `check` share: the image, its rights, and all that it reads. */ -}}
{{- define "auditsink.container" -}}
image: {{ include "auditsink.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- $rights := dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true "capabilities" (dict "drop" (list "ALL")) }}
securityContext: {{- toYaml (mergeOverwrite $rights (deepCopy .Values.securityContext)) | nindent 2 }}
resources: {{- toYaml .Values.resources | nindent 2 }}
{{- with .Values.env }}
env: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.envFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - {name: data, mountPath: /var/lib/auditsink}
  - {name: config, mountPath: /etc/auditsink/config, readOnly: true}
  {{- if .Values.secretName }}
  - {name: secrets, mountPath: /etc/auditsink/secrets, readOnly: true}
  {{- end }}
  {{- if .Values.tls.secretName }}
  - {name: tls, mountPath: /etc/auditsink/tls, readOnly: true}
  {{- end }}
  {{- if include "auditsink.adminSecret" . }}
  - {name: admin, mountPath: /etc/auditsink/admin, readOnly: true}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* What they read; where the sink writes is the caller's. */ -}}
{{- define "auditsink.volumes" -}}
- name: config
  {{- if .Values.existingConfigSecret }}
  secret: {secretName: {{ .Values.existingConfigSecret }}, defaultMode: 0440}
  {{- else }}
  configMap: {name: {{ .Values.existingConfigMap | default (include "auditsink.name" .) }}}
  {{- end }}
{{- with .Values.secretName }}
- name: secrets
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- with .Values.tls.secretName }}
- name: tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- with include "auditsink.adminSecret" . }}
- name: admin
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Of the sink's pod and of the test's: who runs it, and where. */ -}}
{{- define "auditsink.pod.settings" -}}
serviceAccountName: {{ include "auditsink.serviceAccount" . }}
automountServiceAccountToken: {{ .Values.serviceAccount.automountToken }}
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- $user := dict "runAsNonRoot" true "runAsUser" 10001 "runAsGroup" 10001 "fsGroup" 10001 "seccompProfile" (dict "type" "RuntimeDefault") }}
{{- /* A large ring would be walked at each start. */}}
{{- $_ := set $user "fsGroupChangePolicy" "OnRootMismatch" }}
securityContext: {{- toYaml (mergeOverwrite $user (deepCopy .Values.podSecurityContext)) | nindent 2 }}
{{- with .Values.hostAliases }}
hostAliases: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "auditsink.pod" -}}
metadata:
  labels:
    {{- include "auditsink.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if or .Values.podAnnotations (not (include "auditsink.foreignConfig" .)) }}
  annotations:
    {{- if not (include "auditsink.foreignConfig" .) }}
    checksum/config: {{ include "auditsink.config" . | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
spec:
  {{- include "auditsink.pod.settings" . | nindent 2 }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- if or .Values.initContainers .Values.check.beforeStart }}
  initContainers:
    {{- with .Values.initContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- if .Values.check.beforeStart }}
    - name: check
      args: [check, -c, /etc/auditsink/config/config.yaml]
      {{- include "auditsink.container" . | nindent 6 }}
    {{- end }}
  {{- end }}
  containers:
    - name: auditsink
      args: [serve, -c, /etc/auditsink/config/config.yaml]
      ports:
        - {name: receive, containerPort: 9880}
        - {name: admin, containerPort: 2020}
      # A large ring is looked through before the ports open.
      startupProbe:
        httpGet: {path: /livez, port: admin}
        periodSeconds: 2
        failureThreshold: 60
        timeoutSeconds: 2
      livenessProbe:
        httpGet: {path: /livez, port: admin}
        periodSeconds: 10
        failureThreshold: 6
        timeoutSeconds: 5
      readinessProbe:
        httpGet: {path: /readyz, port: admin}
        periodSeconds: 5
        timeoutSeconds: 5
      lifecycle:
        # Until the endpoint is gone everywhere, so that no new connection meets a port that refuses.
        preStop: {sleep: {seconds: 5}}
      {{- include "auditsink.container" . | nindent 6 }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "auditsink.volumes" . | nindent 4 }}
    {{- if include "auditsink.topic" . }}
    # Nothing is kept there: events and dead letters lie in topics.
    - name: data
      emptyDir: {}
    {{- else if eq .Values.kind "Deployment" }}
    - name: data
      persistentVolumeClaim: {claimName: {{ .Values.volume.existingClaim | default (include "auditsink.name" .) }}}
    {{- end }}
  {{- with .Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    {{- $ours := dict "labelSelector" (dict "matchLabels" (include "auditsink.selector" $ | fromYaml)) }}
    - {{- toYaml (merge (deepCopy .) (ternary (dict) $ours (hasKey . "labelSelector"))) | nindent 6 }}
    {{- end }}
  {{- end }}
{{- end }}

{{- define "auditsink.claim" -}}
accessModes: [ReadWriteOnce]
{{- with .Values.volume.storageClass }}
storageClassName: {{ . }}
{{- end }}
resources: {requests: {storage: {{ .Values.volume.size }}}}
{{- end }}
