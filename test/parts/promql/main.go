// Command promql reads a JSON array of PromQL expressions and prints what each of them asks for, as Prometheus parses it.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

type selector struct {
	Metric string            `json:"metric"`
	Labels map[string]string `json:"labels"`
}

type query struct {
	Problem   string     `json:"problem,omitempty"`
	Selectors []selector `json:"selectors"`
	// By which labels it aggregates.
	Grouping []string `json:"grouping"`
}

func main() {
	var expressions []string
	if err := json.NewDecoder(os.Stdin).Decode(&expressions); err != nil {
		fail(err)
	}
	queries := make([]query, len(expressions))
	for i, expression := range expressions {
		queries[i] = asks(expression)
	}
	if err := json.NewEncoder(os.Stdout).Encode(queries); err != nil {
		fail(err)
	}
}

func asks(expression string) query {
	found := query{Selectors: []selector{}, Grouping: []string{}}
	parsed, err := parser.ParseExpr(expression)
	if err != nil {
		found.Problem = err.Error()
		return found
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			found.Selectors = append(found.Selectors, selected(node))
		case *parser.AggregateExpr:
			found.Grouping = append(found.Grouping, node.Grouping...)
		}
		return nil
	})
	return found
}

func selected(node *parser.VectorSelector) selector {
	found := selector{Metric: node.Name, Labels: map[string]string{}}
	for _, matcher := range node.LabelMatchers {
		if matcher.Name != labels.MetricName {
			found.Labels[matcher.Name] = matcher.Value
		}
	}
	return found
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "promql:", err)
	os.Exit(1)
}
