// A software TPM (swtpm) for tss.js, which speaks the protocol of Microsoft's simulator over TCP: this puts one
// before the other. Frames: a command word of 32 bits, then what belongs to it; see `serve`.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tss from 'tss.js';
import { waitFor } from './platform.mjs';

const SEND_COMMAND = 8, HAND_SHAKE = 15, SESSION_END = 20;

const int = (value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

/// Carries commands to swtpm one after the other; it answers each with a header that has the length.
class Commands {
  constructor(socket) {
    this.socket = socket;
    this.last = Promise.resolve();
  }

  run(command) {
    this.last = this.last.then(() => new Promise((resolve, reject) => {
      let answer = Buffer.alloc(0);
      const take = (bytes) => {
        answer = Buffer.concat([answer, bytes]);
        if (answer.length < 6 || answer.length < answer.readUInt32BE(2)) return;
        this.socket.off('data', take);
        this.socket.off('close', gone);
        resolve(answer);
      };
      const gone = () => reject(new Error('swtpm is gone'));
      this.socket.on('data', take);
      this.socket.on('close', gone);
      this.socket.write(command);
    }));
    return this.last;
  }
}

function serve(client, commands) {
  let input = Buffer.alloc(0);
  const need = (length) => input.length >= length;
  client.on('error', () => {});
  client.on('data', async (bytes) => {
    input = Buffer.concat([input, bytes]);
    while (need(4)) {
      const word = input.readUInt32BE(0);
      if (word === HAND_SHAKE) {
        if (!need(8)) return;
        input = input.subarray(8);
        client.write(Buffer.concat([int(1), int(1), int(0)]));
      } else if (word === SEND_COMMAND) {
        if (!need(9) || !need(9 + input.readUInt32BE(5))) return;
        const end = 9 + input.readUInt32BE(5);
        const command = input.subarray(9, end);
        input = input.subarray(end);
        const answer = await commands.run(command);
        client.write(Buffer.concat([int(answer.length), answer, int(0)]));
      } else if (word === SESSION_END) {
        client.end();
        return;
      } else {
        // Power and the like: acknowledged, and left to swtpm.
        input = input.subarray(4);
        client.write(int(0));
      }
    }
  });
}

/// Two ports side by side, as the simulator has them.
async function listen(commands) {
  const clients = new Set();
  const server = () => net.createServer((client) => {
    clients.add(client);
    client.on('close', () => clients.delete(client));
    serve(client, commands);
  });
  for (;;) {
    const [first, second] = [server(), server()];
    await once(first.listen(0, '127.0.0.1'), 'listening');
    const { port } = first.address();
    second.listen(port + 1, '127.0.0.1');
    // An error rejects what waits for another event.
    const isFree = await once(second, 'listening').then(() => true, () => false);
    if (isFree) {
      const close = () => {
        for (const client of clients) client.destroy();
        first.close();
        second.close();
      };
      return { port, close };
    }
    first.close();
  }
}

/// A new TPM with nothing in it; gone when the test ends.
export async function softwareTpm(t) {
  const folder = mkdtempSync(join(tmpdir(), 'gantry-tpm-'));
  const path = join(folder, 'socket');
  const swtpm = spawn('swtpm', ['socket', '--tpm2', '--tpmstate', `dir=${folder}`, '--server', `type=unixio,path=${path}`,
    '--flags', 'not-need-init,startup-clear'], { stdio: 'ignore' });
  const ended = once(swtpm, 'exit');
  let socket;
  await waitFor(() => new Promise((resolve) => {
    const attempt = net.connect(path, () => resolve(socket = attempt));
    attempt.once('error', () => resolve(false));
  }));
  socket.on('error', () => {});
  const { port, close } = await listen(new Commands(socket));
  t.after(async () => {
    close();
    socket.destroy();
    swtpm.kill();
    await ended;
    rmSync(folder, { recursive: true });
  });
  return new tss.Tpm(true, '127.0.0.1', port);
}
