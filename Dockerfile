# Weft in one image: the command, the controller and the agent. The first stage compiles what the second only runs.
#
#   docker build -t weft .
#   docker run --rm weft --help
FROM node:22-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
      clang llvm libbpf-dev libelf-dev zlib1g-dev bpftool g++ make python3 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/weft
COPY package.json package-lock.json .npmrc lerna.json tsconfig.json tsconfig.base.json ./
COPY proto proto
COPY scripts scripts
# The build checks that the page of drop reasons agrees with their source.
COPY docs docs
COPY packages packages
RUN npm ci --no-audit --no-fund && node scripts/build.mjs && npm prune --omit=dev --no-audit --no-fund

FROM node:22-bookworm-slim
# iproute2, nftables: devices and the rules that keep them closed. util-linux: nsenter, setpriv, flock. nats-server: for `weft up`.
RUN apt-get update && apt-get install -y --no-install-recommends \
      libbpf1 libelf1 zlib1g iproute2 nftables ethtool util-linux procps nats-server \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/weft /opt/weft
RUN ln -s /opt/weft/packages/cli/bin/weft.js /usr/local/bin/weft
ENV NODE_ENV=production
ENTRYPOINT ["weft"]
CMD ["--help"]
