// Writes docs/images/inspect-*.png.
import fs from 'node:fs';
import { choose, connected, launch, newest, open } from './lib/browser.mjs';
import { shrink } from './lib/png.mjs';
import { startInspect } from './lib/programs.mjs';
import { event, send, startReceiver } from './lib/servers.mjs';
import { NARROW, WIDE } from './steps/accessibility.mjs';

const folder = new URL('../../../docs/images/', import.meta.url);
const MAX_BYTES = 150_000;

const LISTING = { instrument_id: '0198c7a2-3333-7c1e-9d5f-2f1c1a3b4d5e', market_id: '0198c7a2-4444-7c1e-9d5f-2f1c1a3b4d5e', local_code: 'BHP', currency: 'AUD', lot_size: '1' };

const VALUE = { instrument_id: LISTING.instrument_id, type_id: '0198c7a2-5555-7c1e-9d5f-2f1c1a3b4d5e', timestamp: '2026-04-15T00:00:00Z', value: '45.82', archived_at: null, created_at: '2026-04-15T09:30:00Z' };

/** A few deliveries of each kind. */
async function deliver(inspect, secret) {
  const to = (body, how) => send(inspect.sender, secret, body, how);
  await to(event('market.created', { identifier: 'asx', name: 'ASX' }));
  await to(event('instrument.created', { identifier: 'bhp.ax', name: 'BHP Group Ltd.' }));
  await to(event('instrument.updated', { identifier: 'bhp.ax', name: 'BHP Group Ltd.' }), { tamper: true });
  const listing = event('market_listing.created', LISTING);
  for (let attempt = 0; attempt < 2; attempt += 1) await to(listing);
  await to(event('market_listing.updated', { ...LISTING, currency: 36 }));
  await to(event('time_series_value.created', VALUE));
  await to(event('instrument.archived', { identifier: 'bhp.ax', name: 'BHP Group Ltd.' }), { repeat: true });
  await to('{"hello":"world"}');
  await to(event('instrument.restored', { identifier: 'bhp.ax', name: 'BHP Group Ltd.' }), { age: 412 });
  await to(event('market.updated', { identifier: 'asx', name: 'ASX' }));
}

async function save(page, name) {
  await page.waitForSelector('.code');
  const data = shrink(Buffer.from(await page.screenshot({ type: 'png' })));
  if (data.length > MAX_BYTES) throw new Error(`${name} has ${data.length} bytes, the limit is ${MAX_BYTES}`);
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(new URL(`inspect-${name}.png`, folder), data);
  console.log(`inspect-${name}.png: ${data.length} bytes`);
}

export async function screenshots(secret) {
  const browser = await launch(['--font-render-hinting=none']);
  const receiver = await startReceiver(secret, 3000).catch(() => startReceiver(secret, 8000));
  const inspect = await startInspect(receiver, secret);
  const page = await open(browser, inspect.address);
  await connected(page);
  await deliver(inspect, secret);
  const stale = await newest(page, 'stale', (row) => row.type.startsWith('instrument.restored'));
  await newest(page, 'the last', (row) => row.type.startsWith('market.updated'));
  for (const theme of ['light', 'dark']) {
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: theme }]);
    await page.setViewport(WIDE);
    await choose(page, stale.seq);
    await save(page, `detail-${theme}`);
    const malformed = await newest(page, 'malformed', (row) => row.verdict === 'Malformed data');
    await choose(page, malformed.seq);
    await save(page, `list-${theme}`);
  }
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'light' }]);
  await page.setViewport(NARROW);
  await page.$eval('#list', (node) => { node.scrollTop = 0; });
  await save(page, 'narrow');
  await browser.close();
  await inspect.tool.stop();
}
