{{- /* The label app.kubernetes.io/name. */ -}}
{{- define "auditsink.chart" -}}
{{- .Values.nameOverride | default "auditsink" | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- /* The name of all objects, 50 characters at most: there must be room for -dashboard and for a pod's number. */ -}}
{{- define "auditsink.name" -}}
{{- $chart := include "auditsink.chart" . -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name) -}}
{{- .Values.fullnameOverride | default $name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "auditsink.selector" -}}
app.kubernetes.io/name: {{ include "auditsink.chart" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "auditsink.labels" -}}
{{ include "auditsink.selector" . }}
{{ include "auditsink.sharedLabels" . }}
{{- end }}

{{- /* What all objects have that are not the sink itself: the Services must not find them. */ -}}
{{- define "auditsink.sharedLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "auditsink.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "auditsink.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "auditsink.name" .) }}
{{- else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- /* The Secret with the admin token; empty without one. */ -}}
{{- define "auditsink.adminSecret" -}}
{{- if .Values.adminToken.existingSecret }}{{ .Values.adminToken.existingSecret }}
{{- else if .Values.adminToken.create }}{{ include "auditsink.name" . }}-admin{{ end }}
{{- end }}

{{- /* Whether the file is one that the chart does not write. */ -}}
{{- define "auditsink.foreignConfig" -}}
{{- if and .Values.existingConfigMap .Values.existingConfigSecret }}{{ fail "existingConfigMap stands beside existingConfigSecret: there is one file; remove one of the two" }}{{ end -}}
{{- if and (or .Values.existingConfigMap .Values.existingConfigSecret) (.Values.config).destinations }}{{ fail "config.destinations would be ignored beside existingConfigMap or existingConfigSecret; remove one of the two" }}{{ end -}}
{{- .Values.existingConfigMap | default .Values.existingConfigSecret -}}
{{- end }}

{{- /* A size as bytes. Volumes are written Mi, Gi, Ti; the sink writes MiB, GiB, TiB, MB, GB, or a number. */ -}}
{{- define "auditsink.bytes" -}}
{{- $text := . | toString -}}
{{- $units := dict "" 1 "Ki" 1024 "KiB" 1024 "Mi" 1048576 "MiB" 1048576 "Gi" 1073741824 "GiB" 1073741824 "Ti" 1099511627776 "TiB" 1099511627776 "k" 1000 "KB" 1000 "kB" 1000 "M" 1000000 "MB" 1000000 "G" 1000000000 "GB" 1000000000 "T" 1000000000000 "TB" 1000000000000 -}}
{{- $unit := regexFind "[A-Za-z]*$" $text -}}
{{- $number := trimSuffix $unit $text | trim -}}
{{- if or (not (hasKey $units $unit)) (not (regexMatch "^[0-9]+$" $number)) }}{{ fail (printf "%q is not a size such as 2Gi" $text) }}{{ end -}}
{{- mul (int64 $number) (get $units $unit | int64) -}}
{{- end }}

{{- /* Whether the spool is a topic of Kafka: then there is no volume, and any number of pods. */ -}}
{{- define "auditsink.topic" -}}
{{- if eq (dig "spool" "type" "disk" (.Values.config | default dict)) "kafka" }}true{{ end -}}
{{- end }}

{{- /* What the ring may take: what is asked for if it fits the volume, else 85 % of the volume. */ -}}
{{- define "auditsink.maxBytes" -}}
{{- if include "auditsink.topic" . -}}
{{- include "auditsink.bytes" (dig "spool" "max_bytes" "1GiB" (.Values.config | default dict)) -}}
{{- else -}}
{{- $volume := include "auditsink.bytes" .Values.volume.size | int64 -}}
{{- $asked := dig "spool" "max_bytes" "" (.Values.config | default dict) -}}
{{- if $asked -}}
{{- $bytes := include "auditsink.bytes" $asked | int64 -}}
{{- if gt (mul $bytes 10) (mul $volume 9) }}{{ fail (printf "config.spool.max_bytes (%v) is more than 90 %% of volume.size (%v): the disk would be full before the ring; raise the volume or lower max_bytes" $asked .Values.volume.size) }}{{ end -}}
{{- $bytes -}}
{{- else -}}
{{- div (mul $volume 85) 100 -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "auditsink.config" -}}
{{- if not (.Values.config).destinations }}{{ fail "config.destinations is empty: say where the events go, see values.yaml" }}{{ end -}}
{{- $receive := dict "listen" "0.0.0.0:9880" -}}
{{- if .Values.tls.secretName -}}
{{- $tls := dict "cert_file" "/etc/auditsink/tls/tls.crt" "key_file" "/etc/auditsink/tls/tls.key" -}}
{{- if .Values.tls.requireClientCertificate }}{{ $_ := set $tls "client_ca_file" "/etc/auditsink/tls/ca.crt" }}{{ end -}}
{{- $_ := set $receive "tls" $tls -}}
{{- end -}}
{{- $admin := dict "listen" "0.0.0.0:2020" -}}
{{- if include "auditsink.adminSecret" . }}{{ $_ := set $admin "token_file" "/etc/auditsink/admin/token" }}{{ end -}}
{{- $ours := dict "receive" $receive "spool" (dict "path" "/var/lib/auditsink/spool") "admin" $admin -}}
{{- $whole := mergeOverwrite $ours (deepCopy .Values.config) -}}
{{- range $section, $port := dict "receive" ":9880" "admin" ":2020" -}}
{{- if not (hasSuffix $port (get (get $whole $section) "listen")) }}{{ fail (printf "config.%s.listen must end in %s: probes, Services and NetworkPolicies name that port; leave it out" $section $port) }}{{ end -}}
{{- end -}}
{{- $_ := set $whole.spool "max_bytes" (include "auditsink.maxBytes" . | int64) -}}
{{- toYaml $whole -}}
{{- end }}
