{{- define "innerloop.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "innerloop.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "innerloop.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "innerloop.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "innerloop.selector" -}}
app.kubernetes.io/name: {{ include "innerloop.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "innerloop.labels" -}}
{{ include "innerloop.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "innerloop.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "innerloop.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The image, of dict "root" $ "gpu" bool. */}}
{{- define "innerloop.image" -}}
{{- $image := .root.Values.image -}}
{{- $digest := ternary $image.cudaDigest $image.digest .gpu -}}
{{- if $digest -}}
{{- printf "%s@%s" $image.repository $digest -}}
{{- else -}}
{{- $built := printf "%s-%s" .root.Chart.AppVersion (ternary "cuda" "cpu" .gpu) -}}
{{- printf "%s:%s" $image.repository (default $built $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Settings as environment variables: texts as they are, all else as JSON. */}}
{{- define "innerloop.environment" -}}
- name: INNERLOOP_KAFKA__BOOTSTRAP_SERVERS
  value: {{ required "kafka.bootstrapServers is not set: host:port of your brokers" .Values.kafka.bootstrapServers | quote }}
- name: INNERLOOP_KAFKA__TOPIC_PREFIX
  value: {{ .Values.kafka.topicPrefix | quote }}
- name: INNERLOOP_KAFKA__PARTITIONS
  value: {{ .Values.kafka.partitions | quote }}
- name: INNERLOOP_KAFKA__REPLICATION_FACTOR
  value: {{ .Values.kafka.replicationFactor | quote }}
- name: INNERLOOP_METRICS__HOST
  value: 0.0.0.0
{{- range $section, $values := .Values.settings }}
{{- range $name, $value := $values }}
- name: INNERLOOP_{{ upper $section }}__{{ upper $name }}
  value: {{ ternary $value (toJson $value) (kindIs "string" $value) | quote }}
{{- end }}
{{- end }}
{{- if .Values.secret.existingSecret }}
- name: INNERLOOP_CONFIG
  value: /etc/innerloop/secret/{{ .Values.secret.key }}
{{- end }}
{{- end -}}

{{- define "innerloop.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- if .Values.secret.existingSecret }}
- name: secret
  mountPath: /etc/innerloop/secret
  readOnly: true
{{- end }}
{{- range .Values.secretMounts }}
- name: secret-{{ .name }}
  mountPath: {{ .mountPath }}
  readOnly: true
{{- end }}
{{- end -}}

{{- define "innerloop.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
{{- if .Values.secret.existingSecret }}
- name: secret
  secret:
    secretName: {{ .Values.secret.existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .Values.secret.key }}
        path: {{ .Values.secret.key }}
{{- end }}
{{- range .Values.secretMounts }}
- name: secret-{{ .name }}
  secret:
    secretName: {{ .name }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{/* What all pods have in common, of dict "root" $ and "account" name. */}}
{{- define "innerloop.pod" -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: false
{{- /* Kubernetes' variables for a Service called innerloop-… would be taken for unknown settings. */}}
enableServiceLinks: false
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Placement, of a component's values. */}}
{{- define "innerloop.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Liveness and readiness at /health and /ready, of the port's name. */}}
{{- define "innerloop.probes" -}}
livenessProbe:
  httpGet: {path: /health, port: {{ . }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /ready, port: {{ . }}}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}
