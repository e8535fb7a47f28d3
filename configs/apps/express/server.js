// An express application as a gofork worker: see ../express.toml.
'use strict';

const { execFile } = require('node:child_process');
const http = require('node:http');
const net = require('node:net');
const express = require('express');

const DRAIN_MS = 1000; // above the pauses of keep-alive clients

const app = express();
let draining = false;

app.use((req, res, next) => {
  if (draining) res.setHeader('Connection', 'close');
  next();
});
app.get('/pid', (req, res) => res.type('text').send(String(process.pid)));
app.post('/echo', express.raw({ type: () => true }), (req, res) => res.type('text').send(req.body));
app.get('/sleep', (req, res) => setTimeout(() => res.send('slept'), Math.min(Number(req.query.ms), 60_000)));

const server = http.createServer(app);

// Let go of the listener alone (Server.close of node:http would close idle
// connections at once), ask clients to come back on another connection, and
// close what is idle when they have had the time to.
process.on('SIGTERM', () => {
  if (draining) return;
  draining = true;
  net.Server.prototype.close.call(server);
  setTimeout(() => server.closeIdleConnections(), DRAIN_MS);
});
process.on('SIGQUIT', () => process.exit(0)); // gofork's quick stop

// node cannot send to NOTIFY_SOCKET by itself (it has no unix datagrams).
server.listen({ fd: 3 }, () => {
  execFile('gofork', ['notify', 'READY=1'], (err) => err && console.error(err));
});
