// Starts the tool, reads the address of its page, and stops it.
import { spawn } from 'node:child_process';
import net from 'node:net';
import { until } from './check.mjs';

const program = process.env.PTOLEMY_WEBHOOKS;
const running = new Set();

process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class Program {
  /** @param {string[]} args @param {Record<string, string>} variables */
  constructor(args, variables) {
    if (!program) throw new Error('PTOLEMY_WEBHOOKS must name the binary of ptolemy-webhooks');
    const { PATH, HOME, TMPDIR } = process.env;
    const env = { ...(PATH && { PATH }), ...(HOME && { HOME }), ...(TMPDIR && { TMPDIR }), ...variables };
    this.output = '';
    this.ended = false;
    this.child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(this.child);
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding('utf8');
      stream.on('data', (text) => { this.output += text; });
    }
    this.child.on('close', () => {
      this.ended = true;
      running.delete(this.child);
    });
  }

  /** The address with the token, once it is printed. */
  async address() {
    const found = await until('the tool prints the address of its page', () => {
      if (this.ended) throw new Error(`the tool ended: ${this.output}`);
      return /http:\/\/127\.0\.0\.1:\d+\/#token=[0-9a-f]+/.exec(this.output);
    });
    return found[0];
  }

  async stop() {
    this.child.kill('SIGTERM');
    await until('the tool ends', () => this.ended);
  }
}

/** A port that was free a moment ago. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

export async function startInspect(receiver, secret, options = {}) {
  const port = options.port || await freePort();
  const pagePort = options.pagePort || await freePort();
  const args = ['inspect', '--forward', receiver.url, '--port', String(port), '--page-port', String(pagePort)];
  const variables = { PTOLEMY_WEBHOOK_SECRET: secret, ...options.variables };
  const tool = new Program(args, variables);
  const address = await tool.address();
  return { tool, address, port, pagePort, origin: new URL(address).origin, token: address.split('=')[1], sender: `http://127.0.0.1:${port}/webhooks/ptolemy` };
}

export async function startSandbox(receiver, secret) {
  const args = ['sandbox', '--forward', receiver.url, '--first-retry', '1m', '--seed', '7'];
  const tool = new Program(args, { PTOLEMY_WEBHOOK_SECRET: secret });
  const address = await tool.address();
  return { tool, address, origin: new URL(address).origin };
}
