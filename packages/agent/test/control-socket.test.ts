import { waitFor } from '@weft/testkit';
import { afterEach, describe, expect, it } from 'vitest';
import { ControlSocket, MAX_CONTROL_BYTES } from '../src/gateway/control-socket.ts';

// On loopback, with a port of this test's own: 127.1.x.y are all this machine's.
const PORT = 20_000 + (process.pid % 20_000);
const ONE = '127.1.47.1';
const TWO = '127.1.47.2';
const open: ControlSocket[] = [];

async function listen(address: string, onMessage: (text: string, from: string) => void = () => {}): Promise<ControlSocket> {
  const socket = await ControlSocket.open({
    providerAddress: address,
    port: PORT,
    onMessage: (message, from) => onMessage(Buffer.from(message).toString(), from),
    onError: () => {},
  });
  open.push(socket);
  return socket;
}

afterEach(() => {
  for (const socket of open.splice(0)) socket.close();
});

describe('ControlSocket', () => {
  it('carries datagrams both ways, with the address they came from', async () => {
    const heard: string[] = [];
    const one = await listen(ONE, (text, from) => heard.push(`${text} from ${from}`));
    const two = await listen(TWO, (text, from) => heard.push(`${text} from ${from}`));
    expect(await one.send(TWO, Buffer.from('vote'))).toBeUndefined();
    await waitFor(() => heard.length === 1, { what: 'the vote' });
    expect(await two.send(ONE, Buffer.from('grant'))).toBeUndefined();
    await waitFor(() => heard.length === 2, { what: 'the grant' });
    expect(heard).toEqual([`vote from ${ONE}`, `grant from ${TWO}`]);
  });

  it('names the port and what to do when another process has it', async () => {
    await listen(ONE);
    const error = await listen(ONE).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: 'WEFT_ERR_AGENT_CONTROL_PORT', message: expect.stringContaining(`${ONE}:${PORT}: `) as string });
  });

  it('refuses what would be cut into fragments, and says nothing after close', async () => {
    const one = await listen(ONE);
    await expect(one.send(TWO, new Uint8Array(MAX_CONTROL_BYTES + 1))).rejects.toThrow(RangeError);
    one.close();
    one.close();
    expect((await one.send(TWO, Buffer.from('late')))?.message).toBe('closed');
  });
});
