// Sending again, copying and downloading.
import assert from 'node:assert/strict';
import { step, until } from '../lib/check.mjs';
import { choose, clickButton, detailOf, newest, statusLine, text } from '../lib/browser.mjs';
import { event, send } from '../lib/servers.mjs';

export async function actionSteps({ page, inspect, receiver, secret }) {
  const body = event('instrument.deleted', { name: 'Grüße' });
  let stale;
  const last = () => receiver.requests[receiver.requests.length - 1];

  await step('a stale delivery that is sent again as it was is rejected by the receiver', async () => {
    await send(inspect.sender, secret, body, { age: 900 });
    stale = await newest(page, 'stale', (row) => row.type.startsWith('instrument.deleted'));
    await choose(page, stale.seq);
    const before = receiver.requests.length;
    await clickButton(page, 'Send again as it was');
    await statusLine(page, /^Sent again as it was: the receiver answered 401 after/);
    assert.equal(receiver.requests.length, before + 1);
    assert.deepEqual(last(), { status: 401, body: Buffer.from(body) });
  });

  await step('signed anew it is accepted, and the page leads to the new request', async () => {
    await clickButton(page, 'Sign anew and send');
    await statusLine(page, /^Signed anew: the receiver answered 204 after/);
    assert.deepEqual(last(), { status: 204, body: Buffer.from(body) });
    await page.click('#status-show');
    const seq = Number(await page.$eval('#status-show', (node) => node.dataset.seq));
    await detailOf(page, seq);
    assert.match(await text(page, '.facts'), new RegExp(`signed anew from request ${stale.seq}`));
    assert.match(await text(page, '.verdict-head'), /^Accepted/);
    await clickButton(page, `request ${stale.seq}`);
    await detailOf(page, stale.seq);
  });

  await step('the body and a curl command are copied, without the secret', async () => {
    await page.browserContext().overridePermissions(inspect.origin, ['clipboard-read', 'clipboard-write', 'clipboard-sanitized-write']);
    await page.bringToFront();
    await clickButton(page, 'Copy body');
    await statusLine(page, /^The body was copied$/);
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), body);
    await clickButton(page, 'Copy as curl');
    await statusLine(page, /^The curl command was copied$/);
    const command = await page.evaluate(() => navigator.clipboard.readText());
    assert.match(command, /curl/);
    assert.match(command, /ptolemy-signature: t=\d+,v1=[0-9a-f]{64}/i);
    assert.ok(!command.includes(secret));
  });

  await step('a copy that the browser does not allow is offered by hand', async () => {
    await page.evaluate(() => { navigator.clipboard.writeText = () => Promise.reject(new Error('denied')); });
    await clickButton(page, 'Copy body');
    await until('the dialog', () => page.$eval('#copy', (node) => node.open));
    assert.equal(await page.$eval('#copy-text', (node) => node.value), body);
    await page.keyboard.press('Escape');
    await page.evaluate(() => { delete navigator.clipboard.writeText; });
  });

  await step('a download is offered under a name that the request cannot choose', async () => {
    await page.evaluate(() => {
      window.saved = [];
      HTMLAnchorElement.prototype.click = function click() { window.saved.push([this.download, this.href.split(':')[0]]); };
    });
    await clickButton(page, 'Download body');
    await statusLine(page, /^The body was saved as request-\d+\.bin/);
    assert.deepEqual(await page.evaluate(() => window.saved), [[`request-${stale.seq}.bin`, 'blob']]);
    await page.evaluate(() => { delete HTMLAnchorElement.prototype.click; });
  });
}
