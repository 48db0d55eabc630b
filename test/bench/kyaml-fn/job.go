package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"strings"
)

const image = "arksai/arksmodel:0.1.0"

// The fields of instanceSpec that are not the pod's own.
var (
	containerFields = []string{
		"lifecycle", "livenessProbe", "readinessProbe", "resources", "securityContext", "startupProbe",
	}
	otherFields = []string{
		"activeDeadlineSeconds", "labels", "annotations", "env", "volumeMounts", "volumes", "podSecurityContext",
	}
)

func (m *model) job() (object, error) {
	spec := m.jobSpec()
	hash, err := m.hash(spec)
	if err != nil {
		return object{}, err
	}
	labels := m.labels("worker")
	labels[hashKey] = hash
	return object{
		APIVersion: "batch/v1",
		Kind:       "Job",
		Metadata: metadata{
			Name:        jobName(m.Metadata.Name, hash),
			Namespace:   m.Metadata.Namespace,
			Labels:      labels,
			Annotations: m.annotations(),
		},
		Spec: spec,
	}, nil
}

// hash is over canonical JSON, which is what encoding/json makes of maps, of what cannot be changed in place.
func (m *model) hash(spec plain) (string, error) {
	immutable := maps.Clone(spec)
	delete(immutable, "activeDeadlineSeconds")
	delete(immutable, "backoffLimit")
	parts := plain{"spec": immutable}
	if value, found := m.Metadata.Annotations[reload]; found {
		parts["reload"] = value
	}
	text, err := json.Marshal(parts)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:5]), nil
}

func jobName(model, hash string) string {
	const prefix, longest = "arks-worker-", 53
	name := strings.ReplaceAll(model, ".", "-")
	if room := longest - len(prefix) - len(hash) - 1; len(name) > room {
		name = name[:room]
	}
	return prefix + strings.TrimRight(name, "-_.") + "-" + hash
}

func (m *model) jobSpec() plain {
	instance := m.instanceSpec()
	labels := plain{}
	merge(labels, instance["labels"])
	merge(labels, plain{
		modelKey:                      m.Metadata.Name,
		"app.kubernetes.io/name":      "arks-model",
		"app.kubernetes.io/component": "worker",
		"app.kubernetes.io/part-of":   "arks",
	})
	annotations := plain{}
	merge(annotations, instance["annotations"])
	annotations[modelKey] = m.Metadata.Name
	spec := plain{
		"backoffLimit": 20,
		"podFailurePolicy": plain{"rules": []any{
			plain{"action": "Ignore", "onPodConditions": []any{plain{"type": "DisruptionTarget", "status": "True"}}},
			plain{"action": "FailJob", "onExitCodes": plain{
				"containerName": "worker",
				"operator":      "In",
				"values":        []int{2, 10, 11, 12, 13, 14, 20},
			}},
		}},
		"template": plain{
			"metadata": plain{"labels": labels, "annotations": annotations},
			"spec":     m.podSpec(instance),
		},
	}
	if seconds, found := instance["activeDeadlineSeconds"]; found {
		spec["activeDeadlineSeconds"] = seconds
	}
	return spec
}

// instanceSpec is the model's own over the built-in one.
func (m *model) instanceSpec() plain {
	instance := plain{
		"automountServiceAccountToken":  false,
		"enableServiceLinks":            false,
		"terminationGracePeriodSeconds": 60,
		"podSecurityContext": plain{
			"runAsNonRoot":        true,
			"runAsUser":           65532,
			"runAsGroup":          65532,
			"fsGroup":             65532,
			"fsGroupChangePolicy": "OnRootMismatch",
			"seccompProfile":      plain{"type": "RuntimeDefault"},
		},
		"securityContext": plain{
			"allowPrivilegeEscalation": false,
			"readOnlyRootFilesystem":   true,
			"capabilities":             plain{"drop": []any{"ALL"}},
		},
	}
	merge(instance, m.Spec.InstanceSpec)
	if _, found := instance["resources"]; !found {
		instance["resources"] = plain{
			"requests": plain{"cpu": "1", "memory": "512Mi"},
			"limits":   plain{"memory": "1Gi"},
		}
	}
	return instance
}

// merge puts over on top of under: maps by key, everything else replaced, a null takes a line away.
func merge(under plain, over any) {
	fields, _ := over.(plain)
	for key, value := range fields {
		below, isMap := under[key].(plain)
		if above, both := value.(plain); isMap && both {
			merge(below, above)
		} else if value == nil {
			delete(under, key)
		} else {
			under[key] = value
		}
	}
}

func (m *model) podSpec(instance plain) plain {
	pod := maps.Clone(instance)
	for _, name := range containerFields {
		delete(pod, name)
	}
	for _, name := range otherFields {
		delete(pod, name)
	}
	pod["restartPolicy"] = "Never"
	pod["containers"] = []any{m.container(instance)}
	pod["volumes"] = appended([]any{
		plain{"name": "models", "persistentVolumeClaim": plain{"claimName": m.claimName()}},
	}, instance["volumes"])
	if context, found := instance["podSecurityContext"]; found {
		pod["securityContext"] = context
	}
	if len(m.Spec.ImagePullSecrets) > 0 {
		pod["imagePullSecrets"] = m.Spec.ImagePullSecrets
	}
	return pod
}

func (m *model) container(instance plain) plain {
	container := plain{
		"name":                     "worker",
		"image":                    image,
		"command":                  []string{"arksmodel-loader"},
		"args":                     m.args(),
		"env":                      appended(m.env(), instance["env"]),
		"ports":                    []any{plain{"name": "http", "containerPort": 8080}},
		"terminationMessagePolicy": "FallbackToLogsOnError",
		"volumeMounts": appended([]any{
			plain{"name": "models", "mountPath": "/models"},
		}, instance["volumeMounts"]),
	}
	for _, name := range containerFields {
		if value, found := instance[name]; found {
			container[name] = value
		}
	}
	return container
}

func (m *model) args() []string {
	source := m.Spec.Source.HuggingFace
	path := "models/$(NAMESPACE)/$(MODEL)"
	if m.Spec.Storage.SubPath != "" {
		path = literal(strings.TrimRight(m.Spec.Storage.SubPath, "/"))
	}
	args := []string{literal(m.Spec.Model), "--to", "/models/" + path}
	if source.Revision != "" {
		args = append(args, "--revision", literal(source.Revision))
	}
	for _, pattern := range source.Include {
		args = append(args, "--include", literal(pattern))
	}
	for _, pattern := range source.Exclude {
		args = append(args, "--exclude", literal(pattern))
	}
	args = append(args, "--reuse", "/models")
	return args
}

// literal keeps Kubernetes from expanding $(NAME) in what a user wrote.
func literal(text string) string {
	return strings.ReplaceAll(text, "$(", "$$(")
}

func (m *model) env() []any {
	source := m.Spec.Source.HuggingFace
	var env []any
	if m.Spec.Storage.SubPath == "" {
		env = append(env, fieldEnv("NAMESPACE", "metadata.namespace"), fieldEnv("MODEL", "metadata.annotations['"+modelKey+"']"))
	}
	if token := source.TokenSecretRef; token.Name != "" {
		reference := plain{"secretKeyRef": plain{"name": token.Name, "key": token.Key}}
		env = append(env, plain{"name": "HF_TOKEN", "valueFrom": reference})
	}
	if source.Endpoint != "" {
		env = append(env, plain{"name": "HF_ENDPOINT", "value": source.Endpoint})
	}
	return env
}

func fieldEnv(name, path string) plain {
	return plain{"name": name, "valueFrom": plain{"fieldRef": plain{"fieldPath": path}}}
}

func appended(own []any, more any) []any {
	list, _ := more.([]any)
	return append(own, list...)
}
