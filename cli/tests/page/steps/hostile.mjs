// Bodies, ids and paths that try to do something.
import assert from 'node:assert/strict';
import { step, until } from '../lib/check.mjs';
import { arrival, choose, clickButton, connected, noise, text } from '../lib/browser.mjs';
import { event, send } from '../lib/servers.mjs';

const SCRIPT = '<script>window.__pwned = 1</script><img src=x onerror="window.__pwned = 2"><svg onload="window.__pwned = 3"><a href="javascript:window.__pwned=4">x</a>';

const elements = (page) => page.evaluate(() => ({
  scripts: document.scripts.length,
  images: document.images.length,
  frames: document.querySelectorAll('iframe, object, embed, base, link:not([href="/page.css"]), form[action]').length,
  pwned: window.__pwned,
}));

export async function hostileSteps({ page, inspect, secret }) {
  // Chromium draws nothing in a tab behind another one, such as one that an attack has opened.
  await page.bringToFront();
  await connected(page);
  const before = await elements(page);
  const nothingHappened = async () => {
    assert.deepEqual(await elements(page), before);
    assert.equal(before.pwned, undefined);
    assert.deepEqual(noise.dialogs, []);
    assert.deepEqual(noise.foreign, []);
  };
  let serial = 0;
  /** Sends a body, and shows its detail. */
  const show = async (body, { to = inspect.sender, how = {} } = {}) => {
    const row = await arrival(page, () => send(to, secret, body, how));
    await choose(page, row.seq);
    return row;
  };
  const content = (pattern) => until(`content like ${pattern}`, async () => pattern.test(await text(page, '.content')));
  const fresh = () => `hostile.n${serial += 1}`;

  await step('markup in body, id, type and header is text', async () => {
    const type = fresh();
    const body = event(`${type}${SCRIPT}`, { name: SCRIPT }, SCRIPT);
    const row = await show(body, { how: { headers: ['X-Markup', SCRIPT] } });
    assert.ok(row.type.includes(`${type}<script>`));
    await content(/<script>window\.__pwned = 1<\/script>/);
    await page.click('#tab-headers');
    assert.ok((await text(page, '#tab-panel')).includes(SCRIPT));
    await page.click('#tab-decoded');
    await page.click('#tab-body');
    await nothingHappened();
  });

  await step('terminal escapes, NUL and direction controls are shown as their codes', async () => {
    const type = fresh();
    await show(`{"event_type":"${type}","data":{"\u202Eabc":"\u2066x\u2069 \\u001b[31m","y":"\u009b31m\u0085"}}`);
    await content(/U\+202E/);
    const boxes = await page.$$eval('.content .esc', (nodes) => nodes.map((node) => node.textContent));
    assert.deepEqual(boxes, ['U+202E', 'U+2066', 'U+2069', 'U+009B', 'U+0085']);
    const raw = await page.$eval('.content', (node) => /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/.test(node.textContent));
    assert.equal(raw, false);
    await show('\u001b]0;title\u0007\u001b[2J\u0000\u0000\u0000');
    await content(/U\+001B\]0;titleU\+0007U\+001B\[2JU\+0000 ×3/);
    await nothingHappened();
  });

  await step('direction controls in id, type and path change nothing beside them', async () => {
    const type = fresh();
    const id = 'a\u202Eb\u2067c\u200F';
    const row = await show(event(`${type}\u202Etxt.exe`, {}, id), { to: `${inspect.sender}?x=%E2%80%AE` });
    assert.ok(row.type.includes('U+202E'));
    const raw = await page.evaluate(() => {
      const read = ['title', 'aria-label', 'placeholder'];
      const attributes = [...document.querySelectorAll('*')].flatMap((node) => read.map((name) => node.getAttribute(name) || ''));
      return [...attributes, document.body.textContent].filter((value) => /[\u202a-\u202e\u2066-\u2069\u200e\u200f]/.test(value));
    });
    assert.deepEqual(raw, []);
    await nothingHappened();
  });

  await step('right-to-left words are isolated from their neighbours', async () => {
    const type = fresh();
    await show(`{"event_type":"${type}","data":{"a":"שלום","b":"עולם"}}`);
    await content(/שלום/);
    await page.$eval('[data-form="text"]', (node) => node.click());
    await until('isolates', async () => await page.$$eval('.content bdi', (nodes) => nodes.length) === 2);
    const [first, second] = await page.$$eval('.content bdi', (nodes) => nodes.map((node) => node.getBoundingClientRect().left));
    assert.ok(first < second, 'the first word stands left of the second');
    await nothingHappened();
  });

  await step('a body of 1 MiB shows its start at once and all of it on demand', async () => {
    const type = fresh();
    const filler = Array.from({ length: 16 * 1024 }, (_, index) => `"${String(index).padStart(64, 'x')}"`).join(',');
    const body = `{"event_type":"${type}","data":{"list":[${filler}],"end":"the very end"}}`;
    assert.ok(body.length > 1024 * 1024);
    await show(body);
    await content(/The start of 1\.0 MiB is shown/);
    const nodes = await page.$$eval('.content *', (all) => all.length);
    assert.ok(nodes < 20_000, `${nodes} elements`);
    assert.ok((await text(page, '.content .code')).length < 256 * 1024);
    await clickButton(page, 'Show all');
    await content(/the very end/);
    assert.equal(await page.$eval('.content .more', (node) => node.childElementCount), 0);
    await nothingHappened();
  });

  await step('a string of 12 MiB with escapes at its end is shown as JSON', async () => {
    const type = fresh();
    await show(`{"event_type":"${type}","data":{"long":"${'x'.repeat(12 * 1024 * 1024)}\\\\\\"","end":1}}`);
    await content(/The start of 12 MiB is shown/);
    assert.equal(await page.$eval('[data-form="pretty"]', (node) => node.getAttribute('aria-pressed')), 'true');
    assert.equal(await page.$eval('.content .t-key', (node) => node.textContent), '"event_type"');
    await nothingHappened();
  });

  await step('invalid UTF-8 is shown as hex', async () => {
    const row = await show(Buffer.from([0xff, 0xfe, 0x00, 0x41, 0x80, 0xc0, 0xaf]));
    assert.match(row.why, /not valid UTF-8/);
    await content(/00000000 {2}ff fe 00 41 80 c0 af/);
    assert.match(await text(page, '.forms'), /^Hexnot valid UTF-8$/);
    await nothingHappened();
  });

  await step('deep JSON and long numbers are shown as they came', async () => {
    const type = fresh();
    const depth = 20_000;
    await show(`{"event_type":"${type}","n":1.10,"big":123456789012345678901234567890,"data":{"x":${'['.repeat(depth)}${']'.repeat(depth)}}}`);
    await content(/123456789012345678901234567890/);
    assert.match(await text(page, '.content'), /1\.10/);
    await nothingHappened();
  });

  await step('the list stays at 500 rows under a flood, and the page answers', async () => {
    for (let round = 0; round < 52; round += 1) {
      await Promise.all(Array.from({ length: 10 }, () => send(inspect.sender, secret, event('time_series_value.created', { value: '45.82' }))));
    }
    // The oldest ones go a moment before the newest ones come.
    const rows = () => page.$$eval('#rows > .row', (nodes) => nodes.length);
    await until('500 rows', async () => {
      assert.ok(await rows() <= 500);
      return await rows() === 500 && await text(page, '#count') === '500';
    });
    assert.equal(await page.evaluate(() => 1 + 1), 2);
  });

  await step('a list that is scrolled down stays where it is', async () => {
    await page.$eval('#list', (node) => { node.scrollTop = 4000; });
    const place = () => page.evaluate(() => {
      const list = document.getElementById('list').getBoundingClientRect();
      const row = [...document.getElementById('rows').children].find((node) => node.getBoundingClientRect().top > list.top + 100);
      return `${row.dataset.seq} ${Math.round(row.getBoundingClientRect().top)}`;
    });
    const before = await place();
    await send(inspect.sender, secret, event('market.archived'));
    await until('the button', async () => /^Paused: 1 new/.test(await text(page, '#newer')));
    assert.equal(await place(), before);
    await page.click('#newer');
    await until('the top', async () => await page.$eval('#list', (node) => node.scrollTop) === 0);
    assert.equal(await page.$eval('#newer', (node) => node.hidden), true);
  });
}
