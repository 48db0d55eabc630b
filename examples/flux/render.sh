#!/bin/sh
# In CI, on every change: commit what this writes. Flux runs no functions, by design.
set -eu
cd "$(dirname "$0")"
kustomize build --enable-alpha-plugins --enable-exec models > rendered/models.yaml.new
mv rendered/models.yaml.new rendered/models.yaml
