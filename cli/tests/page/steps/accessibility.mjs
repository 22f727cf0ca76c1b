// axe-core on each view, in both themes, narrow and wide.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { step } from '../lib/check.mjs';

const axe = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
export const WIDE = { width: 1600, height: 900 };
export const NARROW = { width: 360, height: 740 };

/** Checks what the page shows now. The themes differ in colours alone, so dark needs one rule. */
export async function accessible(page, name, sizes = [['1,600 px', WIDE], ['360 px', NARROW]]) {
  for (const [size, viewport] of sizes) {
    await page.setViewport(viewport);
    for (const [theme, rules] of [['light', {}], ['dark', { runOnly: ['color-contrast'] }]]) {
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: theme }]);
      await step(`axe finds nothing in ${name}, ${theme}, ${size}`, async () => {
        if (!await page.evaluate(() => 'axe' in window)) await page.evaluate(axe);
        const [violations, passes] = await page.evaluate(async (options) => {
          const report = await window.axe.run(document, { resultTypes: ['violations'], ...options });
          const words = report.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.target} ${node.failureSummary}`).join('; ')}`);
          return [words, report.passes.map(({ id }) => id)];
        }, rules);
        assert.deepEqual(violations, []);
        assert.ok(passes.includes('color-contrast'), 'the colours were checked');
        const beyond = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        assert.ok(beyond <= 0, `the page is ${beyond} px too wide`);
      });
    }
  }
  await page.setViewport(WIDE);
}
