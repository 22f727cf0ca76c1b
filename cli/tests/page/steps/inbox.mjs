// The inbox's counts, and its dead events. The inbox has three of them.
import assert from 'node:assert/strict';
import { step, until } from '../lib/check.mjs';
import { clickButton, statusLine, text } from '../lib/browser.mjs';

const dead = (page) => page.$$eval('.dead tbody tr', (nodes) => nodes.length);
const tile = (page, name) => page.$$eval('.tile', (nodes, wanted) => {
  const found = nodes.find((node) => node.querySelector('dt').textContent === wanted);
  return found ? found.querySelector('dd').textContent : null;
}, name);

export async function showInbox(page) {
  await page.$eval('#views [data-view="inbox"]', (node) => node.click());
  await until('the counts', () => page.$('.tiles'));
}

export async function inboxSteps(page) {
  await step('the inbox shows its counts and its dead events', async () => {
    await showInbox(page);
    assert.equal(await tile(page, 'dead'), '3');
    assert.equal(await dead(page), 3);
    assert.match(await text(page, '.dead'), /no such market/);
    assert.equal(await page.$eval('#dead-replay', (node) => node.disabled), true);
  });

  await step('dead events are discarded only after a question', async () => {
    await page.$eval('.dead tbody input', (node) => node.click());
    await clickButton(page, 'Discard');
    assert.equal(await page.$eval('#confirm', (node) => node.open), true);
    assert.match(await text(page, '#confirm-text'), /^1 dead event will be removed for good/);
    await page.click('#confirm-no');
    assert.equal(await dead(page), 3);
    await clickButton(page, 'Discard');
    await page.click('#confirm-yes');
    await statusLine(page, /^1 event discarded$/);
    await until('two are left', async () => await dead(page) === 2);
  });

  await step('dead events are replayed', async () => {
    await page.$eval('#dead-all', (node) => node.click());
    assert.equal(await text(page, '#dead-count'), '2 selected');
    await clickButton(page, 'Replay');
    await statusLine(page, /^2 events will be handled again$/);
    await until('none is left', async () => /No event is dead/.test(await text(page, '#inbox')));
    assert.equal(await tile(page, 'dead'), '0');
  });
}
