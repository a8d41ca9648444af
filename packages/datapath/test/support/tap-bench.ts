import { ErrorLimit, MemoryTables, PortFlag, SpeakerFlag, type TableChange, type Target, TargetKind } from '@weft/forwarding';
import { createWorld, Rng, type World } from '@weft/forwarding/testing';
import { DropReason, dropReasonName } from '@weft/model';
import { parseIp, parseMac } from '@weft/packet';
import { cleanDeadLabs, cleanLab, Registry, setOffloads } from '@weft/testkit';
import { type FrameSource, inNetns, openPacketSocket, openTap, type TapOffload, TunTapError } from '@weft/tuntap';
import { createKernelDatapath, type KernelDatapath } from '../../src/index.ts';
import { readOffload, VNET_HEADER_BYTES } from '../../src/user/offload.ts';
import { netnsPath, RUN, sh } from './lab.ts';
import {
  type Carriage,
  type Counted,
  carriageOf,
  type Expectation,
  expectationOf,
  faultOf,
  hex,
  type Place,
  type Received,
  type Side,
  takenOf,
} from './tap-expectation.ts';
import { nextTrial, type TapTrial } from './tap-trials.ts';

/*
 * A world of the generator as host A sees it, and the same world as host B does, whose ports A knows as its peer's:
 *
 *   ns A: taps p0…p5                ns B: taps q0…q11
 *        |  from_port                    |  from_underlay, from_tunnel
 *      under0 192.0.2.1                under0 192.0.2.11        ns beyond: all other provider addresses, read by a packet socket
 *        |                               |                         |
 *        +------------- bridge ----------+-------------------------+
 */

const NAME = 'wdpt';
const PORTS_AT_A = 6;
const PORTS_AT_B = 12;
const UNDERLAY_MTU = 9200;
const PA_A = parseIp('192.0.2.1');
const PA_B = parseIp('192.0.2.11');
const MTUS = [1280, 1400, 1450, 1500, 4000, 8950, 9000];
const ALL: readonly TapOffload[] = ['csum', 'tso4', 'tso6', 'ecn', 'uso4', 'uso6'];
const ARRIVAL_MS = 3000;
const SETTLE_TURNS = 20;
const CARRIAGES: readonly Carriage[] = ['veth', 'wire', 'gro'];

export interface TapOutcome {
  /** Frames that the kernel took from the TAP, and that so have been judged. */
  readonly tried: number;
  readonly dropped: number;
  readonly delivered: number;
  /** Super-frames that came out whole. */
  readonly whole: number;
  readonly difference: { readonly seed: number; readonly index: number; readonly label: string; readonly text: string } | undefined;
}

interface Host {
  readonly netns: string;
  readonly datapath: KernelDatapath;
  readonly taps: readonly FrameSource[];
}

export class TapBench {
  /** Finds all of it again after a crash. */
  readonly #registry: Registry;
  readonly #a: Host;
  readonly #b: Host;
  readonly #beyond: FrameSource;
  readonly #sources = new Map<Place, FrameSource>();
  readonly #takesWhole = new Set<Place>();
  #carriage: Carriage | undefined;

  private constructor() {
    const id = `${NAME}${RUN}`;
    this.#registry = Registry.create(id);
    const [a, b, beyond, bridge] = ['a', 'b', 'x', 's'].map((suffix) => this.#addNetns(`${id}${suffix}`)) as [
      string,
      string,
      string,
      string,
    ];
    sh(`ip -n ${bridge} link add br0 type bridge mcast_snooping 0; ip -n ${bridge} link set br0 mtu ${UNDERLAY_MTU} up`);
    const macs = [a, b, beyond].map((netns, i) => {
      const mac = `02:00:00:00:bb:0${i + 1}`;
      sh(
        `ip link add under0 mtu ${UNDERLAY_MTU} address ${mac} netns ${netns} type veth peer name s${i} mtu ${UNDERLAY_MTU} netns ${bridge}; ` +
          `ip -n ${bridge} link set s${i} master br0 up; bridge -n ${bridge} fdb replace ${mac} dev s${i} master static; ` +
          `ip -n ${netns} link set under0 up`,
      );
      return mac;
    });
    const addresses: readonly [string, string][] = [
      ['192.0.2.1', macs[0]!],
      ['192.0.2.11', macs[1]!],
      ...['192.0.2.12', '192.0.2.13', '192.0.2.21', '192.0.2.22', '192.0.2.99'].map((pa): [string, string] => [pa, macs[2]!]),
    ];
    for (const [netns, own] of [
      [a, '192.0.2.1'],
      [b, '192.0.2.11'],
    ] as const) {
      sh(`ip -n ${netns} addr add ${own}/24 dev under0`);
      for (const [pa, mac] of addresses) if (pa !== own) sh(`ip -n ${netns} neigh replace ${pa} lladdr ${mac} dev under0 nud permanent`);
    }
    this.#a = this.#addHost(a, PA_A, 'A', PORTS_AT_A);
    this.#b = this.#addHost(b, PA_B, 'B', PORTS_AT_B);
    this.#beyond = inNetns(netnsPath(beyond), () =>
      openPacketSocket({ interfaceName: 'under0', vnetHdr: true, receiveBufferBytes: 4 << 20 }),
    );
    this.#sources.set('underlay', this.#beyond);
  }

  /** Also removes what a run before it has left. */
  static async create(): Promise<TapBench> {
    await cleanDeadLabs(NAME);
    return new TapBench();
  }

  /** Tries `count` writes in the world of `seed`; stops at the first difference. The seed also says how the underlay carries super-frames. */
  async run(seed: number, count: number): Promise<TapOutcome> {
    const carriage = CARRIAGES[seed % CARRIAGES.length]!;
    await this.#carry(carriage);
    const { world, a, b } = this.#load(seed);
    const rng = new Rng(seed);
    const totals = { tried: 0, dropped: 0, delivered: 0, whole: 0 };
    this.#readAll();
    let before = this.#drops();
    for (let index = 0; index < count; index++) {
      const trial = nextTrial(rng, world);
      const isTaken = this.#write(trial);
      const outcome = isTaken ? expectationOf(a, b, PA_B, trial.ifindex, takenOf(trial.bytes), carriage) : undefined;
      const { text, received, after } = await this.#settle(outcome, before, carriage);
      if (text !== undefined) {
        const found = `${carriage}, device ${trial.ifindex}, header ${hex(trial.bytes.subarray(0, 10))}, frame ${hex(trial.bytes.subarray(10))}\n${text}`;
        return { ...totals, difference: { seed, index, label: trial.label, text: found } };
      }
      before = after;
      if (outcome === undefined) continue;
      totals.tried++;
      if (outcome.drop !== undefined) totals.dropped++;
      if (received.size > 0) totals.delivered++;
      if ([...received.values()].some((frames) => frames.some(({ offload }) => offload.gsoType !== 0))) totals.whole++;
    }
    return { ...totals, difference: undefined };
  }

  async close(): Promise<void> {
    for (const source of this.#sources.values()) source.close();
    for (const host of [this.#a, this.#b]) inNetns(netnsPath(host.netns), () => host.datapath.destroy());
    await cleanLab(this.#registry.name);
  }

  #addNetns(name: string): string {
    this.#registry.record({ kind: 'netns', name }, { kind: 'pins', path: `/sys/fs/bpf/weft/${name}` });
    sh(`ip netns add ${name}; ip -n ${name} link set lo up`);
    inNetns(netnsPath(name), () => sh('sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1'));
    return name;
  }

  #addHost(netns: string, pa: Uint8Array, side: 'A' | 'B', ports: number): Host {
    return inNetns(netnsPath(netns), () => {
      const datapath = createKernelDatapath({
        instance: netns,
        pa,
        underlayInterface: 'under0',
        testClock: true,
        maxEntries: { lookup: 1024, l2: 1024, route: 1024, speaker: 64, shard: 64, subnet: 64, drops: 4096 },
      });
      const taps = Array.from({ length: ports }, (_, i) => {
        // Every third VM can't take super-frames: the kernel cuts them.
        const isPlain = i % 3 === 2;
        const tap = openTap({ name: `${side.toLowerCase()}${i}`, vnetHdr: true, offloads: isPlain ? [] : ALL });
        sh(`ip link set ${tap.name} arp off up`);
        const place: Place = `${side} ${tap.ifindex}`;
        this.#sources.set(place, tap);
        if (!isPlain) this.#takesWhole.add(place);
        datapath.attachDevice({ name: tap.name, ifindex: tap.ifindex, kind: 'tap' });
        return tap;
      });
      return { netns, datapath, taps };
    });
  }

  async #carry(carriage: Carriage): Promise<void> {
    if (this.#carriage === carriage) return;
    this.#carriage = carriage;
    await setOffloads(this.#a.netns, 'under0', carriage === 'veth' ? 'veth' : 'wire');
    await setOffloads(this.#b.netns, 'under0', carriage === 'gro' ? 'wire' : 'veth');
  }

  #load(seed: number): { readonly world: World; readonly a: Side; readonly b: Side } {
    const rng = new Rng(seed ^ 0x7a9);
    const world = createWorld(seed, {
      portIfindexes: this.#a.taps.map(({ ifindex }) => ifindex),
      underlayIfindex: this.#a.datapath.underlayIfindex,
    });
    const rowsA = world.changes.map((row) => withoutVeth(row, rng));
    const rowsB = this.#rowsOfPeer(world, rng);
    const side = (host: Host, rows: readonly TableChange[], pa: Uint8Array): Side => {
      const { datapath } = host;
      datapath.apply(datapath.entries().map(({ table, key }) => ({ op: 'delete', table, key }) as TableChange));
      datapath.apply(rows);
      datapath.setTestClock(world.nowBootNs);
      for (const { ifindex } of datapath.drops()) datapath.forgetDrops(ifindex);
      return {
        tables: new MemoryTables(rows),
        context: { pa, udpPort: world.udpPort, nowBootNs: world.nowBootNs, errors: new ErrorLimit() },
        underlayIfindex: datapath.underlayIfindex,
        tunnelIfindex: datapath.tunnelIfindex,
      };
    };
    return { world, a: side(this.#a, rowsA, PA_A), b: side(this.#b, rowsB, PA_B) };
  }

  /** The same world from host B: A's ports are its peer's, those at B's address its own. Some rows are wrong, so that B has to refuse. */
  #rowsOfPeer(world: World, rng: Rng): TableChange[] {
    const ifindexes = new Map<string, number>();
    const rows: TableChange[] = [];
    const devices = this.#b.taps.map(({ ifindex }) => ifindex);
    for (const row of world.changes) {
      if (row.op !== 'put' || row.table === 'port' || row.table === 'shard') continue;
      if (row.table === 'speaker' && isSame(row.key.pa, PA_B)) continue;
      if (row.table !== 'lookup' && row.table !== 'l2') {
        if (row.table !== 'subnet' || !rng.oneIn(25)) rows.push(row);
        continue;
      }
      const { value } = row;
      const target: Target = { ...value, flags: 0 };
      const isAtB = isSame(value.pa, PA_B) && value.kind !== TargetKind.SHARD && value.kind <= TargetKind.REDIRECT;
      const name = `${value.vsid} ${Buffer.from(value.mac).toString('hex')}`;
      if (isAtB && !ifindexes.has(name) && ifindexes.size < devices.length) {
        const ifindex = devices[ifindexes.size]!;
        ifindexes.set(name, ifindex);
        const { networkId } = world.subnets.find(({ vsid }) => vsid === value.vsid)!;
        const port = { networkId, vsid: value.vsid, mtuBytes: 1500, flags: PortFlag.READY, mac: value.mac };
        rows.push({ op: 'put', table: 'port', key: { ifindex }, value: port });
      }
      const ifindex = ifindexes.get(name);
      let own = target;
      if (ifindex !== undefined) own = { ...target, kind: TargetKind.LOCAL, ifindexOrShard: ifindex };
      else if (value.kind === TargetKind.LOCAL) own = { ...target, kind: TargetKind.PEER, ifindexOrShard: 0, pa: PA_A };
      else if (value.kind === TargetKind.REDIRECT) own = { ...target, kind: TargetKind.PEER };
      rows.push({ ...row, value: spoilt(own, rng.below(12)) } as TableChange);
    }
    for (const networkId of new Set(world.subnets.map((subnet) => subnet.networkId)))
      if (!rng.oneIn(10)) rows.push({ op: 'put', table: 'speaker', key: { pa: PA_A, networkId }, value: SpeakerFlag.HOST });
    return rows;
  }

  /** @returns False if the kernel refuses: the header makes no sense to it. */
  #write({ ifindex, bytes }: TapTrial): boolean {
    const tap = this.#sources.get(`A ${ifindex}`)!;
    try {
      tap.write(bytes);
    } catch (error) {
      if (error instanceof TunTapError && error.code === 'WEFT_ERR_TUNTAP_BAD_FRAME') return false;
      throw error;
    }
    // A tag needs two bytes behind it, or the kernel has done with the frame before any program.
    const frame = bytes.subarray(VNET_HEADER_BYTES);
    const type = (frame[12]! << 8) | frame[13]!;
    return !((type === 0x8100 || type === 0x88a8) && frame.length < 20);
  }

  /** Waits until all is as it must be, or for as long as the kernel may take; where nothing need come, until it would have. */
  async #settle(
    outcome: Expectation | undefined,
    before: ReadonlyMap<string, number>,
    carriage: Carriage,
  ): Promise<{ text: string | undefined; received: Map<Place, Received[]>; after: Map<string, number> }> {
    const received = this.#readAll();
    const isOpen = outcome === undefined || outcome.mayVanish !== undefined || outcome.mayBeRefused;
    for (let i = 0; isOpen && i < SETTLE_TURNS; i++) await turn();
    for (const end = Date.now() + ARRIVAL_MS; ; await turn()) {
      this.#readAll(received);
      const after = this.#drops();
      const text =
        outcome === undefined ? somethingMoved(received, before, after) : this.#judge(outcome, received, before, after, carriage);
      if (text === undefined || Date.now() > end) return { text, received, after };
    }
  }

  #readAll(into = new Map<Place, Received[]>()): Map<Place, Received[]> {
    for (const [place, source] of this.#sources) {
      for (let bytes = source.read(); bytes !== null; bytes = source.read()) {
        const one = { offload: readOffload(bytes), frame: bytes.subarray(VNET_HEADER_BYTES) };
        into.set(place, [...(into.get(place) ?? []), one]);
      }
    }
    return into;
  }

  #judge(
    { verdict, drop, delivery, mayVanish, mayBeRefused }: Expectation,
    received: ReadonlyMap<Place, Received[]>,
    before: ReadonlyMap<string, number>,
    after: ReadonlyMap<string, number>,
    mode: Carriage,
  ): string | undefined {
    const carriage = carriageOf(mode, verdict);
    const moved = [...after].flatMap(([key, count]) =>
      count === (before.get(key) ?? 0) ? [] : [[key, count - (before.get(key) ?? 0)] as const],
    );
    const said = `oracle: ${describe(drop)}, frame to ${delivery?.place ?? 'nobody'}; kernel: ${describeMoved(moved)}, frames to ${describePlaces(received)}`;
    const isRefused = moved.length === 1 && moved[0]![1] === 1 && moved[0]![0].endsWith(`/${DropReason.KERNEL_REFUSED}`);
    if (mayBeRefused && isRefused && received.size === 0) return undefined;
    // Of a super-frame that is none, pieces may come to host B of which it refuses some.
    const isLost = mayVanish !== undefined && drop?.host !== 'A' && (isRefused || moved.every(([key]) => key.startsWith('B/')));
    if (!isLost && !isRight(moved, drop, mayVanish === undefined && carriage !== 'gro')) return said;
    const places = [...received.keys()];
    if (places.some((place) => place !== delivery?.place)) return said;
    if (delivery === undefined) return undefined;
    if (places.length === 0) return mayVanish === undefined ? `${said} (action ${verdict.action})` : undefined;
    if (mayVanish !== undefined && !delivery.isError) return undefined;
    const isWhole = delivery.place.startsWith('A')
      ? this.#takesWhole.has(delivery.place)
      : carriage === 'veth' && this.#isWholeAt(delivery.place);
    const fault = faultOf(delivery, received.get(delivery.place)!, isWhole);
    return fault === undefined ? undefined : `${said}; ${fault}`;
  }

  #isWholeAt(place: Place): boolean {
    return place === 'underlay' || this.#takesWhole.has(place);
  }

  #drops(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const [side, host] of [
      ['A', this.#a],
      ['B', this.#b],
    ] as const) {
      for (const { ifindex, vsid, reason, packets } of host.datapath.drops())
        counts.set(`${side}/${ifindex}/${vsid}/${reason}`, Number(packets));
    }
    return counts;
  }
}

/** Only the counter named has moved; `isExact`: as often as it may. (GRO joins segments as it sees fit.) */
function isRight(moved: readonly (readonly [string, number])[], drop: Counted | undefined, isExact: boolean): boolean {
  if (drop === undefined) return moved.length === 0;
  const [[key, count] = ['', 0]] = moved as readonly [string, number][];
  return moved.length === 1 && key === keyOf(drop) && count <= drop.most && (!isExact || count === drop.most);
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const isSame = (one: Uint8Array, other: Uint8Array): boolean => one.every((byte, i) => byte === other[i]);
const keyOf = ({ host, ifindex, vsid, reason }: Counted): string => `${host}/${ifindex}/${vsid}/${reason}`;

/** One row in four or less is not what host A's are. */
function spoilt(target: Target, roll: number): Target {
  if (roll === 0) return { ...target, kind: TargetKind.DENY };
  if (target.kind !== TargetKind.PEER) return target;
  if (roll === 1) return { ...target, pa: parseIp('192.0.2.12') };
  return roll === 2 ? { ...target, mac: parseMac('02:00:00:00:00:ee') } : target;
}

/** TAPs have no other end to deliver to; and large MTUs for large frames. */
function withoutVeth(row: TableChange, rng: Rng): TableChange {
  if (row.op !== 'put') return row;
  if (row.table === 'port') return { ...row, value: { ...row.value, flags: row.value.flags & PortFlag.READY, mtuBytes: rng.pick(MTUS) } };
  if (row.table === 'lookup' || row.table === 'l2') return { ...row, value: { ...row.value, flags: 0 } } as TableChange;
  return row;
}

function somethingMoved(
  received: ReadonlyMap<Place, Received[]>,
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
): string | undefined {
  const isSameCount = after.size === before.size && [...after].every(([key, count]) => before.get(key) === count);
  return received.size === 0 && isSameCount ? undefined : `the kernel refused the write, yet frames came to ${describePlaces(received)}`;
}

function describe(drop: Counted | undefined): string {
  return drop === undefined ? 'no drop' : `${drop.host}/${drop.ifindex}/${drop.vsid} ${dropReasonName(drop.reason)} up to ${drop.most}`;
}

function describeMoved(moved: readonly (readonly [string, number])[]): string {
  const named = moved.map(([key, count]) => key.replace(/\d+$/, (reason) => `${dropReasonName(Number(reason) as DropReason)} ${count}`));
  return named.length === 0 ? 'no drop' : named.join(', ');
}

function describePlaces(received: ReadonlyMap<Place, Received[]>): string {
  if (received.size === 0) return 'nobody';
  return [...received].map(([place, frames]) => `${place} (${frames.map(({ frame }) => frame.length).join(', ')} bytes)`).join(', ');
}
