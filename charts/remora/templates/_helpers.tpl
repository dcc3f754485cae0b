{{/* The name that everything of this release starts with. */}}
{{- define "remora.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "remora.control" -}}
{{- include "remora.fullname" . }}-control
{{- end -}}

{{- define "remora.example" -}}
{{- include "remora.fullname" . }}-{{ .Values.example.service }}-{{ .Values.example.version }}
{{- end -}}

{{- define "remora.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "remora.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "remora.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}

{{- define "remora.exampleImage" -}}
{{- printf "%s:%s" .Values.example.image.repository (default .Chart.AppVersion .Values.example.image.tag) -}}
{{- end -}}

{{- define "remora.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: remora
{{- end -}}

{{- define "remora.control.selector" -}}
app.kubernetes.io/name: remora-control
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "remora.example.selector" -}}
app.kubernetes.io/name: {{ .Values.example.service }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* What no container of ours needs is taken away (Pod Security Standard "restricted"). */}}
{{- define "remora.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* A map of settings as environment variables, in the order of their names. */}}
{{- define "remora.env" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end -}}

{{/* {prices: "127.0.0.1:9101"} as prices=127.0.0.1:9101,… */}}
{{- define "remora.outbound" -}}
{{- $pairs := list -}}
{{- range $name, $address := . -}}
{{- $pairs = append $pairs (printf "%s=%s" $name $address) -}}
{{- end -}}
{{- join "," $pairs -}}
{{- end -}}
