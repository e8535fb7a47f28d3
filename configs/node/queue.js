// A companion for gofork in plain Node.js: works through a (made-up) queue and
// finishes the current job before it stops. See ../node.toml.
'use strict';

const name = `${process.env.GOFORK_COMPANION}:${process.env.GOFORK_INSTANCE}`;
const stopping = new AbortController();
process.once('SIGTERM', () => stopping.abort());

// An idle wait ends early when a stop is asked for; a job does not.
function idle(ms) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    stopping.signal.addEventListener('abort', () => { clearTimeout(timer); done(); }, { once: true });
  });
}

async function work(job) {
  await new Promise((done) => setTimeout(done, 100));
  console.log(`${name}: job ${job} done`);
}

(async () => {
  for (let job = 1; !stopping.signal.aborted; job++) {
    await work(job);
    await idle(5000);
  }
  console.log(`${name}: stopped`);
})();
