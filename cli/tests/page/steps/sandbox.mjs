// The sandbox's controls, and the schedule of its retries.
import assert from 'node:assert/strict';
import { step, until } from '../lib/check.mjs';
import { choose, clickButton, connected, newest, rows, setValue, statusLine, text } from '../lib/browser.mjs';

const items = (page) => page.$$eval('#deliveries > .delivery', (nodes) => nodes.map((node) => ({
  status: node.querySelector('.delivery-head strong').textContent,
  type: node.querySelector('.name').textContent,
  attempts: node.querySelectorAll('.attempts > li:not(.next)').length,
  next: (node.querySelector('.next') || {}).textContent || null,
  text: node.textContent,
})));

const find = (page, what, matches) => until(what, async () => (await items(page)).find(matches));

export async function sandboxSteps(page, world) {
  await connected(page);

  await step('the sandbox emits an event of a chosen type', async () => {
    await until('the types', () => page.$('#emit-type option[value="market.created"]'));
    assert.match(await text(page, '#empty'), /Choose an event type/);
    await setValue(page, '#emit-type', 'market.created');
    await clickButton(page, 'Emit event');
    await statusLine(page, /^market\.created was emitted$/);
    const row = await newest(page, 'the delivery', (row) => row.type.startsWith('market.created'));
    assert.equal(row.verdict, 'Accepted');
    assert.equal(row.status, '204');
  });

  await step('a fault for the next attempt shows its effect and the reason', async () => {
    await setValue(page, '#fault-name', 'tampered');
    await clickButton(page, 'Set');
    await statusLine(page, /^The next attempt has the fault tampered$/);
    await setValue(page, '#emit-type', 'instrument.created');
    await clickButton(page, 'Emit event');
    const row = await newest(page, 'the delivery', (row) => row.type.startsWith('instrument.created'));
    assert.equal(row.verdict, 'Rejected');
    assert.match(row.type, /fault: tampered/);
    await choose(page, row.seq);
    assert.match(await text(page, '.verdict'), /signature does not match/);
    assert.match(await text(page, '.verdict'), /WhyCertainThe sandbox injected the fault tampered\./);
  });

  await step('the schedule shows the retry, and the clock moves to it', async () => {
    await page.keyboard.press('2');
    const before = await find(page, 'pending', (item) => item.type === 'instrument.created' && item.status === 'pending');
    assert.equal(before.attempts, 1);
    assert.match(before.next, /^next\d\d:\d\d:\d\din \d+ s$/);
    assert.match(before.text, /tampered/);
    await clickButton(page, 'Next retry');
    await statusLine(page, /^The sandbox's clock shows \d{4}-/);
    const after = await find(page, 'succeeded', (item) => item.type === 'instrument.created' && item.status === 'succeeded');
    assert.equal(after.attempts, 2);
    assert.equal(after.next, null);
  });

  await step('a fault with an argument asks for it', async () => {
    await setValue(page, '#fault-name', 'slow');
    assert.equal(await page.$eval('#fault-argument', (node) => node.hidden), false);
    await clickButton(page, 'Set');
    assert.equal(await page.$eval('#fault-argument', (node) => node.validity.valueMissing), true);
    world.expectErrors = true;
    await setValue(page, '#fault-argument', 'nonsense');
    await clickButton(page, 'Set');
    await statusLine(page, /^Setting the fault failed: /);
    world.expectErrors = false;
    await setValue(page, '#fault-name', 'tampered');
    assert.equal(await page.$eval('#fault-argument', (node) => node.hidden), true);
  });

  await step('the clock moves by a minute and by an hour', async () => {
    const now = () => page.$eval('#clock', (node) => Date.parse(node.dateTime));
    const before = await now();
    await clickButton(page, '+1 min');
    await until('a minute', async () => await now() >= before + 60_000);
    await clickButton(page, '+1 h');
    await until('an hour', async () => await now() >= before + 3_660_000);
  });

  await step('a delivery is made again', async () => {
    const before = await find(page, 'succeeded', (item) => item.type === 'market.created');
    await page.evaluate(() => {
      const item = [...document.querySelectorAll('.delivery')].find((node) => node.textContent.includes('market.created'));
      item.querySelector('button').click();
    });
    await statusLine(page, /^market\.created is delivered again$/);
    await page.keyboard.press('1');
    await newest(page, 'another attempt', (row) => row.type.startsWith('market.created') && row.type.includes('2 attempts'));
    assert.equal(before.status, 'succeeded');
    assert.ok((await rows(page)).length >= 2);
  });
}
