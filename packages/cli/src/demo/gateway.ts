import { cutPower, type Lab, OwnershipWatcher, restorePower } from '@weft/lab';
import { httpGet, httpServe, waitFor } from '@weft/testkit';
import { type GatewayLoad, startGatewayLoad } from './gateway-load.ts';
import type { StepOutcome, Story } from './story.ts';
import { gateways, gatewayText, INTERNET, portForwardText, SHOP_ADDRESS, type Tenant, tenants, vmName, WEB_SERVER } from './topology.ts';

const FETCH_BYTES = 2_000_000;
/** For what the benchmarks hold to 500 ms on a machine that does nothing else. */
const GAP_BOUND_MS = 3_000;

/** The demo's second half: the way out, and what becomes of it when a gateway is lost or drained. */
export class GatewaySteps {
  readonly #lab: Lab;
  readonly #story: Story;
  #watcher: OwnershipWatcher | undefined;
  /** The shard that each tenant's network is on. */
  #shards: ReadonlyMap<Tenant, number> = new Map();

  constructor(lab: Lab, story: Story) {
    this.#lab = lab;
    this.#story = story;
  }

  stop(): void {
    this.#watcher?.stop();
    this.#watcher = undefined;
  }

  /** Both tenants, equal addresses, fetch from the same server at once. */
  async wayOut(): Promise<StepOutcome> {
    await this.#apply(gatewayText());
    this.#story.say('applied: a gateway of two members and a witness, and for each tenant a connection with port mapping');
    await this.#untilOwned();
    const server = await httpServe(await this.#outside(), { port: 80 });
    const fetched = await Promise.all(
      tenants.map(async (tenant) => {
        const worker = await this.#lab.vm(vmName(tenant, 'a')).worker();
        const [body, seen] = await Promise.all([
          httpGet(worker, `http://${WEB_SERVER}/${tenant}/${FETCH_BYTES}`),
          httpGet(worker, `http://${WEB_SERVER}/address`, { keepText: true }),
        ]);
        return { tenant, ok: body.ok, address: seen.text, owner: this.#ownerOf(tenant) };
      }),
    );
    await server.close();
    for (const { tenant, address, owner } of fetched)
      this.#story.say(`${tenant}-a, 10.0.1.10 inside, comes to ${WEB_SERVER} as ${address}, by way of ${owner}`);
    const [coke, pepsi] = fetched;
    return {
      ok: fetched.every(({ ok }) => ok) && coke!.address !== pepsi!.address,
      line: `both fetched ${(FETCH_BYTES / 1e6).toFixed(0)} MB at once, complete and right; the server saw ${coke!.address} and ${pepsi!.address}`,
      figures: {
        bytes: FETCH_BYTES * tenants.length,
        addresses: fetched.map(({ address }) => address),
        owners: fetched.map(({ owner }) => owner),
      },
    };
  }

  /** From the outside in, and only where a rule says so. */
  async portForward(): Promise<StepOutcome> {
    await this.#apply(portForwardText());
    const outside = await this.#outside();
    const shop = await httpServe(await this.#lab.vm('coke-b').worker(), { port: 80, text: 'the shop of coke' });
    const other = await httpServe(await this.#lab.vm('pepsi-b').worker(), { port: 80, text: 'the shop of pepsi' });
    const answer = await waitFor(() => httpGet(outside, `http://${SHOP_ADDRESS}/`, { keepText: true, timeoutMs: 1_000 }), {
      what: 'the outside to reach coke-b by its port forward',
      deadlineMs: 15_000,
      intervalMs: 100,
    });
    const refused = await httpGet(outside, `http://${SHOP_ADDRESS}:8080/`, { timeoutMs: 500 }).then(
      () => false,
      () => true,
    );
    await Promise.all([shop.close(), other.close()]);
    this.#story.say(`the web server's network asks ${SHOP_ADDRESS}:80 and is answered by coke-b, 10.0.1.11; port 8080 answers nobody`);
    return {
      ok: answer.text === 'the shop of coke' && refused,
      line: `${SHOP_ADDRESS}:80 leads to coke-b, and pepsi-b with the same address hears nothing of it`,
      figures: { reached: answer.text === 'the shop of coke', otherPortRefused: refused },
    };
  }

  /** The owner of coke's shard is gone from one moment to the next. */
  async powerCut(): Promise<StepOutcome> {
    const watcher = this.#watcher!;
    const owner = this.#ownerOf('coke');
    const load = await this.#load();
    const young = await load.open(20);
    const cutAtMs = watcher.now();
    await cutPower(this.#lab, owner);
    this.#story.say(`${owner}, which carries coke, has lost power: no process, no link, no word to anybody`);
    await watcher.untilMovedFrom(owner, this.#shards.get('coke')!);
    await load.answered(500);
    const moves = watcher.moves.filter(({ atMs }) => atMs >= cutAtMs);
    const detectedMs = Math.min(...moves.map(({ atMs }) => atMs)) - cutAtMs;
    const result = await load.stop();
    const youngLost = await young.stop();
    this.#story.say(
      `${this.#ownerOf('coke')} has taken over; of ${youngLost.connections} connections younger than a second ${youngLost.lost} were lost`,
    );
    return {
      ok: result.lostConnections === 0 && result.gapMs < GAP_BOUND_MS && watcher.faults.length === 0,
      line: `noticed and replaced after ${detectedMs.toFixed(0)} ms, gap ${result.gapMs.toFixed(0)} ms, connections lost ${result.lostConnections} of ${result.connections}; never two owners for a host`,
      figures: {
        detectedMs,
        gapMs: result.gapMs,
        packetsPerSecond: result.packetsPerSecond,
        packetsLost: result.lostPackets,
        connections: result.connections,
        connectionsLost: result.lostConnections,
        youngConnections: youngLost.connections,
        youngConnectionsLost: youngLost.lost,
        twoOwners: watcher.faults.length,
      },
    };
  }

  /** The polite way: everything is brought over first. */
  async drain(): Promise<StepOutcome> {
    const watcher = this.#watcher!;
    const owner = this.#ownerOf('coke');
    const dead = gateways.find((name) => name !== owner)!;
    await restorePower(this.#lab, dead);
    await this.#untilProtected();
    this.#story.say(`${dead} has power again, and knows every connection that ${owner} carries`);
    const load = await this.#load();
    await this.#lab.weft(['gateway', 'drain', 'edge', owner]);
    this.#story.say(`weft gateway drain edge ${owner}`);
    for (const shard of this.#shards.values()) await watcher.untilMovedFrom(owner, shard);
    await load.answered(500);
    await watcher.untilAtRest();
    const result = await load.stop();
    return {
      ok: result.lostPackets === 0 && result.lostConnections === 0 && watcher.faults.length === 0,
      line: `drained: packets lost ${result.lostPackets} of ${result.sent}, connections lost ${result.lostConnections} of ${result.connections}, longest gap ${result.gapMs.toFixed(0)} ms`,
      figures: {
        packets: result.sent,
        packetsLost: result.lostPackets,
        connections: result.connections,
        connectionsLost: result.lostConnections,
        gapMs: result.gapMs,
      },
    };
  }

  async #load(): Promise<GatewayLoad> {
    const load = await startGatewayLoad(this.#lab, await this.#outside());
    await this.#untilProtected();
    this.#story.say('200 long TCP connections of coke to the web server, and 1,000 packets a second of both tenants');
    return load;
  }

  async #apply(manifest: string): Promise<void> {
    await this.#lab.weft(['apply', '-f', '-'], { input: manifest });
  }

  async #outside() {
    return this.#lab.net.worker(this.#lab.externalNetwork(INTERNET).outside);
  }

  #ownerOf(tenant: Tenant): string {
    return this.#watcher!.owner(this.#shards.get(tenant)!) ?? 'nobody';
  }

  /** Each shard where the record places it, so that both gateways work. */
  async #untilOwned(): Promise<void> {
    const { records } = await this.#lab.ask(
      'controller',
      { kind: 'list', value: { kinds: ['VirtualNetwork', 'Assignment'], tenant: '', network: '', name: '' } },
      'list',
    );
    const [assignment] = records.flatMap(({ record }) => (record?.kind === 'assignment' ? [record.value] : []));
    const shards = new Map<Tenant, number>();
    for (const { record } of records) {
      if (record?.kind === 'network' && record.value.gateway !== undefined)
        shards.set(record.value.tenant as Tenant, record.value.gateway.shard);
    }
    this.#shards = shards;
    this.#watcher = OwnershipWatcher.start(this.#lab.net);
    const watcher = this.#watcher;
    const placed = assignment!.shards.map(({ id, order }) => ({
      id,
      host: assignment!.members.find(({ member }) => member === order[0])!.hostId,
    }));
    await waitFor(() => placed.every(({ id, host }) => watcher.owner(id) === host), {
      what: 'the gateways to have shared the work',
      deadlineMs: 60_000,
      intervalMs: 50,
    });
    await watcher.untilAtRest();
  }

  /** Until the standby of every shard has what the owner has. */
  async #untilProtected(): Promise<void> {
    let last = '';
    await waitFor(
      async () => {
        const statuses = await Promise.all(
          [...this.#shards.values()].map(async (shard) => {
            const owner = this.#watcher!.owner(shard)!;
            const { groups } = await this.#lab.ask(owner, { kind: 'gatewayStatus', value: { gatewayId: '' } }, 'gatewayStatus', 2_000);
            return groups.flatMap(({ shards }) => shards).find((one) => one.shard === shard)?.lag;
          }),
        );
        last = JSON.stringify(statuses);
        return statuses.every((lag) => lag?.isProtected === true);
      },
      { what: 'the standby to have all connections', deadlineMs: 30_000, intervalMs: 100, show: () => last },
    );
  }
}
