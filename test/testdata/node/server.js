// A web application that cooperates with a supervisor: it takes the sockets that
// it is given, says when it serves, and loses no request when it has to go.
//
//   /pid    the process id
//   /echo   the request's body
'use strict';

const http = require('node:http');
const net = require('node:net');
const { execFile } = require('node:child_process');

// How long connections that clients keep are still served after SIGTERM, each
// answer with "Connection: close": longer than a client pauses between two
// requests, because to close one that looks idle may cross its next request.
const DRAIN_MS = Number(process.env.DRAIN_MS);

let draining = false;

const server = http.createServer((req, res) => {
  const body = [];
  req.on('data', (chunk) => body.push(chunk));
  // Not before the body has been read: an answer with "Connection: close" ends the
  // connection, and what the client still sends would be answered with a reset.
  req.on('end', () => {
    if (draining) res.setHeader('Connection', 'close');
    res.end(req.url === '/echo' ? Buffer.concat(body) : String(process.pid));
  });
});

// The listener alone is closed (Server.close of node:http would also close what
// looks idle); what waits in its queue is for the others that hold the socket.
process.on('SIGTERM', () => {
  if (draining) return;
  draining = true;
  net.Server.prototype.close.call(server);
  setTimeout(() => server.closeIdleConnections(), DRAIN_MS);
});

server.listen({ fd: 3 }, () => {
  execFile(process.env.NOTIFY, ['notify', 'READY=1'], (err) => {
    if (err) {
      console.error(err);
      process.exit(3);
    }
  });
});
