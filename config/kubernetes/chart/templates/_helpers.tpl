{{- define "auditsink.name" -}}
{{- if contains "auditsink" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-auditsink{{ end }}
{{- end }}

{{- define "auditsink.selector" -}}
app.kubernetes.io/name: auditsink
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "auditsink.labels" -}}
{{ include "auditsink.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "auditsink.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
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

{{- /* What the ring may take: what is asked for if it fits the volume, else 85 % of the volume. */ -}}
{{- define "auditsink.maxBytes" -}}
{{- $volume := include "auditsink.bytes" .Values.volume.size | int64 -}}
{{- $asked := dig "spool" "max_bytes" "" .Values.config -}}
{{- if $asked -}}
{{- $bytes := include "auditsink.bytes" $asked | int64 -}}
{{- if gt (mul $bytes 10) (mul $volume 9) }}{{ fail (printf "config.spool.max_bytes (%v) is more than 90 %% of volume.size (%v): the disk would be full before the ring; raise the volume or lower max_bytes" $asked .Values.volume.size) }}{{ end -}}
{{- $bytes -}}
{{- else -}}
{{- div (mul $volume 85) 100 -}}
{{- end -}}
{{- end }}

{{- define "auditsink.config" -}}
{{- if not .Values.config.destinations }}{{ fail "config.destinations is empty: say where the events go, see values.yaml" }}{{ end -}}
{{- $receive := dict "listen" "0.0.0.0:9880" -}}
{{- if .Values.tls.secretName -}}
{{- $tls := dict "cert_file" "/etc/auditsink/tls/tls.crt" "key_file" "/etc/auditsink/tls/tls.key" -}}
{{- if .Values.tls.requireClientCertificate }}{{ $_ := set $tls "client_ca_file" "/etc/auditsink/tls/ca.crt" }}{{ end -}}
{{- $_ := set $receive "tls" $tls -}}
{{- end -}}
{{- $ours := dict "receive" $receive "spool" (dict "path" "/var/lib/auditsink/spool") "admin" (dict "listen" "0.0.0.0:2020") -}}
{{- $whole := mergeOverwrite $ours (deepCopy .Values.config) -}}
{{- $_ := set $whole.spool "max_bytes" (include "auditsink.maxBytes" . | int64) -}}
{{- toYaml $whole -}}
{{- end }}
