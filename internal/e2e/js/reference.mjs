// The gateway's contract on Socket.IO's own server. The tests of this folder are
// checked against it, so that they describe Socket.IO and not one implementation
// of it. One process without Redis and RabbitMQ; settings come from the gateway's
// environment variables.
import { createServer } from "node:http";
import { Server } from "socket.io";
import jwt from "jsonwebtoken";

const env = process.env;
const number = (name, otherwise) => Number(env[name] ?? otherwise);
const warnBefore = 5 * 60 * 1000; // ms, at most; otherwise a fifth of the token's lifetime
const roomTypes = ["conversation", "notification"];

const origins = (env.CORS_ORIGIN ?? "localhost:3000").split(",").flatMap((o) => (o.includes("://") || o === "*" ? [o] : [`http://${o}`, `https://${o}`]));
const allowed = (origin) => origins.includes("*") || origins.includes(origin);

let draining = false;

// publish emits an event as a service does.
async function publish(req, key, answer) {
  let text = "";
  for await (const chunk of req) text += chunk;
  const body = JSON.parse(text);
  const room = io.to(`conversation:${body.conversationId}`);
  if (key === "message.sent") room.emit("new_message", body);
  else room.volatile.emit("cursor", body.text); // the string is the last argument
  answer(202, {});
}

const http = createServer((req, res) => {
  const answer = (status, body) => res.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  const path = req.url.split("?")[0];
  if (path === "/health") {
    return answer(draining ? 503 : 200, {
      status: draining ? "draining" : "healthy",
      service: "websocket-gateway",
      version: "reference",
      redis: "disabled",
      eventBus: { isConnected: false, reconnectAttempts: 0, host: "", port: 0 },
      connectedSockets: io.of("/").sockets.size,
    });
  }
  if (path === "/ready") return answer(draining ? 503 : 200, { ready: !draining });
  if (path === "/metrics") {
    const rooms = [...io.of("/").adapter.rooms.keys()].filter((r) => r.includes(":"));
    if (/text\/plain|openmetrics/.test(req.headers.accept ?? "")) {
      return res.writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }).end(`# TYPE gateway_connected_sockets gauge\ngateway_connected_sockets ${io.of("/").sockets.size}\n`);
    }
    return answer(200, { connectedSockets: io.of("/").sockets.size, rooms, totalRooms: rooms.length });
  }
  if (req.method === "POST" && path.startsWith("/events/")) return publish(req, path.slice("/events/".length), answer);
  return answer(404, { error: "Not found" });
});

// Socket.IO's own connection state recovery. Its adapter cleans up once a minute;
// here it does so twice a second, to make the tests faster.
const recovery = env.RECOVERY === "asked";
const { setInterval } = globalThis;
if (recovery) globalThis.setInterval = (f, ms, ...rest) => setInterval(f, ms === 60_000 ? 500 : ms, ...rest);

const io = new Server(http, {
  serveClient: false,
  ...(recovery && { connectionStateRecovery: { maxDisconnectionDuration: number("RECOVERY_WINDOW", 120_000), skipMiddlewares: false } }),
  pingInterval: number("PING_INTERVAL", 25000),
  pingTimeout: number("PING_TIMEOUT", 60000),
  connectTimeout: number("CONNECT_TIMEOUT", 45000),
  maxHttpBufferSize: number("MAX_HTTP_BUFFER_SIZE", 1e6),
  cors: { origin: (origin, done) => done(null, allowed(origin)), credentials: true },
  allowRequest: (req, done) => {
    if (draining) return done("draining", false);
    done(null, !req.headers.origin || allowed(req.headers.origin));
  },
});

function userOf(claims) {
  const id = claims.id ?? claims.userId ?? claims.sub;
  if (typeof id !== "string" && typeof id !== "number") throw new Error("token names no user");
  return String(id);
}

function verify(token) {
  const claims = jwt.verify(token, env.JWT_SECRET, { algorithms: ["HS256"] });
  return { userId: userOf(claims), exp: claims.exp, iat: claims.iat, rooms: claims.rooms };
}

// Verifying a token may take a request to another server, and therefore time.
const verifyDelay = recovery ? 100 : 0; // ms
if (verifyDelay) io.use((_, next) => setTimeout(next, verifyDelay));

io.use((socket, next) => {
  const header = /^Bearer (.+)$/.exec(socket.handshake.headers.authorization ?? "")?.[1];
  const token = socket.handshake.auth?.token ?? header;
  if (!token) {
    return next(env.ALLOW_AUTH_WITHOUT_JWT === "true" ? undefined : new Error("Authentication error: No token provided"));
  }
  try {
    socket.data = verify(token);
    next();
  } catch (err) {
    next(new Error(`Authentication error: ${err.message}`));
  }
});

function roomOf(data) {
  const { roomType, roomId } = data ?? {};
  const id = typeof roomId === "number" ? String(roomId) : roomId;
  if (!roomType || !id || typeof id !== "string") throw new Error("Missing roomType or roomId");
  if (!roomTypes.includes(roomType)) throw new Error("Invalid roomType");
  return `${roomType}:${id}`;
}

function serve(socket) {
  const tell = (room, event) =>
    socket.to(room).emit(event, {
      socketId: socket.id,
      userId: socket.data.userId ?? null,
      room,
      timestamp: new Date().toISOString(),
    });
  const on = (event, handle) =>
    socket.on(event, (...args) => {
      const ack = args.findLast((a) => typeof a === "function") ?? (() => {});
      try {
        ack(handle(typeof args[0] === "function" ? undefined : args[0]));
      } catch (err) {
        ack({ error: err.message });
      }
    });
  on("join_room", (data) => {
    const room = roomOf(data);
    if (env.ROOM_POLICY === "claims" && !socket.data.rooms?.some((r) => r === room || r === "conversation:*")) throw new Error("Not allowed");
    if (!socket.rooms.has(room)) {
      socket.join(room);
      tell(room, "user_joined");
    }
    return { success: true, message: `Joined room: ${room}`, members: io.sockets.adapter.rooms.get(room).size };
  });
  on("leave_room", (data) => {
    const room = roomOf(data);
    if (socket.rooms.has(room)) {
      tell(room, "user_left");
      socket.leave(room);
    }
    return { success: true, message: `Left room: ${room}` };
  });
  for (const event of ["typing", "stop_typing"]) {
    on(event, (data) => {
      const room = roomOf(data);
      if (!socket.rooms.has(room)) throw new Error("Not in room");
      tell(room, `user_${event}`);
      return { success: true };
    });
  }
  socket.on("disconnecting", () => {
    for (const room of socket.rooms) if (roomTypes.includes(room.split(":")[0])) tell(room, "user_left");
  });
  armExpiry(socket, on);
}

function armExpiry(socket, on) {
  let timers = [];
  let warnedOf; // exp of the token that was warned of
  const disarm = () => timers.forEach(clearTimeout);
  const arm = (from) => {
    disarm();
    const { exp } = socket.data;
    const left = () => exp * 1000 - Date.now();
    if (!exp) return;
    const warn = () => {
      if (warnedOf !== exp) socket.emit("token_expiring_soon", { expiresIn: Math.floor(left() / 1000) });
      warnedOf = exp;
    };
    const end = () => {
      socket.emit("session_ended", { reason: "token_expired" });
      socket.disconnect();
    };
    const lead = Math.min(warnBefore, (exp * 1000 - from) / 5);
    timers = [setTimeout(warn, Math.min(2 ** 31 - 1, Math.max(0, left() - lead))), setTimeout(end, Math.min(2 ** 31 - 1, left()))];
  };
  on("refresh_token", (data) => {
    const fresh = verify(data?.token);
    if (fresh.userId !== socket.data.userId) throw new Error("token is for another user");
    socket.data = fresh;
    arm(Date.now());
    return { success: true };
  });
  socket.on("disconnect", disarm);
  arm(Math.min((socket.data.iat ?? Infinity) * 1000, Date.now()));
}

io.on("connection", (socket) => {
  serve(socket);
  if (!socket.data.userId) return;
  if (socket.recovered) return;
  socket.join(`user:${socket.data.userId}`);
  socket.emit("connected", { socketId: socket.id, userId: socket.data.userId, message: "Connected" });
});

// close disconnects the sockets in steps spread over DRAIN_PERIOD.
async function close() {
  if (draining) process.exit(1);
  draining = true;
  http.closeIdleConnections = () => {}; // keeps a load balancer's idle connections open for requests of /ready
  http.close();
  const clients = [...io.engine.clients ? Object.values(io.engine.clients) : []];
  for (const client of clients) {
    client.close();
    await new Promise((r) => setTimeout(r, number("DRAIN_PERIOD", 10000) / clients.length));
  }
  process.exit(0);
}
process.on("SIGTERM", close);
process.on("SIGINT", close);

http.listen(number("PORT", 3002), env.SERVICE_HOST ?? "0.0.0.0");
