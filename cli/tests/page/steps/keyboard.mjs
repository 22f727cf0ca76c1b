// The page without a mouse.
import assert from 'node:assert/strict';
import { step, until } from '../lib/check.mjs';
import { detailOf, rows, setValue, text } from '../lib/browser.mjs';

const focused = (page) => page.evaluate(() => {
  const node = document.activeElement;
  return node.id || (node.dataset.seq ? `row ${node.dataset.seq}` : node.textContent.trim());
});

export async function keyboardSteps({ page }) {
  await step('arrows, j and k, Home and End move through the list', async () => {
    await page.evaluate(() => document.activeElement.blur());
    const [first, second, third] = (await rows(page)).map((row) => row.seq);
    await page.$eval('#rows > .row', (node) => node.focus());
    await page.keyboard.press('Home');
    assert.equal(await focused(page), `row ${first}`);
    await page.keyboard.press('ArrowDown');
    assert.equal(await focused(page), `row ${second}`);
    await page.keyboard.press('j');
    assert.equal(await focused(page), `row ${third}`);
    await page.keyboard.press('k');
    assert.equal(await focused(page), `row ${second}`);
    assert.equal(await page.$eval(`[data-seq="${second}"]`, (node) => node.getAttribute('aria-selected')), 'true');
    await page.keyboard.press('End');
    const all = await rows(page);
    assert.equal(await focused(page), `row ${all[all.length - 1].seq}`);
    await page.keyboard.press('Home');
    await detailOf(page, first);
  });

  await step('Enter leads to the detail, and Esc back', async () => {
    const [first] = (await rows(page)).map((row) => row.seq);
    await page.keyboard.press('Enter');
    assert.equal(await focused(page), 'detail-heading');
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.closest('#detail-body') !== null), true);
    const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.equal(ring, 'solid');
    await page.keyboard.press('Escape');
    assert.equal(await focused(page), `row ${first}`);
  });

  await step('tabs follow the arrow keys', async () => {
    await page.keyboard.press('Enter');
    await page.focus('#tab-body');
    await page.keyboard.press('ArrowRight');
    assert.equal(await focused(page), 'tab-headers');
    assert.equal(await page.$eval('#tab-panel', (node) => node.getAttribute('aria-labelledby')), 'tab-headers');
    await page.keyboard.press('ArrowLeft');
    assert.equal(await focused(page), 'tab-body');
    await page.keyboard.press('Escape');
  });

  await step('/ leads to the filter, Esc clears it and then leads back', async () => {
    await page.keyboard.press('/');
    assert.equal(await focused(page), 'filter-text');
    await page.keyboard.type('jk?/');
    assert.equal(await page.$eval('#filter-text', (node) => node.value), 'jk?/');
    await until('nothing', async () => (await text(page, '#count')).startsWith('0 of'));
    await page.keyboard.press('Escape');
    await until('all', async () => !(await text(page, '#count')).includes('of'));
    assert.equal(await focused(page), 'filter-text');
    await page.keyboard.press('Escape');
    assert.match(await focused(page), /^row /);
  });

  await step('? opens the help, in which single keys can be turned off', async () => {
    await page.keyboard.press('?');
    assert.equal(await page.$eval('#help', (node) => node.open), true);
    await page.$eval('#single-keys', (node) => node.click());
    await page.keyboard.press('Escape');
    assert.equal(await page.$eval('#help', (node) => node.open), false);
    await page.keyboard.press('/');
    assert.match(await focused(page), /^row /);
    await page.$eval('#single-keys', (node) => node.click());
  });

  await step('one row is in the order of Tab, and the skip link leads to it', async () => {
    assert.equal(await page.$$eval('#rows > [tabindex="0"]', (nodes) => nodes.length), 1);
    await page.focus('#skip');
    await page.keyboard.press('Enter');
    assert.match(await focused(page), /^row /);
    await setValue(page, '#filter-text', '');
  });

  await step('the theme changes by hand and is kept', async () => {
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'light' }]);
    const light = await background();
    await page.click('#theme');
    await page.click('#theme');
    assert.equal(await page.$eval('#theme', (node) => node.getAttribute('aria-label')), 'Theme: dark');
    const dark = await background();
    assert.notEqual(dark, light);
    await page.reload();
    assert.equal(await background(), dark);
    await page.click('#theme');
    assert.equal(await background(), light);
    await until('the rows', async () => (await rows(page)).length > 0);
  });
}
