// A connection that breaks, and a tool that is started again.
import assert from 'node:assert/strict';
import { step, until } from '../lib/check.mjs';
import { connected, newest, open, rows, text } from '../lib/browser.mjs';
import { startInspect } from '../lib/programs.mjs';
import { event, send } from '../lib/servers.mjs';

export async function connectionSteps(world) {
  const { browser, page, inspect, receiver, secret, wire } = world;

  await step('a page without a token, or with a wrong one, says what to do', async () => {
    world.expectErrors = true;
    for (const [hash, title] of [['', 'This page has no token.'], [`#token=${'0'.repeat(64)}`, 'The token is not that of this run.']]) {
      const context = await browser.createBrowserContext();
      const other = await open(context, `${inspect.origin}/${hash}`, { expectErrors: () => true });
      await until(title, async () => (await text(other, '#banner')).startsWith(title));
      assert.match(await text(other, '#banner'), /Open the address that .* printed when it started/);
      assert.equal(await other.$$eval('#rows > .row', (nodes) => nodes.length), 0);
      await context.close();
    }
    world.expectErrors = false;
  });

  await step('after a dropped connection the page reads on, and shows what came meanwhile', async () => {
    world.expectErrors = true;
    const before = (await rows(page)).length;
    await page.evaluate(() => { window.mark = 'same document'; });
    wire.break();
    await until('the page says so', async () => /^Reconnecting/.test(await text(page, '#connection-text')));
    await send(inspect.sender, secret, event('webhook.created'));
    wire.join();
    await connected(page);
    await newest(page, 'what came meanwhile', (row) => row.type.startsWith('webhook.created'));
    assert.ok((await rows(page)).length >= before, 'the list is kept');
    assert.equal(await page.evaluate(() => window.mark), 'same document');
    world.expectErrors = false;
  });

  await step('a page that is not shown closes its stream, and catches up when it is shown', async () => {
    const show = (hidden) => page.evaluate((value) => {
      Object.defineProperty(document, 'hidden', { value, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);
    await show(true);
    await until('the page says so', async () => await text(page, '#connection-text') === 'Paused: not shown');
    await send(inspect.sender, secret, event('webhook.updated'));
    assert.ok(!(await rows(page))[0].type.startsWith('webhook.updated'));
    await show(false);
    await connected(page);
    await newest(page, 'what came meanwhile', (row) => row.type.startsWith('webhook.updated'));
  });

  await step('a page that is one too many says what the server says', async () => {
    world.expectErrors = true;
    const ends = new AbortController();
    const stream = () => fetch(`${inspect.origin}/api/stream?after=0`, { headers: { Authorization: `Bearer ${inspect.token}` }, signal: ends.signal });
    const statuses = [];
    for (let index = 0; index < 16; index += 1) statuses.push((await stream()).status);
    assert.equal(statuses[0], 200, String(statuses));
    const context = await browser.createBrowserContext();
    const other = await open(context, inspect.address, { expectErrors: () => true });
    await until('the banner', async () => /^The tool answered 503\. Too many pages are open: close one\./.test(await text(other, '#banner')));
    ends.abort();
    await connected(other);
    assert.equal(await other.$eval('#banner', (node) => node.hidden), true);
    await context.close();
    await page.bringToFront();
    await connected(page);
    world.expectErrors = false;
  });

  await step('after a restart of the tool the page says that the token is old, and takes the new address', async () => {
    world.expectErrors = true;
    await inspect.tool.stop();
    await until('the page says so', async () => /^Reconnecting/.test(await text(page, '#connection-text')));
    world.inspect = await startInspect(receiver, secret, { port: inspect.port, pagePort: inspect.pagePort });
    assert.notEqual(world.inspect.token, inspect.token);
    await until('the page says so', async () => await text(page, '#connection-text') === 'Token rejected', 20_000);
    assert.match(await text(page, '#banner'), /^The token is not that of this run\. The tool was started again/);
    // Pasted into the address bar of the open page: only the fragment changes.
    await page.evaluate((hash) => { location.hash = hash; }, new URL(world.inspect.address).hash);
    await connected(page);
    assert.equal(page.url(), `${inspect.origin}/`);
    assert.equal(await page.$eval('#banner', (node) => node.hidden), true);
    await until('the list of the old run is gone', async () => (await rows(page)).length === 0);
    world.expectErrors = false;
  });
}
