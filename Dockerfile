# The daemon without anything else: Node on distroless, no shell, no package manager, a user without rights.
#   docker build -t enginelight .
#   docker run --read-only --cap-drop ALL -v ./enginelight.yaml:/etc/enginelight/config.yaml:ro enginelight

FROM node:24-slim AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN npm run build

FROM node:24-slim AS dependencies
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

FROM gcr.io/distroless/nodejs24-debian12:nonroot
WORKDIR /app
COPY --from=dependencies /src/node_modules ./node_modules
COPY --from=build /src/package.json /src/LICENSE ./
COPY --from=build /src/dist ./dist
COPY --from=build /src/config ./config
COPY --from=build /src/config/examples/container.yaml /etc/enginelight/config.yaml
ENV NODE_ENV=production
# OTLP, the Prometheus page, the own metrics, health.
EXPOSE 4317 4318 9464 8888 13133
USER 65532:65532
# Without a shell, and without a file of its own: Node asks the health_check extension.
HEALTHCHECK --interval=15s --timeout=3s --start-period=10s CMD ["/nodejs/bin/node", "-e", "fetch('http://127.0.0.1:13133/').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["/nodejs/bin/node", "/app/dist/main.js"]
CMD ["--config", "/etc/enginelight/config.yaml"]
