package main

import (
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

type plain = map[string]any

type model struct {
	Metadata struct {
		Name        string            `yaml:"name"`
		Namespace   string            `yaml:"namespace"`
		Labels      map[string]string `yaml:"labels"`
		Annotations map[string]string `yaml:"annotations"`
	} `yaml:"metadata"`
	Spec struct {
		Model  string `yaml:"model"`
		Source struct {
			HuggingFace *huggingFace `yaml:"huggingface"`
		} `yaml:"source"`
		Storage struct {
			SubPath string `yaml:"subPath"`
			PVC     struct {
				Name string `yaml:"name"`
				Spec plain  `yaml:"spec"`
			} `yaml:"pvc"`
		} `yaml:"storage"`
		ImagePullSecrets []plain `yaml:"imagePullSecrets"`
		InstanceSpec     plain   `yaml:"instanceSpec"`
	} `yaml:"spec"`
}

type huggingFace struct {
	TokenSecretRef tokenRef `yaml:"tokenSecretRef"`
	Revision       string   `yaml:"revision"`
	Endpoint       string   `yaml:"endpoint"`
	Include        []string `yaml:"include"`
	Exclude        []string `yaml:"exclude"`
}

// tokenRef is an object, or only the Secret's name.
type tokenRef struct {
	Name   string
	Key    string
	isText bool
}

func (t *tokenRef) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		t.isText = true
		t.Key = "HF_TOKEN"
		return node.Decode(&t.Name)
	}
	reference := struct{ Name, Key string }{Key: "HF_TOKEN"}
	if err := node.Decode(&reference); err != nil {
		return err
	}
	t.Name, t.Key = reference.Name, reference.Key
	return nil
}

type object struct {
	APIVersion string   `yaml:"apiVersion"`
	Kind       string   `yaml:"kind"`
	Metadata   metadata `yaml:"metadata"`
	Spec       plain    `yaml:"spec"`
}

type metadata struct {
	Name        string            `yaml:"name"`
	Namespace   string            `yaml:"namespace,omitempty"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func (m *model) claimName() string {
	if name := m.Spec.Storage.PVC.Name; name != "" {
		return name
	}
	return m.Metadata.Name
}

func (m *model) claim() object {
	labels := m.labels("storage")
	annotations := m.annotations()
	annotations["kustomize.toolkit.fluxcd.io/prune"] = "disabled"
	annotations["argocd.argoproj.io/sync-options"] = "Prune=false,Delete=false"
	annotations["argocd.argoproj.io/compare-options"] = "IgnoreExtraneous"
	annotations["client.lifecycle.config.k8s.io/deletion"] = "detach"
	return object{
		APIVersion: "v1",
		Kind:       "PersistentVolumeClaim",
		Metadata: metadata{
			Name:        m.claimName(),
			Namespace:   m.Metadata.Namespace,
			Labels:      labels,
			Annotations: annotations,
		},
		Spec: m.Spec.Storage.PVC.Spec,
	}
}

// labels are those of the model and those of everything generated.
func (m *model) labels(component string) map[string]string {
	labels := make(map[string]string, len(m.Metadata.Labels)+6)
	for key, value := range m.Metadata.Labels {
		if !belongsTo(key, "arks.ai") {
			labels[key] = value
		}
	}
	labels[modelKey] = m.Metadata.Name
	labels["app.kubernetes.io/name"] = "arks-model"
	labels["app.kubernetes.io/component"] = component
	labels["app.kubernetes.io/part-of"] = "arks"
	labels["app.kubernetes.io/managed-by"] = "arksmodel"
	return labels
}

// annotations are those of the model that are no orders to a tool, and the marker.
func (m *model) annotations() map[string]string {
	annotations := make(map[string]string, len(m.Metadata.Annotations)+5)
	for key, value := range m.Metadata.Annotations {
		switch key {
		case "argocd.argoproj.io/sync-wave", "internal.config.kubernetes.io/prefixes", "internal.config.kubernetes.io/suffixes":
			annotations[key] = value
		default:
			if !belongsTo(key, "kubernetes.io", "k8s.io", "fluxcd.io", "argoproj.io", "helm.sh", "arks.ai") {
				annotations[key] = value
			}
		}
	}
	annotations[generatedFrom] = m.Metadata.Name
	if m.Metadata.Namespace != "" {
		annotations[generatedFrom] = m.Metadata.Namespace + "/" + m.Metadata.Name
	}
	return annotations
}

func belongsTo(key string, domains ...string) bool {
	domain, _, found := strings.Cut(key, "/")
	if !found {
		return false
	}
	for _, each := range domains {
		if domain == each || strings.HasSuffix(domain, "."+each) {
			return true
		}
	}
	return false
}
