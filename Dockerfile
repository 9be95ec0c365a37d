FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o /tranche ./server

FROM alpine:3.22
RUN adduser -D -H -u 10001 tranche && install -d -o tranche -g tranche /data
COPY --from=build /tranche /usr/local/bin/tranche
USER tranche
# The folder's random id is the node, so each container keeps a volume of its own.
VOLUME /data
ENV TRANCHE_DATA_DIR=/data TRANCHE_LISTEN=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
  CMD wget -q -O /dev/null http://127.0.0.1:8080/readyz
ENTRYPOINT ["tranche"]
