// A web worker for gofork in plain Node.js: see ../node.toml.
'use strict';

const http = require('node:http');
const net = require('node:net');

// gofork passes its listening sockets as systemd does: file descriptors from 3
// on, LISTEN_FDS many, meant for the process whose pid is LISTEN_PID.
if (Number(process.env.LISTEN_PID) !== process.pid || !(Number(process.env.LISTEN_FDS) >= 1)) {
  console.error('server.js: no socket was passed; start it with: gofork serve -c configs/node.toml');
  process.exit(4); // "app failed to load": gofork does not try again
}

let draining = false;

const server = http.createServer(async (req, res) => {
  const url = new URL(req.url, 'http://localhost');
  if (url.pathname === '/sleep') {
    const ms = Math.min(Number(url.searchParams.get('ms') ?? 1000), 60_000);
    await new Promise((done) => setTimeout(done, ms));
  }
  // While draining every answer asks the client to come back on another connection.
  if (draining) res.setHeader('Connection', 'close');
  res.setHeader('Content-Type', 'application/json');
  res.end(JSON.stringify({
    pid: process.pid,
    slot: Number(process.env.GOFORK_WORKER_SLOT),
    generation: Number(process.env.GOFORK_GENERATION),
  }) + '\n');
});

// Let go of the listener at once: the other workers keep theirs. Connections
// that clients keep open are served for DRAIN_MS more, each answer with
// "Connection: close", because closing one that looks idle may cross a request
// that is already on its way. Then the idle ones are closed; node exits when
// the last answer is out. (Server.close of node:http would close the idle ones
// first of all; the one of node:net below closes the listener alone.)
const DRAIN_MS = 1000;

process.on('SIGTERM', () => {
  if (draining) return;
  draining = true;
  net.Server.prototype.close.call(server, () => console.log(`server ${process.pid}: drained`));
  setTimeout(() => server.closeIdleConnections(), DRAIN_MS);
});

// The quick stop: no time to drain.
process.on('SIGQUIT', () => process.exit(0));

server.listen({ fd: 3 }, () => console.log(`server ${process.pid}: listening`));
