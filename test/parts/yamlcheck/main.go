// Command yamlcheck prints the documents of a YAML stream as the JSON that Kubernetes reads in them.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"sigs.k8s.io/yaml"
)

func main() {
	stream, err := io.ReadAll(os.Stdin)
	if err != nil {
		fail(err)
	}
	documents := split(string(stream))
	for i, document := range documents {
		json, err := yaml.YAMLToJSON([]byte(document))
		if err != nil {
			fail(fmt.Errorf("document %d: %w", i, err))
		}
		documents[i] = string(json)
	}
	fmt.Printf("[%s]\n", strings.Join(documents, ","))
}

// split cuts the stream at the lines that are exactly `---`. Nothing before the first of them is no document,
// nothing behind it is an empty one.
func split(stream string) []string {
	documents := []string{""}
	for line := range strings.Lines(stream) {
		if strings.TrimSuffix(line, "\n") == "---" {
			documents = append(documents, "")
			continue
		}
		documents[len(documents)-1] += line
	}
	if documents[0] == "" {
		return documents[1:]
	}
	return documents
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "yamlcheck:", err)
	os.Exit(1)
}
