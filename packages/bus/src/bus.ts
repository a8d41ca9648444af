import { committedCodec, digestCodec, type NetworkDigest, subjects } from '@weft/model';
import type { Bus, BusInit, BusState, EventHandler, OpenOptions, ServeInit, ServerCapabilities, Store, Subscription } from './api.ts';
import { serverCapabilities } from './capabilities.ts';
import { sendCommand, serveCommands } from './command-service.ts';
import { eventOf, openEnvelope, signEnvelope } from './envelope.ts';
import { Link } from './link.ts';
import { openStore } from './store.ts';

/**
 * Begins to connect, and keeps trying for ever: a NATS that is not there yet is a state, not an error. Returns at once.
 *
 * Reconnects are tried every 250 ms (+ jitter); a dead connection is noticed within 3 pings of 2 s. Requests while disconnected fail
 * at once with `WEFT_ERR_BUS_DISCONNECTED`; subscriptions live on.
 */
export function connectBus(init: BusInit): Bus {
  const link = new Link(init);

  const onCommitted = (subject: string, handler: EventHandler): { stop(): void } =>
    link.subscribe(subject, (message) => {
      let event: ReturnType<typeof committedCodec.decode>;
      try {
        event = committedCodec.decode(message.data);
      } catch (error) {
        link.logger.warn({ subject, error: (error as Error).message }, 'event refused');
        return;
      }
      handler(event);
    });
  const together = (...parts: { stop(): void }[]): Subscription => ({
    async stop() {
      for (const part of parts) part.stop();
    },
  });

  return {
    get state(): BusState {
      return link.state;
    },
    get capabilities(): ServerCapabilities | undefined {
      return link.state.serverVersion === '' ? undefined : serverCapabilities(link.state.serverVersion);
    },
    onState: (handler) => link.onState(handler),
    whenConnected: (options) => link.whenConnected(options?.signal),
    async open(options: OpenOptions): Promise<Store> {
      await link.whenConnected();
      return await openStore(link, options);
    },
    onEvents: (rdid, handler) =>
      together(onCommitted(subjects.configEvents(rdid), handler), onCommitted(subjects.mappingEvents(rdid), handler)),
    onHostEvents: (handler) => together(onCommitted(subjects.hostEvents, handler), onCommitted(subjects.installationEvents, handler)),
    onGatewayEvents: (handler) => together(onCommitted(subjects.allGatewayEvents, handler)),
    publishCommitted(record) {
      const event = eventOf(record);
      if (event !== undefined) link.publish(event.subject, event.bytes);
    },
    onDigest: (rdid, handler) =>
      together(
        link.subscribe(subjects.digest(rdid), (message) => {
          let digest: NetworkDigest;
          let signer: string;
          try {
            const opened = openEnvelope(message.data, 'digest');
            digest = digestCodec.decode(opened.payload);
            signer = opened.signer;
          } catch (error) {
            link.logger.warn({ rdid, error: (error as Error).message }, 'digest refused');
            return;
          }
          if (digest.routingDomainId === rdid) handler(digest, signer);
        }),
      ),
    publishDigest(digest, identity) {
      link.publish(subjects.digest(digest.routingDomainId), signEnvelope(identity, 'digest', digestCodec.encode(digest)));
    },
    onOwnership: (channel, gatewayId, handler) =>
      together(link.subscribe(subjects[channel](gatewayId), (message) => handler(message.data))),
    publishOwnership: (channel, gatewayId, message) => link.publish(subjects[channel](gatewayId), message),
    request: (target, command, options) => sendCommand(link, target, command, options),
    serve: (target: string, serve: ServeInit) => serveCommands(link, target, serve),
    close: () => link.close(),
  };
}
