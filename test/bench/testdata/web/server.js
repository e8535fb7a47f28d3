// The smallest Node.js server on the socket that it is handed, with the drain of
// configs/node/server.js.
'use strict';

const http = require('node:http');
const net = require('node:net');

let draining = false;

const server = http.createServer((_req, res) => {
  if (draining) res.setHeader('Connection', 'close');
  res.setHeader('Content-Length', 3);
  res.end('ok\n');
});

process.on('SIGTERM', () => {
  draining = true;
  net.Server.prototype.close.call(server);
  setTimeout(() => server.closeIdleConnections(), 1000);
});

server.listen({ fd: 3 });
