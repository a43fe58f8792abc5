{{- define "auditsink.pod" -}}
metadata:
  labels:
    {{- include "auditsink.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "auditsink.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  # The preStop sleep, then the sink's own ten seconds, and room for a slow disk.
  terminationGracePeriodSeconds: 30
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch # a large ring would be walked at each start
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: auditsink
      image: {{ include "auditsink.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve, -c, /etc/auditsink/config/config.yaml]
      ports:
        - {name: receive, containerPort: 9880}
        - {name: admin, containerPort: 2020}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      resources: {{- toYaml .Values.resources | nindent 8 }}
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
      volumeMounts:
        - {name: data, mountPath: /var/lib/auditsink}
        - {name: config, mountPath: /etc/auditsink/config, readOnly: true}
        {{- if .Values.secretName }}
        - {name: secrets, mountPath: /etc/auditsink/secrets, readOnly: true}
        {{- end }}
        {{- if .Values.tls.secretName }}
        - {name: tls, mountPath: /etc/auditsink/tls, readOnly: true}
        {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ include "auditsink.name" . }}}
    {{- with .Values.secretName }}
    - name: secrets
      secret: {secretName: {{ . }}, defaultMode: 0440}
    {{- end }}
    {{- with .Values.tls.secretName }}
    - name: tls
      secret: {secretName: {{ . }}, defaultMode: 0440}
    {{- end }}
    {{- if eq .Values.kind "Deployment" }}
    - name: data
      persistentVolumeClaim: {claimName: {{ .Values.volume.existingClaim | default (include "auditsink.name" .) }}}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "auditsink.claim" -}}
accessModes: [ReadWriteOnce]
{{- with .Values.volume.storageClass }}
storageClassName: {{ . }}
{{- end }}
resources: {requests: {storage: {{ .Values.volume.size }}}}
{{- end }}
