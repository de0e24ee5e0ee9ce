# An image with only the program, linked statically: docker build -t streamreg .
FROM rust:1-alpine AS build
RUN apk add --no-cache build-base ca-certificates
WORKDIR /src
COPY . .
RUN cargo build --locked --profile dist --package streamreg

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/dist/streamreg /usr/bin/streamreg
USER 65532:65532
# On this address, the server needs a token (STREAMREG_TOKEN_FILE) or STREAMREG_READ_ONLY=true.
ENV STREAMREG_LISTEN=0.0.0.0:8580
EXPOSE 8580
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["/usr/bin/streamreg", "ping", "--store", "http://127.0.0.1:8580"]
ENTRYPOINT ["/usr/bin/streamreg"]
CMD ["serve"]
