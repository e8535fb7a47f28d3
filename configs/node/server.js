// A web worker for gofork in plain Node.js: see ../node.toml.
'use strict';

const http = require('node:http');

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

// Let go of the listener (other workers keep theirs), close what is idle,
// answer what is in flight. Node exits when nothing is left to do.
process.on('SIGTERM', () => {
  if (draining) return;
  draining = true;
  server.close(() => console.log(`server ${process.pid}: drained`));
  server.closeIdleConnections();
});

// The quick stop: no time to drain.
process.on('SIGQUIT', () => process.exit(0));

server.listen({ fd: 3 }, () => console.log(`server ${process.pid}: listening`));
