# One image for all three programs: its entrypoint is the function, the other two are called by their names.
# The builder has a shell and npm; the base has Node as /nodejs/bin/node, and neither.
ARG NODE_IMAGE=node:24-slim
ARG BASE_IMAGE=gcr.io/distroless/nodejs24-debian13:nonroot

FROM ${BASE_IMAGE} AS base

FROM ${NODE_IMAGE} AS build
WORKDIR /src
# The Node that will run the programs builds them: what they hold of compiled code is for one version of it only.
COPY --from=base /nodejs/bin/node /nodejs/bin/node
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY . .
# Predictable: the same sources give the same bytes.
RUN /nodejs/bin/node crds/compile.ts && /nodejs/bin/node --predictable fn/build.ts
# The base has no /usr/bin/env that would look for Node.
RUN mkdir -p /image/usr/local/bin /image/usr/share/doc/arksmodel \
 && for name in arksmodel-fn arksmodel-loader arksmodel-controller; do \
      sed '1s|^#!.*|#!/nodejs/bin/node|' "dist/$name.cjs" > "/image/usr/local/bin/$name" \
      && chmod 0755 "/image/usr/local/bin/$name" || exit 1; \
    done \
 && cp LICENSE dist/LICENSES.txt /image/usr/share/doc/arksmodel/

FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="arksmodel" \
      org.opencontainers.image.description="ArksModel for GitOps: function, loader and controller" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
COPY --from=build /image /
# In numbers, so that Kubernetes can see that it is not root. Any other user will do too.
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/nodejs/bin/node", "/usr/local/bin/arksmodel-fn"]
