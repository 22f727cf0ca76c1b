// Words that the page's files must not contain: each is a way from text to code, or to another host.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { step } from '../lib/check.mjs';

const folder = new URL('../../../src/inspect/page/', import.meta.url);
const FORBIDDEN = [/\b(inner|outer)HTML\b/, /insertAdjacentHTML/, /document\.write/, /\beval\b/, /\bFunction\s*\(/, /setHTML/, /DOMParser/, /createContextualFragment/, /\bsrcdoc\b/, /\.cssText\b/, /\.style\b/, /javascript:/, /\bimport\b\s*\(/];
const FORBIDDEN_IN_MARKUP = [/\sstyle\s*=/, /<style/, /\son[a-z]+\s*=/, /<script(?! src="\/page\.js" defer><\/script>)/, /https?:\/\//];

export async function sourceSteps() {
  const read = (name) => fs.readFileSync(new URL(name, folder), 'utf8');

  await step('the script has no way from text to markup, code or style', () => {
    for (const pattern of FORBIDDEN) assert.doesNotMatch(read('page.js'), pattern);
    assert.match(read('page.js'), /^\s*'use strict';$/m);
  });

  await step('the markup has no script, style or handler of its own and names no host', () => {
    for (const pattern of FORBIDDEN_IN_MARKUP) assert.doesNotMatch(read('page.html'), pattern);
    assert.doesNotMatch(read('page.css'), /url\(|@import|https?:/);
  });
}
