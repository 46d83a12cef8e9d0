// The gateway's contract on Bun with socket.io's engine for it. The environment
// variables are the gateway's own.
import { Server as Engine } from "@socket.io/bun-engine";
import { Server } from "socket.io";
import jwt from "jsonwebtoken";
import { install, deliver } from "../contract.js";

const env = process.env;
const bearer = "Bearer " + env.PUBLISH_TOKEN;

const io = new Server();
const engine = new Engine({
  path: "/socket.io/",
  pingInterval: Number(env.PING_INTERVAL || 25000),
  pingTimeout: Number(env.PING_TIMEOUT || 60000),
  cors: { origin: "*" },
});
io.bind(engine);

install(io, (token) => jwt.verify(token, env.JWT_SECRET, { algorithms: ["HS256"] }));

const handler = engine.handler();

Bun.serve({
  ...handler,
  port: Number(env.PORT),
  hostname: "127.0.0.1",
  async fetch(req, server) {
    const path = req.url.slice(req.url.indexOf("/", 8));
    if (path === "/health") {
      return new Response('{"status":"healthy"}');
    }
    if (!path.startsWith("/events/")) {
      return handler.fetch(req, server);
    }
    if (req.headers.get("authorization") !== bearer) {
      return new Response("{}", { status: 404 });
    }
    const found = deliver(io, path.slice("/events/".length), await req.json());
    return new Response('{"rooms":1}', { status: found ? 202 : 404 });
  },
});
