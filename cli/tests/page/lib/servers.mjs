// A receiver that verifies signatures with Node's crypto, and not with code of this project; a
// sender; and the page of an attacker.
import crypto from 'node:crypto';
import http from 'node:http';
import net from 'node:net';

const TOLERANCE_S = 300;

const listen = (server, port = 0) => new Promise((resolve, reject) => {
  server.on('error', reject);
  server.listen(port, '127.0.0.1', () => resolve(server.address().port));
});

async function bodyOf(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts);
}

const macOf = (secret, t, body) => crypto.createHmac('sha256', secret).update(`${t}.`).update(body).digest('hex');

/** 204 for a valid delivery, and 401 with a reason for any other. */
export async function startReceiver(secret, port = 0) {
  const receiver = { requests: [], url: '' };
  const server = http.createServer(async (request, response) => {
    const body = await bodyOf(request);
    const problem = problemOf(secret, request, body);
    receiver.requests.push({ status: problem ? 401 : 204, body });
    if (!problem && request.headers['x-slow-answer']) {
      response.writeHead(200, { 'Content-Type': 'text/plain' });
      response.flushHeaders();
      setTimeout(() => response.end('the late end'), 1500);
      return;
    }
    response.writeHead(problem ? 401 : 204, { 'Content-Type': 'text/plain' });
    response.end(problem || undefined);
  });
  receiver.url = `http://127.0.0.1:${await listen(server, port)}/webhooks/ptolemy`;
  receiver.close = () => server.close();
  return receiver;
}

function problemOf(secret, request, body) {
  const lines = request.rawHeaders.filter((_, index, all) => index % 2 === 1 && all[index - 1].toLowerCase() === 'ptolemy-signature');
  if (lines.length !== 1) return `${lines.length} signature headers`;
  const parts = Object.fromEntries(lines[0].split(',').map((part) => part.split('=')));
  if (Math.abs(Date.now() / 1000 - Number(parts.t)) > TOLERANCE_S) return 'stale';
  const mac = Buffer.from(macOf(secret, parts.t, body));
  const given = Buffer.from(parts.v1 || '');
  return mac.length === given.length && crypto.timingSafeEqual(mac, given) ? null : 'signature mismatch';
}

/**
 * Posts a body; `age` in seconds, `tamper` changes a byte after signing, `repeat` sends the header
 * twice.
 */
export function send(url, secret, body, { age = 0, tamper = false, repeat = false, headers = [] } = {}) {
  const bytes = Buffer.from(body);
  const t = Math.floor(Date.now() / 1000) - age;
  const signature = `t=${t},v1=${macOf(secret, t, bytes)}`;
  const sent = Buffer.from(bytes);
  // The last digit of the last id: the body stays JSON.
  if (tamper) sent[sent.lastIndexOf('"') - 1] ^= 1;
  const lines = ['Content-Type', 'application/json', 'Content-Length', String(sent.length), 'Host', new URL(url).host, ...headers];
  for (let times = repeat ? 2 : 1; times > 0; times -= 1) lines.push('Ptolemy-Signature', signature);
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method: 'POST', headers: lines, agent: false }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode));
    });
    request.on('error', reject);
    request.end(sent);
  });
}

let events = 0;

/** A delivery of the documented kind. */
export function event(type, data = {}, id = null) {
  events += 1;
  const number = String(events).padStart(4, '0');
  return JSON.stringify({
    id: id || `0198c7a2-4a54-7c1e-9d5f-2f1c1a3b${number}`,
    event_type: type,
    workspace_id: '6f1c2d3e-0000-4000-8000-1234567890ab',
    created_at: '2026-04-15T09:30:00Z',
    actor: { type: 'robot', id: '0198c7a2-1111-7c1e-9d5f-2f1c1a3b4d5e' },
    data: { id: `0198c7a2-2222-7c1e-9d5f-2f1c1a3b${number}`, ...data },
  });
}

/** Serves an empty page and a frame for forms, at another origin than the tool. */
export async function startStranger() {
  const server = http.createServer((request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/html' });
    response.end('<!doctype html><title>stranger</title><body>stranger');
  });
  const port = await listen(server);
  return { url: `http://127.0.0.1:${port}/`, close: () => server.close() };
}

/** Passes bytes on to a port; its connections can be cut, and new ones are then closed at once. */
export async function startWire(port) {
  const wire = { cut: false, sockets: new Set() };
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    if (wire.cut) return socket.destroy();
    const other = net.connect(port, '127.0.0.1');
    for (const [from, to] of [[socket, other], [other, socket]]) {
      wire.sockets.add(from);
      from.on('error', () => {});
      from.on('close', () => {
        wire.sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
    return null;
  });
  wire.port = await listen(server);
  wire.break = () => {
    wire.cut = true;
    for (const socket of wire.sockets) socket.destroy();
  };
  wire.join = () => { wire.cut = false; };
  return wire;
}
