// The list and the detail of deliveries of each kind.
import assert from 'node:assert/strict';
import { step, until } from '../lib/check.mjs';
import { choose, newest, rows, setValue, text } from '../lib/browser.mjs';
import { event, send } from '../lib/servers.mjs';

export async function listSteps({ page, inspect, secret }) {
  await step('the token is not in the address bar, and a reload keeps it', async () => {
    assert.equal(page.url(), `${inspect.origin}/`);
    await page.reload();
    await until('connected again', async () => await text(page, '#connection-text') === 'Connected');
  });

  await step('an empty list shows the command that fills it', async () => {
    await until('the command', () => page.$('#empty .command code'));
    assert.match(await text(page, '#empty .command code'), new RegExp(`^ptolemy-webhooks send http://127\\.0\\.0\\.1:${inspect.port}/`));
  });

  await step('a good delivery appears without reload', async () => {
    await page.evaluate(() => { window.mark = 'same document'; });
    assert.equal(await send(inspect.sender, secret, event('market.created', { identifier: 'asx', name: 'ASX' })), 204);
    const row = await newest(page, 'a row', (row) => row.type.startsWith('market.created'));
    assert.equal(row.verdict, 'Accepted');
    assert.equal(row.status, '204');
    assert.equal(await page.evaluate(() => window.mark), 'same document');
  });

  await step('a tampered, a stale and a repeated-header delivery each show their reason in words', async () => {
    const cases = [
      ['instrument.updated', { tamper: true }, /signature does not match/, 'signature_mismatch', /Possible causes.*The secret is another one\./],
      ['instrument.archived', { age: 412 }, /timestamp is 41\d s old, tolerance is 300 s/, 'timestamp_too_old', /What to do.*Compare the receiver's clock/],
      ['instrument.restored', { repeat: true }, /header Ptolemy-Signature is repeated/, 'repeated_header', /What to do.*Find out which proxy adds the header again/],
    ];
    for (const [type, how, reason, code, advice] of cases) {
      assert.equal(await send(inspect.sender, secret, event(type), how), 401);
      const row = await newest(page, type, (row) => row.type.startsWith(type));
      assert.equal(row.verdict, 'Rejected');
      assert.match(row.why, reason);
      await choose(page, row.seq);
      const verdict = await text(page, '.verdict');
      assert.match(verdict, reason);
      assert.ok(verdict.includes(code), verdict);
      assert.match(verdict, advice);
      const [title, words] = await page.evaluate(() => [document.querySelector('#verdict-title').textContent, document.querySelectorAll('.verdict li, .verdict .sentences p').length]);
      assert.match(title, reason);
      assert.ok(words >= 2, `${words} sentences`);
    }
  });

  await step('malformed data is marked at its path in the JSON', async () => {
    const body = event('market_listing.created', { instrument_id: 'i', market_id: 'm', local_code: 'BHP', currency: 36, lot_size: '1' });
    await send(inspect.sender, secret, body);
    const row = await newest(page, 'malformed', (row) => row.type.startsWith('market_listing.created'));
    assert.equal(row.verdict, 'Malformed data');
    await choose(page, row.seq);
    const mark = await until('a mark', () => page.evaluate(() => {
      const found = document.querySelector('.code mark');
      return found && { value: found.textContent, before: found.previousSibling.previousSibling.textContent, line: found.parentNode.textContent };
    }));
    assert.equal(mark.value, '36');
    assert.match(mark.line, /"currency": 36, {2}◂ expected a string, found a number\n/);
    await page.click('#tab-decoded');
    assert.match(await text(page, '#tab-panel'), /data\.currency.*expected a string, found a number/s);
  });

  await step('a missing field is marked in the object that lacks it', async () => {
    await send(inspect.sender, secret, '{"id":"without-data","event_type":"market_listing_suspension.created"}');
    const row = await newest(page, 'malformed', (row) => row.type.startsWith('market_listing_suspension'));
    assert.equal(row.verdict, 'Malformed data');
    await choose(page, row.seq);
    await page.click('#tab-body');
    await until('a mark', () => page.$('.code mark'));
    assert.match(await text(page, '.code'), /"market_listing_suspension\.created"\n {2}◂ data: missing\n\}$/);
  });

  await step('headers are shown as they came, and a repeated one is marked', async () => {
    const row = await newest(page, 'repeated', (row) => row.type.startsWith('instrument.restored'));
    await choose(page, row.seq);
    await page.click('#tab-headers');
    const names = await page.$$eval('.headers th[scope=row]', (nodes) => nodes.map((node) => node.textContent.toLowerCase()));
    assert.equal(names.filter((name) => name === 'ptolemy-signaturerepeated').length, 2);
    await page.click('#tab-answer');
    await until('the answer', async () => /401/.test(await text(page, '.answer-line')));
    await until('its text', async () => /2 signature headers/.test(await text(page, '#tab-panel')));
    await page.click('#tab-body');
  });

  await step('credentials are masked and never reach the page', async () => {
    const headers = ['Authorization', 'Bearer very-private-1', 'Cookie', 'session=very-private-2'];
    await send(inspect.sender, secret, event('market.updated'), { headers });
    const row = await newest(page, 'a row', (row) => row.type.startsWith('market.updated'));
    await choose(page, row.seq);
    await page.click('#tab-headers');
    assert.equal(await page.$$eval('.headers .masked', (nodes) => nodes.length), 2);
    const raw = await page.evaluate(async (seq, token) => (await fetch(`/api/entries/${seq}`, { headers: { Authorization: `Bearer ${token}` } })).text(), row.seq, inspect.token);
    assert.ok(!raw.includes('very-private') && !raw.includes(secret));
    await page.click('#tab-body');
  });

  await step('attempts of one event stand under the newest one', async () => {
    for (let attempt = 0; attempt < 3; attempt += 1) await send(inspect.sender, secret, event('instrument.created', {}, 'same-id-0001'));
    const row = await newest(page, 'three attempts', (row) => row.type.includes('3 attempts'));
    const before = (await rows(page)).length;
    await page.$eval(`#rows > [data-seq="${row.seq}"]`, (node) => node.focus());
    await page.keyboard.press('ArrowRight');
    await until('the attempts', async () => (await rows(page)).length === before + 2);
    const levels = (await rows(page)).slice(0, 3).map((other) => other.level);
    assert.deepEqual(levels, [1, 2, 2]);
    assert.match((await rows(page))[1].type, /attempt 2/);
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('ArrowLeft');
    assert.equal(await page.evaluate(() => document.activeElement.dataset.seq), String(row.seq));
    await page.keyboard.press('ArrowLeft');
    await until('closed', async () => (await rows(page)).length === before);
  });

  await step('a forged request does not hide the accepted one whose id it has', async () => {
    const body = event('market.created', {}, 'forged-id-0001');
    await send(inspect.sender, secret, body);
    await send(inspect.sender, secret, body, { tamper: true });
    await newest(page, 'the forged one', (row) => row.type.startsWith('market.created') && row.verdict === 'Rejected');
    const ids = await page.$$eval('#rows > .row', (nodes) => nodes.filter((node) => node.querySelector('.c-id').title === 'forged-id-0001').map((node) => [node.querySelector('.word').textContent, node.dataset.level]));
    assert.deepEqual(ids, [['Rejected', '1'], ['Accepted', '1']]);
  });

  await step('what is only suspected stands apart, with a check for each and what to do', async () => {
    const row = await newest(page, 'the forged one', (row) => row.type.startsWith('market.created') && row.verdict === 'Rejected');
    await choose(page, row.seq);
    const verdict = await text(page, '.verdict');
    assert.match(verdict, /Possible causes \(not proven\)The secret is another one\./);
    assert.match(verdict, /Check: a delivery that/);
    assert.match(verdict, /What to doCopy the secret again/);
    assert.equal(await page.$('.basis'), null);
  });

  await step('filters by text, type, verdict and status, and counts what is shown', async () => {
    const shown = async () => Number((await text(page, '#count')).split(' ')[0]);
    const total = await shown();
    const expectOnly = async (test) => assert.ok((await rows(page)).every(test), JSON.stringify(await rows(page)));
    await setValue(page, '#filter-text', 'TAMPER-less text');
    await until('nothing', async () => await shown() === 0);
    assert.match(await text(page, '#empty'), /No request matches the filter/);
    await page.click('#filter-clear');
    await until('all', async () => await shown() === total);
    await setValue(page, '#filter-text', 'tolerance');
    await until('one', async () => await shown() === 1);
    await expectOnly((row) => row.type.startsWith('instrument.archived'));
    await page.click('#filter-clear');
    await until('all', async () => await shown() === total);
    await setValue(page, '#filter-verdict', 'rejected');
    await expectOnly((row) => row.verdict === 'Rejected');
    await setValue(page, '#filter-type', 'instrument.updated');
    await expectOnly((row) => row.type.startsWith('instrument.updated'));
    assert.match(await text(page, '#count'), new RegExp(`^1 of ${total} shown$`));
    await page.click('#filter-clear');
    await setValue(page, '#filter-status', '2');
    await expectOnly((row) => row.status === '204');
    await page.click('#filter-clear');
    await until('all', async () => await shown() === total);
  });

  await step('an answer whose body comes late is shown in an open detail', async () => {
    const sent = send(inspect.sender, secret, event('market.deleted', {}, 'slow-id-0001'), { headers: ['X-Slow-Answer', '1'] });
    const seq = await until('the row', async () => (await rows(page)).find((row) => row.type.startsWith('market.deleted'))?.seq);
    await choose(page, seq);
    await page.click('#tab-answer');
    await until('the body', async () => /the late end/.test(await text(page, '#tab-panel')));
    await sent;
    await page.click('#tab-body');
  });
}
