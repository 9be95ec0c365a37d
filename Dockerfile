FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# timetzdata puts the time zones into the program.
RUN CGO_ENABLED=0 go build -trimpath -tags timetzdata -ldflags='-s -w' -o /tranche ./server && mkdir /data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /tranche /tranche
COPY --from=build --chown=10001:10001 /data /data
USER 10001:10001
# The folder's random id is the node, so each container keeps a volume of its own.
VOLUME /data
ENV TRANCHE_DATA_DIR=/data TRANCHE_LISTEN=0.0.0.0:8080
EXPOSE 8080
# Whether the process lives. A node that waits for its database is not to be replaced: its journal may hold redemptions.
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 CMD ["/tranche", "health"]
ENTRYPOINT ["/tranche"]
