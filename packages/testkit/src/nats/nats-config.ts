export interface NatsConfigInit {
  readonly serverName: string;
  /** Address to listen on. */
  readonly host: string;
  /** Client port; -1 lets the server choose. */
  readonly port: number;
  /** Monitoring port (`/varz`, `/jsz`); -1 lets the server choose. */
  readonly httpPort: number;
  readonly storeDir: string;
  /** The server writes its chosen ports into a file in this directory. */
  readonly portsDir: string;
  readonly cluster?: {
    readonly name: string;
    readonly port: number;
    /** `host:port` of all members, itself included. */
    readonly routes: readonly string[];
  };
  /** Lines added at the end as they are. */
  readonly extra?: string;
}

/** A nats-server configuration file with JetStream on. Strings are quoted, so that a path may hold anything but a quote. */
export function natsConfig(init: NatsConfigInit): string {
  const lines = [
    `server_name: ${quote(init.serverName)}`,
    `host: ${quote(init.host)}`,
    `port: ${init.port}`,
    `http: ${quote(`${init.host}:${init.httpPort}`)}`,
    `ports_file_dir: ${quote(init.portsDir)}`,
    // A client that is cut off is told from an idle one in seconds rather than in the 4 minutes of the defaults.
    'ping_interval: "5s"',
    'ping_max: 2',
    'write_deadline: "5s"',
    'jetstream {',
    `  store_dir: ${quote(init.storeDir)}`,
    // A test writes little; without limits the server would reserve 3/4 of the machine's memory and disk each.
    '  max_memory_store: 67108864',
    '  max_file_store: 1073741824',
    '}',
  ];
  if (init.cluster !== undefined) {
    lines.push(
      'cluster {',
      `  name: ${quote(init.cluster.name)}`,
      `  host: ${quote(init.host)}`,
      `  port: ${init.cluster.port}`,
      `  routes: [${init.cluster.routes.map((route) => quote(`nats-route://${route}`)).join(', ')}]`,
      '}',
    );
  }
  if (init.extra !== undefined) lines.push(init.extra);
  return `${lines.join('\n')}\n`;
}

function quote(text: string): string {
  if (/["\\\n]/.test(text))
    throw new RangeError(`Cannot write ${JSON.stringify(text)} to a nats-server configuration: no quote, backslash or line end`);
  return `"${text}"`;
}
