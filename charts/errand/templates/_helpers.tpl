{{/* Beginning of all names; short enough for what is appended. */}}
{{- define "errand.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The same for what belongs to no namespace: releases of one name in two namespaces must not meet there. */}}
{{- define "errand.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "errand.fullname" .) -}}
{{- end -}}

{{/* What a Deployment selects by never changes. Takes {root, component}. */}}
{{- define "errand.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "errand.labels" -}}
{{ include "errand.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: errand
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "errand.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Takes {root, component}. */}}
{{- define "errand.serviceAccountName" -}}
{{- $account := (get .root.Values .component).serviceAccount -}}
{{- if $account.create -}}
{{- default (printf "%s-%s" (include "errand.fullname" .root) .component) $account.name -}}
{{- else -}}
{{- default "default" $account.name -}}
{{- end -}}
{{- end -}}

{{/* The restricted Pod Security Standard; the image names a user that is not root. */}}
{{- define "errand.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "errand.containerSecurityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
{{- end -}}

{{/* Arguments that all of the binary's servers take. */}}
{{- define "errand.commonArgs" -}}
- {{ printf "--log-level=%s" .Values.log.level | quote }}
- {{ printf "--log-format=%s" .Values.log.format | quote }}
{{- with .Values.scope.namespace }}
- {{ printf "--namespace=%s" . | quote }}
{{- end }}
{{- end -}}

{{/* Metadata of a pod template. Takes {root, component}. */}}
{{- define "errand.podMetadata" -}}
{{- $values := get .root.Values .component -}}
{{- with $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
labels:
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- include "errand.labels" . | nindent 2 }}
{{- end -}}

{{/* What all containers have in common. Takes {root, component}. */}}
{{- define "errand.container" -}}
image: {{ include "errand.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- with (get .root.Values .component).extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
livenessProbe:
  httpGet: {path: /livez, port: health}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 5
  timeoutSeconds: 5
resources:
  {{- toYaml (get .root.Values .component).resources | nindent 2 }}
securityContext:
  {{- include "errand.containerSecurityContext" .root | nindent 2 }}
{{- end -}}

{{/* Where pods go, and as whom they run. Takes {root, component}. */}}
{{- define "errand.podSpec" -}}
{{- $values := get .root.Values .component -}}
serviceAccountName: {{ include "errand.serviceAccountName" . }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- /* Variables such as ERRAND_FACADE_PORT would look like ours. */}}
enableServiceLinks: false
securityContext:
  {{- include "errand.podSecurityContext" .root | nindent 2 }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
  {{- if $values.affinity }}
  {{- toYaml $values.affinity | nindent 2 }}
  {{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "errand.selectorLabels" . | nindent 12 }}
  {{- end }}
{{- with $values.topologySpreadConstraints }}
topologySpreadConstraints:
{{- range . }}
{{- $own := dict "labelSelector" (dict "matchLabels" (include "errand.selectorLabels" $ | fromYaml)) }}
- {{- toYaml (merge (deepCopy .) $own) | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Rules of a NetworkPolicy that let out what goes to DNS and to the API server. */}}
{{- define "errand.egress" -}}
- ports:
  - {protocol: UDP, port: 53}
  - {protocol: TCP, port: 53}
- ports:
  {{- range .Values.networkPolicy.apiServerPorts }}
  - {protocol: TCP, port: {{ . }}}
  {{- end }}
  {{- with .Values.networkPolicy.apiServerCIDRs }}
  to:
  {{- range . }}
  - ipBlock: {cidr: {{ . | quote }}}
  {{- end }}
  {{- end }}
{{- end -}}
