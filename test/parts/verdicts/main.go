// Command verdicts prints what the tools of GitOps think of Kubernetes objects: kstatus (kpt and everything built on
// cli-utils), Flux and Argo CD.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// Input holds objects as a GET gives them, and how Flux and Argo CD are configured for their kind.
type Input struct {
	Objects []unstructured.Unstructured `json:"objects"`
	// Lua is `resource.customizations.health` of argocd-cm. Without it the kind has no health in Argo CD.
	Lua string `json:"lua"`
	// Exprs are `healthCheckExprs` of a Kustomization. Without them Flux uses its kstatus.
	Exprs *Exprs `json:"exprs"`
}

// Verdict is what one tool says, in its own words.
type Verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// Verdicts are those of all tools on one object.
type Verdicts struct {
	Kstatus Verdict `json:"kstatus"`
	Flux    Verdict `json:"flux"`
	Argo    Verdict `json:"argo"`
}

func main() {
	var input Input
	if err := json.NewDecoder(os.Stdin).Decode(&input); err != nil {
		fail(err)
	}
	flux, err := newFlux(input.Exprs)
	if err != nil {
		fail(err)
	}
	all := make([]Verdicts, 0, len(input.Objects))
	for _, object := range input.Objects {
		all = append(all, Verdicts{Kstatus: kstatus(&object), Flux: flux(&object), Argo: argo(&object, input.Lua)})
	}
	if err := json.NewEncoder(os.Stdout).Encode(all); err != nil {
		fail(err)
	}
}

func kstatus(object *unstructured.Unstructured) Verdict {
	result, err := status.Compute(object)
	if err != nil {
		return Verdict{"Unknown", err.Error()}
	}
	return Verdict{string(result.Status), result.Message}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "verdicts:", err)
	os.Exit(1)
}
