"use strict";
// The gateway's contract on Node's socket.io. The environment variables are the
// gateway's own.

const http = require("http");
const { Server } = require("socket.io");
const jwt = require("jsonwebtoken");
const { install, deliver } = require("../contract");

const env = process.env;
const secret = env.JWT_SECRET;
const bearer = "Bearer " + env.PUBLISH_TOKEN;

const server = http.createServer(answer);
const io = new Server(server, {
  pingInterval: Number(env.PING_INTERVAL || 25000),
  pingTimeout: Number(env.PING_TIMEOUT || 60000),
  cors: { origin: "*" },
});

install(io, (token) => jwt.verify(token, secret, { algorithms: ["HS256"] }));

function answer(req, res) {
  if (req.url === "/health") {
    return res.end('{"status":"healthy"}');
  }
  if (req.method !== "POST" || !req.url.startsWith("/events/") || req.headers.authorization !== bearer) {
    res.statusCode = 404;
    return res.end("{}");
  }
  let body = "";
  req.setEncoding("utf8");
  req.on("data", (chunk) => { body += chunk; });
  req.on("end", () => {
    res.statusCode = deliver(io, req.url.slice("/events/".length), JSON.parse(body)) ? 202 : 404;
    res.end('{"rooms":1}');
  });
}

async function useRedis() {
  const { createClient } = require("redis");
  const { createAdapter } = require("@socket.io/redis-adapter");
  const pub = createClient({ socket: { host: env.REDIS_HOST, port: Number(env.REDIS_PORT) } });
  const sub = pub.duplicate();
  await Promise.all([pub.connect(), sub.connect()]);
  io.adapter(createAdapter(pub, sub));
}

async function useRabbitMQ() {
  const amqp = require("amqplib");
  const conn = await amqp.connect({ hostname: env.RABBITMQ_HOST, port: Number(env.RABBITMQ_PORT) });
  const channel = await conn.createChannel();
  await channel.assertExchange("hometrip_events", "topic", { durable: true });
  await channel.prefetch(500);
  for (const key of ["message.sent", "notification.created"]) {
    const { queue } = await channel.assertQueue("bench-node." + key, {
      durable: true, arguments: { "x-queue-type": "quorum" },
    });
    await channel.bindQueue(queue, "hometrip_events", key);
    await channel.consume(queue, (msg) => {
      deliver(io, key, JSON.parse(msg.content.toString()));
      channel.ack(msg);
    });
  }
}

(async () => {
  if (env.USE_REDIS === "true") {
    await useRedis();
  }
  if (env.USE_RABBITMQ === "true") {
    await useRabbitMQ();
  }
  server.listen({ port: Number(env.PORT), host: "127.0.0.1", backlog: 4096 });
})();
