// Runs inside a network namespace and opens sockets there for a test process outside, which sends requests as lines of JSON on standard
// input and reads answers and events as lines of JSON on standard output. It ends when standard input closes, so it never outlives its creator.
//
//   -> {"id":1,"op":"tcpGreeting","host":"192.0.2.250","port":4222,"timeoutMs":500}
//   <- {"id":1,"ok":{"greeting":"INFO {…"}}      or      {"id":1,"error":{"code":"ECONNREFUSED","message":"…"}}
import { createHash } from 'node:crypto';
import dgram from 'node:dgram';
import http from 'node:http';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { pipeline, Readable } from 'node:stream';
import { bodyChunks } from './body.mjs';

/** An echo that is so late will not come: TCP has asked for it several times. */
const STALLED_MS = 5_000;

const servers = new Map();
const streams = new Map();
const sockets = new Map();
let nextHandle = 1;

const send = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

const listen = (server, options) =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options, () => {
      server.removeListener('error', reject);
      const handle = nextHandle++;
      const sockets = new Set();
      server.on('connection', (socket) => {
        sockets.add(socket);
        socket.on('close', () => sockets.delete(socket));
        socket.on('error', () => {});
      });
      servers.set(handle, { server, sockets });
      const address = server.address();
      resolve({ handle, port: typeof address === 'string' ? 0 : address.port });
    });
  });

const operations = {
  /** Connects and returns the first line that the other side says. */
  tcpGreeting({ host, port, localPort, timeoutMs }) {
    return new Promise((resolve, reject) => {
      const socket = net.connect({ host, port, localPort });
      let text = '';
      const finish = (act) => {
        clearTimeout(timer);
        socket.destroy();
        act();
      };
      const timer = setTimeout(
        () => finish(() => reject(Object.assign(new Error('no greeting in time'), { code: 'ETIMEDOUT' }))),
        timeoutMs,
      );
      socket.on('data', (chunk) => {
        text += chunk.toString('latin1');
        const end = text.indexOf('\n');
        if (end >= 0) finish(() => resolve({ greeting: text.slice(0, end).trimEnd() }));
      });
      socket.on('error', (error) => finish(() => reject(error)));
      socket.on('close', () => finish(() => reject(Object.assign(new Error('closed without a greeting'), { code: 'ECONNRESET' }))));
    });
  },

  /** Serves GET /SEED/SIZE with `SIZE` bytes made from `SEED`, GET /address with the asker's address, and GET / with the given text. */
  httpServe({ host, port, text }) {
    const server = http.createServer((request, response) => {
      const match = /^\/([A-Za-z0-9._-]+)\/(\d{1,10})$/.exec(request.url ?? '');
      if (match === null) {
        response.end(request.url === '/address' ? request.socket.remoteAddress.replace(/^::ffff:/, '') : text);
        return;
      }
      const size = Number(match[2]);
      response.writeHead(200, { 'content-length': size, 'content-type': 'application/octet-stream' });
      pipeline(Readable.from(bodyChunks(match[1], size)), response, () => {});
    });
    return listen(server, { host, port });
  },

  /** Fetches and hashes. */
  httpGet({ url, timeoutMs, keepText }) {
    return new Promise((resolve, reject) => {
      const started = performance.now();
      const request = http.get(url, { agent: false, timeout: timeoutMs }, (response) => {
        const hash = createHash('sha256');
        let size = 0;
        let text = '';
        response.on('data', (chunk) => {
          hash.update(chunk);
          size += chunk.length;
          if (keepText && text.length < 1_000_000) text += chunk.toString('utf8');
        });
        response.on('end', () => {
          clearTimeout(timer);
          if (!response.complete) reject(Object.assign(new Error('body cut short'), { code: 'ECONNRESET' }));
          else resolve({ status: response.statusCode, size, sha256: hash.digest('hex'), text, elapsedMs: performance.now() - started });
        });
        response.on('error', reject);
      });
      const timer = setTimeout(() => request.destroy(Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' })), timeoutMs);
      request.on('error', (error) => {
        clearTimeout(timer);
        reject(error);
      });
    });
  },

  /** Sends back what it receives. */
  tcpEchoServe({ host, port }) {
    const server = net.createServer({ allowHalfOpen: false }, (socket) => {
      socket.setNoDelay(true);
      socket.pipe(socket);
    });
    return listen(server, { host, port });
  },

  /**
   * Holds `connections` connections to an echo server. On each, every `intervalMs`, the next number (8 bytes) is sent; what comes back must be
   * the numbers in order.
   */
  async tcpStreamStart({ host, port, connections, intervalMs, connectTimeoutMs }) {
    const handle = nextHandle++;
    const all = [];
    for (let index = 0; index < connections; index++) {
      const socket = net.connect({ host, port });
      socket.setNoDelay(true);
      const stream = {
        socket,
        sent: 0n,
        echoed: 0n,
        corrupt: 0,
        broken: undefined,
        longestStallMs: 0,
        lastEchoMs: 0,
        rest: Buffer.alloc(0),
      };
      await new Promise((resolve, reject) => {
        const timer = setTimeout(
          () => socket.destroy(Object.assign(new Error('no connection in time'), { code: 'ETIMEDOUT' })),
          connectTimeoutMs,
        );
        socket.once('connect', () => {
          clearTimeout(timer);
          resolve();
        });
        socket.once('error', reject);
      });
      stream.lastEchoMs = performance.now();
      socket.on('error', (error) => {
        stream.broken ??= error.code ?? error.message;
      });
      socket.on('close', () => {
        stream.broken ??= 'closed by the other side';
      });
      socket.on('data', (chunk) => {
        const now = performance.now();
        stream.longestStallMs = Math.max(stream.longestStallMs, now - stream.lastEchoMs);
        stream.lastEchoMs = now;
        let data = stream.rest.length === 0 ? chunk : Buffer.concat([stream.rest, chunk]);
        for (; data.length >= 8; data = data.subarray(8)) {
          if (data.readBigUInt64BE(0) !== stream.echoed) stream.corrupt++;
          stream.echoed++;
        }
        stream.rest = data;
      });
      all.push(stream);
    }
    const timer = setInterval(() => {
      for (const stream of all) {
        if (stream.broken !== undefined || stream.socket.writableLength > 1_000_000) continue;
        const message = Buffer.allocUnsafe(8);
        message.writeBigUInt64BE(stream.sent++, 0);
        stream.socket.write(message);
      }
    }, intervalMs);
    streams.set(handle, { all, timer });
    return { handle };
  },

  tcpStreamRead({ handle }) {
    return summarize(streams.get(handle).all);
  },

  /** Stops sending, waits for the last echoes, closes. */
  async tcpStreamStop({ handle, settleMs }) {
    const { all, timer } = streams.get(handle);
    clearInterval(timer);
    const until = performance.now() + settleMs;
    while (performance.now() < until && all.some((stream) => stream.broken === undefined && stream.echoed < stream.sent)) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const summary = summarize(all);
    streams.delete(handle);
    for (const stream of all) stream.socket.destroy();
    return summary;
  },

  /** Sends datagrams, each with the same payload. */
  async udpSend({ host, port, payload, count }) {
    const socket = dgram.createSocket(host.includes(':') ? 'udp6' : 'udp4');
    const data = Buffer.from(payload, 'base64');
    try {
      for (let index = 0; index < count; index++) {
        await new Promise((resolve, reject) => socket.send(data, port, host, (error) => (error ? reject(error) : resolve())));
      }
    } finally {
      socket.close();
    }
    return { sent: count };
  },

  /** A UDP socket that stays. It keeps what it hears, and the errors that ICMP tells it of while it is connected; with `echo`, sends all back. */
  async udpOpen({ host, port, connect, echo }) {
    const handle = nextHandle++;
    const socket = dgram.createSocket((host ?? connect?.host ?? '').includes(':') ? 'udp6' : 'udp4');
    const entry = { socket, heard: [], waiting: [] };
    const tell = (event) => {
      const next = entry.waiting.shift();
      if (next === undefined) entry.heard.push(event);
      else next(event);
    };
    socket.on('message', (data, { address, port: from }) => {
      if (echo) socket.send(data, from, address);
      else tell({ address, port: from, payload: data.toString('base64') });
    });
    socket.on('error', (error) => tell({ error: error.code }));
    await new Promise((resolve, reject) => {
      socket.once('error', reject);
      socket.bind(port, host, resolve);
    });
    if (connect !== undefined) await new Promise((resolve) => socket.connect(connect.port, connect.host, resolve));
    sockets.set(handle, entry);
    return { handle, port: socket.address().port };
  },

  /** What the kernel refuses at once (too big for what it knows of the path, an error that came in before) is an answer, too. */
  udpWrite({ handle, host, port, payload }) {
    const { socket } = sockets.get(handle);
    const data = Buffer.from(payload, 'base64');
    return new Promise((resolve) => {
      const done = (error) => resolve(error ? { error: error.code } : {});
      if (host === undefined) socket.send(data, done);
      else socket.send(data, port, host, done);
    });
  },

  /** The next datagram or error; null if none comes in time. */
  udpRead({ handle, timeoutMs }) {
    const { heard, waiting } = sockets.get(handle);
    if (heard.length > 0) return heard.shift();
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        waiting.splice(waiting.indexOf(got), 1);
        resolve(null);
      }, timeoutMs);
      const got = (event) => {
        clearTimeout(timer);
        resolve(event);
      };
      waiting.push(got);
    });
  },

  udpClose({ handle }) {
    sockets.get(handle)?.socket.close();
    sockets.delete(handle);
    return {};
  },

  /** Tells each client, in a line, from which address and port it came. */
  tcpMirrorServe({ host, port }) {
    return listen(
      net.createServer((socket) => socket.end(`${socket.remoteAddress} ${socket.remotePort}\n`)),
      { host, port },
    );
  },

  /** Listens on a Unix socket, which any namespace can reach, and joins each connection with one to a TCP address in this namespace. */
  relay({ path, host, port }) {
    const server = net.createServer((outer) => {
      const inner = net.connect({ host, port });
      inner.setNoDelay(true);
      for (const [from, to] of [
        [outer, inner],
        [inner, outer],
      ]) {
        from.pipe(to);
        from.on('error', () => to.destroy());
        from.on('close', () => to.destroy());
      }
    });
    return listen(server, { path });
  },

  close({ handle }) {
    const entry = servers.get(handle);
    servers.delete(handle);
    if (entry === undefined) return {};
    for (const socket of entry.sockets) socket.destroy();
    return new Promise((resolve) => entry.server.close(() => resolve({})));
  },
};

function summarize(all) {
  const now = performance.now();
  return {
    connections: all.length,
    broken: all.flatMap((stream) => (stream.broken === undefined ? [] : [stream.broken])),
    sent: all.reduce((sum, stream) => sum + Number(stream.sent), 0),
    echoed: all.reduce((sum, stream) => sum + Number(stream.echoed), 0),
    corrupt: all.reduce((sum, stream) => sum + stream.corrupt, 0),
    owed: all.filter((stream) => stream.broken === undefined && stream.echoed < stream.sent).length,
    stalled: all.filter((stream) => stream.broken === undefined && stream.echoed < stream.sent && now - stream.lastEchoMs > STALLED_MS)
      .length,
    // A stall that still lasts counts, but only while something is due.
    longestStallMs: Math.max(
      0,
      ...all.map((stream) => Math.max(stream.longestStallMs, stream.echoed < stream.sent ? now - stream.lastEchoMs : 0)),
    ),
  };
}

createInterface({ input: process.stdin })
  .on('line', async (line) => {
    const { id, op, ...rest } = JSON.parse(line);
    try {
      send({ id, ok: await operations[op](rest) });
    } catch (error) {
      send({ id, error: { code: error.code ?? 'ERR', message: error.message } });
    }
  })
  .on('close', () => process.exit(0));
send({ ready: true });
