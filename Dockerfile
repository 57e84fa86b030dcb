# Both halves. Every step is a target of the Makefile, so the tests cover it where no image can be built.
#   docker build --target registry -t floxbridge .
#   docker build --target node -t floxbridge-node .

FROM debian:12-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev musl-tools make python3 python3-venv
COPY . /src
WORKDIR /src
RUN make install PREFIX=/opt/floxbridge

FROM debian:12-slim AS base
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates python3 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/floxbridge /opt/floxbridge
ENV PATH=/opt/floxbridge/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# The registry needs no privilege: one port, one folder.
FROM base AS registry
RUN install --directory --owner=10001 --group=10001 /var/lib/floxbridge-registry
USER 10001:10001
VOLUME /var/lib/floxbridge-registry
EXPOSE 5000
ENTRYPOINT ["floxbridge"]
CMD ["serve", "--listen", "0.0.0.0:5000"]

# The node's half writes below /var/lib/floxbridge and edits bundles that root made: it is root, on the host's paths.
FROM base AS node
VOLUME /var/lib/floxbridge
ENTRYPOINT ["floxbridge-node"]
CMD ["agent"]
