// Steps with names and a limit of time. A step that fails does not stop the walk: the report shows
// all.
import { setTimeout as delay } from 'node:timers/promises';

const STEP_MS = 60_000;

export const failures = [];

export async function step(name, action, limit = STEP_MS) {
  const begin = Date.now();
  const late = new AbortController();
  try {
    await Promise.race([
      action(),
      delay(limit, null, { signal: late.signal, ref: false }).then(() => {
        throw new Error(`no end after ${limit / 1000} s`);
      }),
    ]);
    console.log(`ok      ${name} (${Date.now() - begin} ms)`);
  } catch (error) {
    failures.push(name);
    console.log(`FAILED  ${name}\n${error.stack}`);
  } finally {
    late.abort();
  }
}

/** Asks again until the answer is true, or fails with what was waited for. */
export async function until(what, ask, limit = 10_000) {
  const end = Date.now() + limit;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`not within ${limit} ms: ${what}`);
    await delay(40);
  }
}
