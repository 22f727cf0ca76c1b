// Walks through the page in headless Chromium, against the real tool. With --screenshots it writes
// the pictures of the documentation instead.
import { failures, step } from './lib/check.mjs';
import { connected, launch, noise, open } from './lib/browser.mjs';
import { freePort, startInspect, startSandbox } from './lib/programs.mjs';
import { startReceiver, startStranger, startWire } from './lib/servers.mjs';
import { NARROW, accessible } from './steps/accessibility.mjs';
import { actionSteps } from './steps/actions.mjs';
import { attackSteps } from './steps/attacks.mjs';
import { connectionSteps } from './steps/connection.mjs';
import { hostileSteps } from './steps/hostile.mjs';
import { inboxSteps, showInbox } from './steps/inbox.mjs';
import { keyboardSteps } from './steps/keyboard.mjs';
import { listSteps } from './steps/list.mjs';
import { sandboxSteps } from './steps/sandbox.mjs';
import { screenshots } from './screenshots.mjs';
import { sourceSteps } from './steps/source.mjs';
import assert from 'node:assert/strict';

const WALK_MS = 240_000;
const SECRET = 'whsec_a3f9b2c1d4e5f6a7b8c9d0e1';

/** Steps that belong together: if one throws between its steps, the rest of the walk goes ahead. */
const section = (name, steps) => step(`${name}: to its end`, steps, WALK_MS);

/** The inspector, with the inbox if DATABASE_URL names one. */
async function walkInspect(world) {
  const { DATABASE_URL } = process.env;
  if (!DATABASE_URL) throw new Error('DATABASE_URL must name an inbox with three dead events');
  world.inspect = await startInspect(world.receiver, SECRET, { pagePort: world.pagePort, variables: { DATABASE_URL } });
  const page = await open(world.browser, world.inspect.address, { expectErrors: () => world.expectErrors });
  world.page = page;
  await connected(page);
  await accessible(page, 'the empty list');
  await section('the list', () => listSteps(world));
  await accessible(page, 'list and detail');
  await accessibleDetail(page);
  await section('the actions', () => actionSteps(world));
  await section('the inbox', async () => {
    await showInbox(page);
    await accessible(page, 'the inbox');
    await inboxSteps(page);
  });
  await page.$eval('#views [data-view="requests"]', (node) => node.click());
  await section('the keyboard', () => keyboardSteps(world));
  await section('the attacks', () => attackSteps(world));
  // The last of these fills the list, after which each look at it takes longer.
  await section('hostile requests', () => hostileSteps(world));
  await section('the connection', () => connectionSteps(world));
  await page.close();
  await world.inspect.tool.stop();
}

/** On a narrow screen the detail has its own view; the help lies above both. */
async function accessibleDetail(page) {
  await page.focus('#rows > [tabindex="0"]');
  await page.keyboard.press('Enter');
  await accessible(page, 'the detail', [['360 px', NARROW]]);
  await page.keyboard.press('Escape');
  await page.keyboard.press('?');
  await accessible(page, 'the help');
  await page.keyboard.press('Escape');
}

async function walkSandbox(world) {
  const sandbox = await startSandbox(world.receiver, SECRET);
  const page = await open(world.browser, sandbox.address, { expectErrors: () => world.expectErrors });
  await sandboxSteps(page, world);
  await page.$eval('#views [data-view="sandbox"]', (node) => node.click());
  await accessible(page, 'the sandbox');
  await page.close();
  await sandbox.tool.stop();
}

async function walk() {
  await sourceSteps();
  const world = { secret: SECRET, expectErrors: false };
  // The browser reaches the page through a wire that can be cut; the origin stays that of the tool.
  world.pagePort = await freePort();
  world.wire = await startWire(world.pagePort);
  world.browser = await launch([`--host-resolver-rules=MAP 127.0.0.1:${world.pagePort} 127.0.0.1:${world.wire.port}`]);
  world.receiver = await startReceiver(SECRET);
  world.stranger = await startStranger();
  await walkInspect(world);
  await section('the sandbox', () => walkSandbox(world));
  await step('the page logged no error, opened no dialog and asked no other host', () => {
    assert.deepEqual(noise, { console: [], dialogs: [], foreign: [] });
  });
  await world.browser.close();
}

const begin = Date.now();
try {
  await (process.argv.includes('--screenshots') ? screenshots(SECRET) : walk());
} catch (error) {
  failures.push('the walk itself');
  console.log(error.stack);
}
console.log(failures.length ? `${failures.length} failed: ${failures.join('; ')}` : `all passed in ${((Date.now() - begin) / 1000).toFixed(0)} s`);
process.exit(failures.length ? 1 : 0);
