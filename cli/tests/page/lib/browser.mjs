// Chromium, and what the steps ask of a page.
import fs from 'node:fs';
import puppeteer from 'puppeteer-core';
import { until } from './check.mjs';

const CANDIDATES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

function executable() {
  const named = process.env.CHROMIUM;
  const found = named ? named : CANDIDATES.find((path) => fs.existsSync(path));
  if (!found || !fs.existsSync(found)) throw new Error('Chromium is missing: install it, or name it in CHROMIUM');
  return found;
}

export function launch(args = []) {
  // Chromium has no sandbox for root.
  const root = process.getuid && process.getuid() === 0 ? ['--no-sandbox'] : [];
  return puppeteer.launch({ executablePath: executable(), headless: true, args: [...root, '--disable-gpu', ...args] });
}

/** Errors, dialogs and foreign requests of all pages of the walk: there must be none. */
export const noise = { console: [], dialogs: [], foreign: [] };

/** Opens a page that reports errors, dialogs and requests to other origins than its own. */
export async function open(browser, address, { expectErrors = () => false } = {}) {
  const page = await browser.newPage();
  const { origin } = new URL(address);
  await page.setViewport({ width: 1600, height: 900 });
  page.on('console', (message) => {
    if (['error', 'warn'].includes(message.type()) && !expectErrors()) noise.console.push(message.text());
  });
  page.on('pageerror', (error) => noise.console.push(String(error.stack || error)));
  page.on('dialog', (dialog) => {
    noise.dialogs.push(dialog.message());
    dialog.dismiss();
  });
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.origin !== origin && url.protocol !== 'blob:') noise.foreign.push(request.url());
  });
  await page.goto(address);
  return page;
}

export const text = (page, selector) => page.$eval(selector, (node) => node.textContent);

export const connected = (page) => until('the page is connected', async () => await text(page, '#connection-text') === 'Connected');

/** The texts of the rows, from top to bottom. */
export const rows = (page) => page.$$eval('#rows > .row', (nodes) => nodes.map((node) => {
  const of = (name) => (node.querySelector(`.c-${name}`) || { textContent: '' }).textContent;
  return { seq: Number(node.dataset.seq), level: Number(node.dataset.level), verdict: of('verdict'), type: of('type'), status: of('status'), why: of('why') };
}));

/** The newest row that `matches`, once it is there and answered. */
export const newest = (page, what, matches) => until(what, async () => (await rows(page)).find((row) => matches(row) && row.status !== 'waiting'));

/** The next row that comes after `send` was called. */
export async function arrival(page, send) {
  const last = Math.max(0, ...(await rows(page)).map((row) => row.seq));
  await send();
  return newest(page, 'a new row', (row) => row.seq > last);
}

/** Shows the detail of an entry, and waits until it is read. */
export async function choose(page, seq) {
  await page.$eval(`#rows > [data-seq="${seq}"]`, (node) => node.click());
  await detailOf(page, seq);
}

export const detailOf = (page, seq) => until(`the detail of ${seq}`, () => page.evaluate((wanted) => {
  const detail = document.getElementById('detail');
  return document.getElementById('detail-body').dataset.seq === wanted && !detail.hasAttribute('aria-busy');
}, String(seq)));

export const statusLine = (page, pattern) => until(`the status line shows ${pattern}`, async () => pattern.test(await text(page, '#status')));

export const clickButton = (page, label) => page.evaluate((wanted) => {
  const shown = [...document.querySelectorAll('button')].filter((node) => node.checkVisibility());
  const found = shown.find((node) => node.textContent.trim() === wanted);
  if (!found) throw new Error(`no button ${wanted}`);
  found.click();
}, label);

export const setValue = (page, selector, value) => page.$eval(selector, (node, to) => {
  node.value = to;
  node.dispatchEvent(new Event('input', { bubbles: true }));
  node.dispatchEvent(new Event('change', { bubbles: true }));
}, value);
