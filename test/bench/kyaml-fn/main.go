// The same expansion as fn/, written in Go with kyaml's framework: what the benchmark compares with.
package main

import (
	"fmt"
	"os"

	"sigs.k8s.io/kustomize/kyaml/fn/framework"
	"sigs.k8s.io/kustomize/kyaml/yaml"
)

const (
	modelKey      = "arks.ai/model"
	hashKey       = "arks.ai/worker-hash"
	workerJob     = "arks.ai/worker-job"
	reload        = "arks.ai/reload"
	generatedFrom = "arks.ai/generated-from"
)

func main() {
	if err := framework.Execute(framework.ResourceListProcessorFunc(process), nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// process drops what an earlier run made and puts each model's claim and Job before it.
func process(list *framework.ResourceList) error {
	items := make([]*yaml.RNode, 0, len(list.Items))
	for _, item := range list.Items {
		kind := item.GetKind()
		if (kind == "Job" || kind == "PersistentVolumeClaim") && item.GetAnnotations(generatedFrom)[generatedFrom] != "" {
			continue
		}
		if kind == "ArksModel" {
			made, err := expand(item)
			if err != nil {
				return fmt.Errorf("ArksModel %s/%s: %w", item.GetNamespace(), item.GetName(), err)
			}
			items = append(items, made...)
		}
		items = append(items, item)
	}
	list.Items = items
	return nil
}

// expand returns the model's claim and Job and stamps the model.
func expand(item *yaml.RNode) ([]*yaml.RNode, error) {
	var m model
	if err := item.YNode().Decode(&m); err != nil {
		return nil, err
	}
	var made []*yaml.RNode
	if m.Spec.Storage.PVC.Spec != nil {
		claim, err := asNode(m.claim())
		if err != nil {
			return nil, err
		}
		made = append(made, claim)
	}
	if m.Spec.Source.HuggingFace != nil {
		job, err := m.job()
		if err != nil {
			return nil, err
		}
		node, err := asNode(job)
		if err != nil {
			return nil, err
		}
		made = append(made, node)
		if err := item.PipeE(yaml.SetAnnotation(workerJob, job.Metadata.Name)); err != nil {
			return nil, err
		}
	} else if err := item.PipeE(yaml.ClearAnnotation(workerJob)); err != nil {
		return nil, err
	}
	return made, m.stamp(item)
}

// stamp fills in the claim's name and the token's Secret as an object.
func (m *model) stamp(item *yaml.RNode) error {
	pvc := yaml.LookupCreate(yaml.MappingNode, "spec", "storage", "pvc")
	if err := item.PipeE(pvc, yaml.SetField("name", yaml.NewStringRNode(m.claimName()))); err != nil {
		return err
	}
	source := m.Spec.Source.HuggingFace
	if source == nil || !source.TokenSecretRef.isText {
		return nil
	}
	reference := yaml.NewMapRNode(&map[string]string{"name": source.TokenSecretRef.Name})
	return item.PipeE(yaml.Lookup("spec", "source", "huggingface"), yaml.SetField("tokenSecretRef", reference))
}

func asNode(made object) (*yaml.RNode, error) {
	var node yaml.Node
	if err := node.Encode(made); err != nil {
		return nil, err
	}
	return yaml.NewRNode(&node), nil
}
