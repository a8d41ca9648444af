import type { AgentClock, AgentDatapath, DeviceInfo, Devices, HostAgentInit } from './components.ts';
import type { Conditions } from './conditions.ts';
import { AgentError, messageOf } from './errors.ts';
import type { Held, HeldPorts } from './held-ports.ts';
import type { NetworkSession } from './network-session.ts';
import type { OwnPort } from './state-store.ts';

// A port's device: there, guarded, with the program, up; and all of it away again. The view is told which device the port has: its rows follow.

export interface PortDevicesComponents {
  readonly init: HostAgentInit;
  readonly datapath: AgentDatapath;
  readonly devices: Devices;
  readonly clock: AgentClock;
  readonly conditions: Conditions;
  readonly session: (rdid: string) => NetworkSession | undefined;
  /** Own ports changed: save them. */
  readonly onChange: () => void;
}

/** A device on its way to be a port's. */
export interface Equipment {
  /** The program is attached and the device up. A failure is also heard by whoever begins to wait later. */
  readonly ready: Promise<Held>;
}

export type DeviceWish = Pick<OwnPort, 'routingDomainId' | 'portId' | 'vsid' | 'device' | 'deviceKind'>;

// As the kernel judges names (dev_valid_name), and without the % that makes a pattern of one.
const DEVICE_NAME = /^[^\s/:%]{1,15}$/;

export class PortDevices {
  readonly #on: PortDevicesComponents;
  readonly #ports: HeldPorts;

  constructor(components: PortDevicesComponents, ports: HeldPorts) {
    this.#on = components;
    this.#ports = ports;
  }

  /** Device there and guarded, program attached, port entry without READY. Idempotent. */
  async equip(wish: DeviceWish, state: 'prepared' | 'bound'): Promise<Held> {
    const wasHeld = this.#ports.has(wish.portId);
    const { ready } = await this.beginToEquip(wish, state);
    try {
      return await ready;
    } catch (error) {
      if (!wasHeld) await this.undo(wish.portId);
      throw error;
    }
  }

  /** As `#equip`; what the kernel takes its time for is only begun. From here on the port is held, with no device yet. */
  async beginToEquip(wish: DeviceWish, state: 'prepared' | 'bound'): Promise<Equipment> {
    const { devices, clock, init } = this.#on;
    this.#checkDeviceFree(wish);
    const before = this.#ports.get(wish.portId);
    if (before !== undefined && before.device !== wish.device) await this.takeDown(before);
    const same = before?.device === wish.device ? before : undefined;
    let made = same?.ownsDevice ?? false;
    if (same?.attached !== undefined && devices.ifindex(wish.device) === same.attached.ifindex) {
      this.#on.session(wish.routingDomainId)?.setDevice(wish.portId, same.attached, clock.now());
      return { ready: Promise.resolve(this.#ports.put({ ...same, ...pick(wish), state: same.state === 'bound' ? 'bound' : state })) };
    }
    let info = await devices.inspect(wish.device);
    const ownUse = init.reservedDevices?.includes(wish.device) ? 'the tunnels use it' : info?.ownUse;
    if (ownUse !== undefined) {
      throw new AgentError(
        'WEFT_ERR_AGENT_DEVICE_RESERVED',
        `Cannot use device ${wish.device} for a port: ${ownUse}; a port's device must be its own, name another`,
        { path: 'device', value: wish.device },
      );
    }
    try {
      if (info === undefined) {
        if (wish.deviceKind !== 'tap') {
          throw new AgentError(
            'WEFT_ERR_AGENT_DEVICE_MISSING',
            `Cannot use device ${wish.device}: host ${init.hostId} has none of that name; create it first, or let the agent make a TAP (--tap)`,
            { path: 'device', value: wish.device },
          );
        }
        info = await devices.createTap(wish.device);
        made = true;
      } else if (wish.deviceKind === 'tap' && !info.isTap) {
        throw new AgentError(
          'WEFT_ERR_AGENT_DEVICE_KIND',
          `Cannot use device ${wish.device} as a TAP: it is none; name another, or bind it as a network device (--netdev)`,
          {
            path: 'device',
            value: wish.device,
          },
        );
      }
      await devices.protect(wish.device);
    } catch (error) {
      if (made && same === undefined) await this.#removeQuietly(wish.device);
      throw setupError(wish.device, error);
    }
    this.#checkDeviceFree(wish);
    this.#ports.put({ generation: 0, attached: undefined, ...same, ...pick(wish), state, ownsDevice: made });
    const ready = this.#attach(wish, info, made, made && same === undefined);
    ready.catch(() => undefined);
    return { ready };
  }

  #checkDeviceFree({ portId, device }: DeviceWish): void {
    for (const other of this.#ports.all()) {
      if (other.portId === portId || other.device !== device) continue;
      throw new AgentError(
        'WEFT_ERR_AGENT_DEVICE_IN_USE',
        `Cannot use device ${device} for port ${portId}: it belongs to port ${other.portId} (${other.state}); unbind that one, or name another device`,
        { path: 'device', value: device },
      );
    }
  }

  /** Attaches, then brings up: the first frame meets the program. @param fresh Made for this port just now: removed again on failure. */
  async #attach(wish: DeviceWish, info: DeviceInfo, made: boolean, fresh: boolean): Promise<Held> {
    const { devices, datapath, init } = this.#on;
    const { ifindex, kind } = info;
    this.#ports.attaching.add(ifindex);
    try {
      await datapath.attachDeviceAsync({ name: wish.device, ifindex, kind });
      if (made || !info.isUp) await devices.bringUp(wish.device, made ? init.underlayMtu - 50 : undefined);
    } catch (error) {
      if (fresh) await this.#removeQuietly(wish.device);
      throw setupError(wish.device, error);
    } finally {
      this.#ports.attaching.delete(ifindex);
    }
    const now = this.#ports.get(wish.portId)!;
    if (now.attached !== undefined && now.attached.ifindex !== ifindex) datapath.detachDevice(now.attached.ifindex);
    const held = this.#ports.put({ ...now, attached: { ifindex, kind } });
    this.#on.session(wish.routingDomainId)?.setDevice(wish.portId, { ifindex, kind }, this.#on.clock.now());
    this.#on.conditions.clear('DEVICE_MISSING', wish.portId);
    return held;
  }

  async #removeQuietly(device: string): Promise<void> {
    await Promise.resolve(this.#on.devices.removeTap(device)).catch(() => undefined);
  }

  async equipQuietly(portId: string): Promise<void> {
    const held = this.#ports.get(portId);
    if (held === undefined) return;
    const { devices, clock } = this.#on;
    const present = devices.ifindex(held.device) !== undefined;
    if (held.attached !== undefined && devices.ifindex(held.device) !== held.attached.ifindex) {
      // The device is gone, or another one under its name: its index must not stay READY, the kernel may give it away again.
      this.#on.session(held.routingDomainId)?.setDevice(portId, undefined, clock.now());
      this.#on.datapath.detachDevice(held.attached.ifindex);
      this.#ports.put({ ...held, attached: undefined });
    }
    try {
      if (present || held.ownsDevice) await this.equip(held, held.state === 'bound' ? 'bound' : 'prepared');
      else
        throw new AgentError(
          'WEFT_ERR_AGENT_DEVICE_MISSING',
          `Device ${held.device} of port ${portId} is missing; create it, or unbind the port`,
        );
    } catch (error) {
      this.#on.conditions.raise('DEVICE_MISSING', messageOf(error), portId);
    }
  }

  /** Port entry away, device away; the port is no longer this host's. */
  async takeDown(held: Held): Promise<void> {
    await this.detach(held);
    const now = this.#ports.get(held.portId) ?? held;
    if (now.ownsDevice) {
      this.#ports.put({ ...now, state: 'leaving' });
      await this.removeDevice(this.#ports.get(held.portId)!);
    } else this.#ports.delete(held.portId);
    this.#on.conditions.clear('DEVICE_MISSING', held.portId);
    this.#on.onChange();
  }

  /** The port entry goes at once. A TAP that a VM holds keeps the program, which drops for lack of an entry; others lose it. */
  async detach(held: Held): Promise<void> {
    this.#on.session(held.routingDomainId)?.setDevice(held.portId, undefined, this.#on.clock.now());
    if (held.attached !== undefined && !held.ownsDevice) this.#on.datapath.detachDevice(held.attached.ifindex);
    if (!held.ownsDevice) this.#ports.put({ ...(this.#ports.get(held.portId) ?? held), attached: undefined });
  }

  async removeDevice(held: Held): Promise<void> {
    if (!(await this.tryRemoveTap(held))) return;
    if (held.attached !== undefined) this.#on.datapath.detachDevice(held.attached.ifindex);
    this.#ports.delete(held.portId);
    this.#on.onChange();
  }

  /** @returns Whether the TAP is gone. While a VM holds it, it stays, silent: `poll` tries again. */
  async tryRemoveTap(held: Held): Promise<boolean> {
    const { devices, conditions } = this.#on;
    try {
      if ((await devices.removeTap(held.device)) !== 'held') {
        conditions.clear('DEVICE_HELD', held.portId);
        return true;
      }
      conditions.raise(
        'DEVICE_HELD',
        `TAP ${held.device} of port ${held.portId}, which is gone, is still open in a VM; it is removed when the VM closes it`,
        held.portId,
      );
    } catch (error) {
      conditions.raise('DEVICE_HELD', `Cannot remove TAP ${held.device}: ${messageOf(error)}; tried again`, held.portId);
    }
    return false;
  }

  /** Takes back what a bind that failed has made. */
  async undo(portId: string): Promise<void> {
    const held = this.#ports.get(portId);
    if (held !== undefined) await this.takeDown(held);
  }
}

/** @throws {AgentError} `WEFT_ERR_AGENT_DEVICE_NAME`. */
export function checkDeviceName(device: string): void {
  if (DEVICE_NAME.test(device) && device !== '.' && device !== '..') return;
  throw new AgentError(
    'WEFT_ERR_AGENT_DEVICE_NAME',
    `Cannot use device name ${JSON.stringify(device)}: must have 1 to 15 characters, without space, slash, colon or percent sign`,
    { path: 'device', value: device },
  );
}

function pick({ routingDomainId, portId, vsid, device, deviceKind }: DeviceWish): DeviceWish {
  return { routingDomainId, portId, vsid, device, deviceKind };
}

function setupError(device: string, error: unknown): AgentError {
  if (error instanceof AgentError) return error;
  return new AgentError(
    'WEFT_ERR_AGENT_DEVICE_SETUP',
    `Cannot make device ${device} ready: ${messageOf(error)}`,
    { path: 'device', value: device },
    { cause: error },
  );
}
