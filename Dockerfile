# The images to build in and to run in: any with Rust and a C compiler, and any with the same glibc or a newer one.
ARG BUILD_IMAGE=rust:1.95-bookworm
ARG RUN_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin wirephoto \
    && install -D --strip target/release/wirephoto /out/wirephoto \
    && mkdir /out/data

# Nothing is run in this stage: an image without a shell will do.
FROM ${RUN_IMAGE}
# For stores that are reached over TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY LICENSE /usr/share/doc/wirephoto/LICENSE
COPY --from=build /out/wirephoto /usr/local/bin/wirephoto
COPY --from=build --chown=65532:65532 /out/data /data

# Beyond loopback it starts only when told who may come in: see docs/operations.md.
ENV WIREPHOTO_LISTEN=0.0.0.0:8080 \
    WIREPHOTO_STORE=file:/data
USER 65532:65532
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/local/bin/wirephoto", "health"]
ENTRYPOINT ["/usr/local/bin/wirephoto"]
CMD ["serve"]
