package main

import (
	"context"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Exprs are in Flux's own shape.
type Exprs = kustomize.HealthCheckExpressions

// newFlux gives the judgement of kustomize-controller: by kstatus, which is its own copy, or by the expressions, which
// take its place altogether.
func newFlux(exprs *Exprs) (func(*unstructured.Unstructured) Verdict, error) {
	judge := status.Compute
	if exprs != nil {
		evaluator, err := cel.NewStatusEvaluator(exprs)
		if err != nil {
			return nil, err
		}
		judge = func(object *unstructured.Unstructured) (*status.Result, error) {
			return evaluator.Evaluate(context.Background(), object)
		}
	}
	return func(object *unstructured.Unstructured) Verdict {
		result, err := judge(object)
		if err != nil {
			// As the status reader has it: waited on until the time is up.
			return Verdict{string(status.UnknownStatus), err.Error()}
		}
		return Verdict{string(result.Status), result.Message}
	}, nil
}
