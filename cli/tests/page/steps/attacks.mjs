// Attacks from another origin and from a rebound host name: each is a step.
import assert from 'node:assert/strict';
import { step, until } from '../lib/check.mjs';
import { connected, launch, rows } from '../lib/browser.mjs';

const REBOUND = 'evil.test';

export async function attackSteps({ browser, page, inspect, receiver, stranger }) {
  const attacker = await browser.newPage();
  await attacker.goto(stranger.url);
  const newestSeq = async () => (await rows(page))[0].seq;
  const seq = await newestSeq();
  const requests = receiver.requests.length;
  const target = { origin: inspect.origin, token: inspect.token, seq };
  const unchanged = async () => {
    // A page that is not shown reads no stream.
    await page.bringToFront();
    await connected(page);
    assert.equal(receiver.requests.length, requests, 'the receiver got a request');
    assert.equal(await newestSeq(), seq, 'an entry was added');
    await attacker.bringToFront();
  };
  /** Runs in the page of the attacker; returns `blocked` or what was read. */
  const attempt = async (attack, ...more) => attacker.evaluate(attack, target, ...more);

  const readers = {
    'read the page': '/',
    'read its script': '/page.js',
    'read the stream': '/api/stream?after=0',
    'read an entry': `/api/entries/${seq}`,
    'read a body': `/api/entries/${seq}/body`,
  };
  for (const [name, path] of Object.entries(readers)) {
    await step(`another origin cannot ${name}, even with the token`, async () => {
      for (const headers of [{}, { Authorization: `Bearer ${inspect.token}` }]) {
        const result = await attempt(({ origin }, to, with_) => fetch(origin + to, { headers: with_ }).then((response) => response.text(), () => 'blocked'), path, headers);
        assert.equal(result, 'blocked');
      }
      const opaque = await attempt(({ origin }, to) => fetch(origin + to, { mode: 'no-cors' }).then((response) => response.text(), () => ''), path);
      assert.equal(opaque, '');
    });
  }

  await step('another origin cannot send again by fetch, simple or with a token', async () => {
    const bodies = [['text/plain', {}], ['application/json', {}], ['application/json', { Authorization: `Bearer ${inspect.token}` }]];
    for (const [type, headers] of bodies) {
      for (const mode of ['cors', 'no-cors']) {
        await attempt(({ origin, seq: of }, kind, extra, how) => fetch(`${origin}/api/entries/${of}/replay`, {
          method: 'POST', mode: how, credentials: 'include', headers: { 'Content-Type': kind, ...extra }, body: '{"signing":"as_it_was"}',
        }).then(() => null, () => null), type, headers, mode);
      }
    }
    await unchanged();
  });

  await step('another origin cannot send again by a beacon', async () => {
    await attempt(({ origin, seq: of }) => navigator.sendBeacon(`${origin}/api/entries/${of}/replay`, '{"signing":"as_it_was"}'));
    await unchanged();
  });

  await step('another origin cannot send again by a form', async () => {
    const frame = await attacker.browserContext().newPage();
    await frame.goto(stranger.url);
    const [response] = await Promise.all([
      frame.waitForNavigation(),
      frame.evaluate(({ origin, seq: of }) => {
        const form = document.createElement('form');
        const field = document.createElement('input');
        form.method = 'post';
        form.enctype = 'text/plain';
        form.action = `${origin}/api/entries/${of}/replay`;
        // As text/plain, this is the JSON {"signing":"as_it_was","x":"="}.
        field.name = '{"signing":"as_it_was","x":"';
        field.value = '"}';
        form.append(field);
        document.body.append(form);
        form.submit();
      }, target),
    ]);
    assert.equal(response.status(), 403);
    await frame.close();
    await unchanged();
  });

  await step('another origin cannot embed the page in a frame', async () => {
    const blocked = await attempt(({ origin, token }) => new Promise((resolve) => {
      const frame = document.createElement('iframe');
      frame.src = `${origin}/#token=${token}`;
      frame.onload = () => {
        let seen = 'blocked';
        try { seen = frame.contentDocument ? frame.contentDocument.title : 'blocked'; } catch { /* Another origin. */ }
        resolve(seen);
      };
      document.body.append(frame);
    }));
    assert.equal(blocked, 'blocked');
    const frame = await until('the frame', () => attacker.frames().find((other) => other.parentFrame()));
    assert.ok(!frame.url().startsWith(inspect.origin), frame.url());
  });

  await step('another origin cannot open an EventSource', async () => {
    const result = await attempt(({ origin }) => new Promise((resolve) => {
      const source = new EventSource(`${origin}/api/stream?after=0`);
      source.onmessage = () => resolve('read');
      source.onerror = () => { source.close(); resolve('blocked'); };
    }));
    assert.equal(result, 'blocked');
  });

  for (const [tag, attribute, path] of [['img', 'src', '/favicon.ico'], ['img', 'src', `/api/entries/${seq}/body`], ['script', 'src', '/page.js'], ['script', 'src', `/api/entries/${seq}`], ['link', 'href', '/page.css']]) {
    await step(`another origin cannot include ${path.replace(/\d+/, 'N')} by <${tag}>`, async () => {
      const result = await attempt(({ origin }, name, key, to) => new Promise((resolve) => {
        const node = document.createElement(name);
        if (name === 'link') node.rel = 'stylesheet';
        node.onload = () => resolve('loaded');
        node.onerror = () => resolve('blocked');
        node[key] = origin + to;
        document.body.append(node);
      }), tag, attribute, path);
      assert.equal(result, 'blocked');
    });
  }

  await step('another origin that opens the page in a window has no way into it', async () => {
    const result = await attempt(async ({ origin, token }) => {
      const opened = window.open(`${origin}/#token=${token}`);
      if (!opened) return 'blocked';
      for (let round = 0; round < 100; round += 1) {
        // The opener policy of the page cuts the reference, which then looks closed.
        if (opened.closed) return 'blocked';
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      return 'open';
    });
    assert.equal(result, 'blocked');
    for (const other of await browser.pages()) if (other !== page && other !== attacker) await other.close();
  });
  await reboundSteps({ inspect, unchanged });
  await attacker.close();
  await page.bringToFront();
  await connected(page);
}

/** A name of the attacker whose address became 127.0.0.1: the browser sees one origin. */
async function reboundSteps({ inspect, unchanged }) {
  const browser = await launch([`--host-resolver-rules=MAP ${REBOUND} 127.0.0.1`]);
  const page = await browser.newPage();
  const origin = `http://${REBOUND}:${inspect.pagePort}`;
  let response;

  await step('a rebound host name gets 421 and no page', async () => {
    response = await page.goto(`${origin}/#token=${inspect.token}`);
    assert.equal(response.status(), 421);
    assert.equal(await page.$('#rows'), null);
    assert.equal(await page.evaluate(() => document.scripts.length), 0);
  });

  for (const path of ['/page.js', '/page.css', '/api/stream?after=0', '/api/entries/1', '/api/entries/1/body']) {
    await step(`a rebound host name cannot read ${path}, even with the token`, async () => {
      const status = await page.evaluate(async (to, token) => {
        const answer = await fetch(to, { headers: { Authorization: `Bearer ${token}` } });
        return answer.status;
      }, path, inspect.token);
      assert.equal(status, 421);
    });
  }

  await step('a rebound host name cannot send again, even with the token', async () => {
    const status = await page.evaluate(async (token) => {
      const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
      const answer = await fetch('/api/entries/1/replay', { method: 'POST', headers, body: '{"signing":"as_it_was"}' });
      return answer.status;
    }, inspect.token);
    assert.equal(status, 421);
    await unchanged();
  });
  await browser.close();
}
