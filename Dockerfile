FROM golang:1.26-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# make image says which one; a tag makes a release.
ARG VERSION=0+unversioned
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.release=${VERSION}" -o /gateway ./cmd/gateway

# Nothing but the binary and the roots it needs to fetch keys over https.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /gateway /gateway
# Logs go to stdout; set LOG_DIR and mount a volume there to have files too.
ENV NODE_ENV=production LOG_DIR=
USER 65532:65532
EXPOSE 3002
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["/gateway", "healthcheck"]
ENTRYPOINT ["/gateway"]
