import { Action } from '@weft/forwarding';
import { internetChecksum, parseIp } from '@weft/packet';
import type { BenchNetwork, WeftGateway } from './weft.ts';

/** What `from_underlay` leaves in the frame's control block for `to_gateway`: docs/gateway-contract.md section 2. */
const CALLED = 0x57464757;
const SHARD = 1;
const ETHERNET_BYTES = 14;
const IP_BYTES = 20;
const UDP_BYTES = 8;
const UDP = 17;

/** A flow inside: who, and by which port. */
export interface InsideFlow {
  /** Customer address as a number. */
  readonly ca: number;
  readonly port: number;
}

/**
 * Sends packets of UDP flows through the gateway's program without a device, as `BPF_PROG_TEST_RUN` does: a million mappings in seconds, and what each one cost by the kernel's
 * own clock.
 */
export class FlowMaker {
  readonly #gateway: WeftGateway;
  readonly #frame = new Uint8Array(ETHERNET_BYTES + IP_BYTES + UDP_BYTES + 18);
  readonly #view = new DataView(this.#frame.buffer);
  readonly #cb: readonly number[];

  constructor(gateway: WeftGateway, network: BenchNetwork, server: string) {
    this.#gateway = gateway;
    this.#cb = [network.networkId, SHARD, network.gatewayVsid, 0, CALLED];
    const view = this.#view;
    view.setUint16(12, 0x0800);
    view.setUint8(ETHERNET_BYTES, 0x45);
    view.setUint16(ETHERNET_BYTES + 2, this.#frame.length - ETHERNET_BYTES);
    view.setUint16(ETHERNET_BYTES + 6, 0x4000);
    view.setUint8(ETHERNET_BYTES + 8, 63);
    view.setUint8(ETHERNET_BYTES + 9, UDP);
    this.#frame.set(parseIp(server).subarray(12), ETHERNET_BYTES + 16);
    view.setUint16(ETHERNET_BYTES + IP_BYTES + 2, 53);
    view.setUint16(ETHERNET_BYTES + IP_BYTES + 4, this.#frame.length - ETHERNET_BYTES - IP_BYTES);
  }

  /**
   * One packet of a flow. The first makes its mapping and its session.
   *
   * @returns Nanoseconds.
   * @throws {Error} When the gateway does not let it out.
   */
  send(flow: InsideFlow): number {
    const view = this.#view;
    view.setUint32(ETHERNET_BYTES + 12, flow.ca);
    view.setUint16(ETHERNET_BYTES + 10, 0);
    view.setUint16(ETHERNET_BYTES + 10, internetChecksum(this.#frame, ETHERNET_BYTES, IP_BYTES));
    view.setUint16(ETHERNET_BYTES + IP_BYTES, flow.port);
    const { ctx, durationNs } = this.#gateway.gateway.datapath.testRun('to_gateway', {
      data: this.#frame,
      ctx: { cb: this.#cb },
      dataOutBytes: this.#frame.length,
    });
    const word = ctx.cb[0]!;
    if (word >>> 16 !== Action.EXTERNAL || (word & 0xffff) !== 0)
      throw new Error(`The gateway did not let a flow from port ${flow.port} out: action ${word >>> 16}, reason ${word & 0xffff}`);
    return durationNs;
  }
}

/** Flow `index`: `perAddress` flows of each customer address, from 10.1.0.0 on. */
export function insideFlow(index: number, perAddress: number): InsideFlow {
  return { ca: 0x0a01_0000 + Math.floor(index / perAddress), port: 1_024 + (index % perAddress) };
}
