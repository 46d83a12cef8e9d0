// A Socket.IO server on Node and two gateways that share rooms. Clients of each
// must get what is emitted on the others, byte for byte as the client of the Node
// server gets it.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { createClient } from "redis";
import { Server } from "socket.io";
import { io as connect } from "socket.io-client";
import { listed, room, timeout, token, url, within } from "./world.mjs";

const { REDIS_URL, GATEWAY_2_URL, ADAPTER, EMITTER } = process.env;
const { createAdapter } = await import(ADAPTER);
const { Emitter } = await import(EMITTER);

let io, emitter, pub, sub, http;
const clients = [];

before(async () => {
  pub = createClient({ url: REDIS_URL });
  sub = pub.duplicate();
  await Promise.all([pub.connect(), sub.connect()]);
  http = createServer();
  io = new Server(http, { adapter: createAdapter(pub, sub, { requestsTimeout: 8000 }) });
  emitter = new Emitter(pub);
  io.on("connection", (socket) => {
    socket.join(`user:${socket.handshake.auth.user}`);
    socket.on("join_room", ({ roomType, roomId }, done) => {
      socket.join(`${roomType}:${roomId}`);
      done({ success: true });
    });
    socket.on("say", (name, event, ...args) => socket.to(name).emit(event, ...args));
  });
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  // A gateway answers the requests of other servers as soon as it has subscribed.
  while ((await pub.sendCommand(["PUBSUB", "NUMSUB", "socket.io-request#/#"]))[1] < 3) await new Promise((r) => setTimeout(r, 20));
});

after(async () => {
  clients.forEach((c) => c.socket.disconnect());
  await new Promise((resolve) => io.close(resolve));
  await Promise.all([pub.quit(), sub.quit()]);
});

const nodeURL = () => `http://127.0.0.1:${http.address().port}`;

// Events about other clients that connect, join or leave.
const presence = new Set(["connected", "user_joined", "user_left"]);
const about = /^2\["(connected|user_joined|user_left)"/;

// Member is a client that records what it receives, as events and as bytes.
class Member {
  constructor(where, user) {
    this.events = [];
    this.raw = [];
    this.socket = connect(where, { forceNew: true, reconnection: false, transports: ["websocket"], auth: { user, token: token({ id: user }) } });
    this.presence = [];
    this.socket.onAny((event, ...args) => (presence.has(event) ? this.presence : this.events).push([event, ...args]));
    this.socket.io.on("open", () => this.socket.io.engine.on("message", (data) => about.test(data) || this.raw.push(data)));
    clients.push(this);
  }
  async join({ data }) {
    const { success } = await within(this.socket.emitWithAck("join_room", data), "the ack of join_room");
    assert.equal(success, true);
  }
  async until(name) {
    const deadline = timeout(name);
    deadline.catch(() => {});
    while (![...this.events, ...this.presence].some(([event]) => event === name)) {
      await Promise.race([new Promise((resolve) => this.socket.onAny(resolve)), deadline]);
    }
  }
  // take returns what has arrived since the last call, up to the event "end".
  async take() {
    await this.until("end");
    const at = this.events.findIndex(([event]) => event === "end");
    const taken = this.events.splice(0, at + 1).slice(0, -1);
    return taken;
  }
  bytes() {
    return this.raw.splice(0).map((part) => (typeof part === "string" ? part : Buffer.from(part).toString("hex")));
  }
}

async function member(where, user, ...rooms) {
  const m = new Member(where, user);
  await within(new Promise((resolve, reject) => m.socket.on("connect", resolve).on("connect_error", reject)), "connect");
  for (const r of rooms) await m.join(r);
  return m;
}

// trio returns a client of the Node server and one of each gateway, all in one
// room.
async function trio(...rooms) {
  const id = Math.random().toString(36).slice(2);
  const all = [await member(nodeURL(), `n${id}`, ...rooms), await member(url, `a${id}`, ...rooms), await member(GATEWAY_2_URL, `b${id}`, ...rooms)];
  await listed(url, GATEWAY_2_URL);
  for (const m of all) emitter.to(m.socket.id).emit("end");
  for (const m of all) await m.take();
  all.forEach((m) => m.bytes());
  return all;
}

const big = "x".repeat(70_000);
const values = {
  text: ["hé 😀 \u2028 \" \\ \n \u0000 \u007f"],
  long: [big, { [big]: big }],
  numbers: [0, -0, 1, -1, 127, 128, 255, 256, -32, -33, 65536, 2 ** 32, -(2 ** 32), 2 ** 53, 1.5, -1e-7, 1e20, 0.1 + 0.2, NaN, Infinity],
  nothing: [null, undefined, { a: undefined, b: null }, [undefined]],
  booleans: [true, false],
  dates: [new Date(0), new Date(1.7e12), { at: new Date(-1) }],
  nested: [{ b: 1, a: { 10: "x", 9: [[], {}, [1, [2, [3]]]] } }],
  many: [Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`k${i}`, i])), Array.from({ length: 300 }, (_, i) => i)],
  binary: [Buffer.from([1, 2, 3]), { file: Buffer.alloc(300, 7), name: "a", more: [Buffer.alloc(0)] }],
  arrays: [new Uint8Array([1, 2, 255])],
  "no arguments": [],
};

for (const [name, args] of Object.entries(values)) {
  for (const from of ["server", "emitter"]) {
    test(`${from} to a room: ${name}`, async () => {
      const r = room();
      const all = await trio(r);
      const source = from === "server" ? io : emitter;
      source.to(r.name).emit("value", ...args);
      emitter.to(r.name).emit("end");
      for (const m of all) await m.take();
      const [node, a, b] = all.map((m) => m.bytes());
      if (from === "server") {
        // A server passes events to its own clients without encoding them as
        // MessagePack. Only events from other servers serve as the reference.
        assert.deepEqual(a, b);
        assert.equal(a.length, node.length);
        if (!["nothing", "numbers", "arrays", "dates"].includes(name)) assert.deepEqual(a, node);
      } else {
        assert.deepEqual(a, node);
        assert.deepEqual(b, node);
      }
    });
  }
}

// After each case every client gets an "end", addressed by its id. Nothing
// unexpected may have arrived before it.
async function received(all, act) {
  await act();
  // It is sent to the room of each socket's id, over the Redis connection on which
  // server and emitter publish, so that it arrives after everything else.
  for (const m of all) emitter.to(m.socket.id).emit("end");
  return Promise.all(all.map((m) => m.take()));
}

for (const source of ["server", "emitter"]) {
  const from = () => (source === "server" ? io : emitter);
  test(`${source}: several rooms, each socket once; except; by id; all sockets; volatile`, async () => {
    const [r, s] = [room(), room()];
    const all = await trio(r, s);
    const [n, a, b] = all;
    const hello = [["hello", 1]];
    assert.deepEqual(await received(all, () => from().to(r.name).to(s.name).emit("hello", 1)), [hello, hello, hello]);
    assert.deepEqual(await received(all, () => from().to(r.name).except(a.socket.id).emit("hello", 1)), [hello, [], hello]);
    assert.deepEqual(await received(all, () => from().to(r.name).except(s.name).emit("hello", 1)), [[], [], []]);
    assert.deepEqual(await received(all, () => from().to(b.socket.id).emit("hello", 1)), [[], [], hello]);
    assert.deepEqual(await received(all, () => from().emit("hello", 1)), [hello, hello, hello]);
    await new Promise((resolve) => setTimeout(resolve, 50)); // Node drops volatile events that directly follow others
    assert.deepEqual((await received([a, b], () => from().volatile.to(r.name).emit("hello", 1))), [hello, hello]);
    n.events.length = 0;
  });

  test(`${source}: undefined or empty rooms match no socket`, async () => {
    const r = room();
    const all = await trio(r);
    const nothing = [[], [], []];
    assert.deepEqual(await received(all, () => from().to([undefined, null]).emit("hello", 1)), nothing);
    assert.deepEqual(await received(all, () => from().to(["", "nobody-there"]).emit("hello", 1)), nothing);
    assert.deepEqual(await received(all, () => from().to(r.name).except("").emit("hello", 1)), Array(3).fill([["hello", 1]]));
    from().in(undefined).socketsJoin("all");
    from().in(undefined).disconnectSockets(true);
    assert.deepEqual(await io.in(undefined).fetchSockets(), []);
    assert.deepEqual(await received(all, () => from().to("all").emit("hello", 1)), nothing);
    assert.deepEqual(all.map((m) => m.socket.connected), [true, true, true]);
  });

  test(`${source}: events of routes are delivered from the log only`, async () => {
    const r = room();
    const [n, a, b] = await trio(r);
    from().to(r.name).emit("new_message", { conversationId: 1 });
    const got = await received([n, a, b], () => from().to(r.name).emit("other", 1));
    assert.deepEqual(got.slice(1), [[["other", 1]], [["other", 1]]]);
    assert.equal(got[0].length, 2);
  });

  test(`${source}: sockets are moved and disconnected`, async () => {
    const r = room();
    const all = await trio(r);
    const [n, a, b] = all;
    await new Promise((resolve) => setTimeout(resolve, 0));
    from().in(r.name).socketsJoin(["vip", "conversation:moved"]);
    await settled("vip", 3);
    assert.deepEqual(await received(all, () => from().to("vip").emit("hello", 1)), Array(3).fill([["hello", 1]]));
    from().in(a.socket.id).socketsLeave("vip");
    await settled("vip", 2);
    assert.deepEqual(await received(all, () => from().to("vip").emit("hello", 1)), [[["hello", 1]], [], [["hello", 1]]]);
    const ended = Promise.all([n, a, b].map((m) => new Promise((resolve) => m.socket.once("disconnect", resolve))));
    from().in(r.name).disconnectSockets(true);
    await within(ended, "the disconnects");
  });
}

async function settled(name, count) {
  const deadline = timeout(`${count} sockets in ${name}`);
  deadline.catch(() => {});
  let found;
  do {
    found = await Promise.race([io.in(name).fetchSockets(), deadline]);
  } while (found.length !== count);
}

test("a server's requests are answered, and never with a token", async () => {
  const r = room();
  const all = await trio(r);
  const sockets = await io.in(r.name).fetchSockets();
  assert.deepEqual(sockets.map((s) => s.id).sort(), all.map((m) => m.socket.id).sort());
  const ours = sockets.find((s) => s.id === all[1].socket.id);
  assert.ok(ours.rooms.has(r.name) && ours.rooms.has(ours.id));
  assert.ok(ours.data.userId.startsWith("a"));
  assert.ok(!JSON.stringify(ours.handshake).includes("ey"));
  ours.emit("end");
  await all[1].take();
  assert.deepEqual([...(await io.of("/").adapter.allRooms())].filter((name) => name === r.name), [r.name]);
  const answers = await new Promise((resolve, reject) => io.serverSideEmit("anything", 1, (error, list) => (error ? reject(error) : resolve(list))));
  assert.deepEqual(answers, [null, null]);
});

test("acknowledgements of clients reach the server that asked for them", async () => {
  const r = room();
  const all = await trio(r);
  all.forEach((m, i) => m.socket.on("question", (n, done) => done({ i, n, file: i === 1 ? Buffer.from([9]) : null })));
  const answers = await io.to(r.name).timeout(8000).emitWithAck("question", 7);
  assert.deepEqual(answers.sort((x, y) => x.i - y.i).map(({ i, n }) => [i, n]), [[0, 7], [1, 7], [2, 7]]);
  assert.deepEqual([...answers[1].file], [9]);
  assert.deepEqual(await io.to("nobody-there").timeout(8000).emitWithAck("question", 7), []);
});

test("events of clients are forwarded once, in both directions", async () => {
  const r = room();
  const [n, a, b] = await trio(r);
  const data = { roomType: "conversation", roomId: r.roomId };
  await within(a.socket.emitWithAck("typing", data), "typing");
  for (const m of [n, b]) await m.until("user_typing");
  n.socket.emit("say", r.name, "user_typing", { from: "node" });
  for (const m of [a, b]) {
    const deadline = timeout("typing of the Node client");
    deadline.catch(() => {});
    while (!m.events.some(([, body]) => body.from === "node")) await Promise.race([new Promise((resolve) => m.socket.onAny(resolve)), deadline]);
  }
  const got = await received([n, a, b], () => {});
  const typings = got.map((events) => events.filter(([event]) => event === "user_typing").map(([, body]) => body.from ?? body.socketId));
  assert.deepEqual(typings, [[a.socket.id], ["node"], [a.socket.id, "node"]]);
  const late = await member(GATEWAY_2_URL, "late", r);
  for (const m of [n, a]) await m.until("user_joined");
  late.socket.disconnect();
  for (const m of [n, a]) await m.until("user_left");
});

test("a join is acknowledged when events of other servers reach the member", async () => {
  for (let i = 0; i < 30; i++) {
    const r = room();
    const m = await member(i % 2 ? url : GATEWAY_2_URL, `j${i}`, r);
    emitter.to(r.name).emit("end");
    await m.take();
    m.socket.disconnect();
  }
});

test("an order reaches the user's sockets on Node servers", async () => {
  const [here, there] = [await member(nodeURL(), "ordered"), await member(url, "ordered")];
  const ended = Promise.all([here, there].map((m) => new Promise((resolve) => m.socket.once("disconnect", resolve))));
  const answer = await fetch(`${url}/events/user.disconnect`, {
    method: "POST",
    headers: { authorization: `Bearer ${process.env.PUBLISH_TOKEN}` },
    body: JSON.stringify({ userId: "ordered" }),
  });
  assert.equal(answer.status, 202);
  assert.deepEqual(await within(ended, "the disconnects"), ["io server disconnect", "io server disconnect"]);
});

test("a gateway in compare mode counts what it would have delivered", async () => {
  const shadow = process.env.SHADOW_URL;
  const conversationId = Math.random().toString(36).slice(2);
  const publish = (message) =>
    fetch(`${shadow}/events/message.sent`, {
      method: "POST",
      headers: { authorization: `Bearer ${process.env.PUBLISH_TOKEN}` },
      body: JSON.stringify({ message, conversationId, senderId: 1 }),
    });
  const counted = async () => {
    const text = await (await fetch(`${shadow}/metrics`, { headers: { accept: "text/plain" } })).text();
    return Object.fromEntries([...text.matchAll(/gateway_adapter_compared_total\{result="(\w+)"\} (\d+)/g)].map(([, result, n]) => [result, Number(n)]));
  };
  const before = await counted();
  for (const message of ["same", "also"]) {
    emitter.to(`conversation:${conversationId}`).emit("new_message", { conversationId, senderId: 1, message, timestamp: "theirs" });
    await publish(message);
  }
  const deadline = timeout("the pairs");
  deadline.catch(() => {});
  while ((await Promise.race([counted(), deadline])).both !== before.both + 2);
});

test("garbage on the channels is ignored", async () => {
  const r = room();
  const a = await member(url, "g", r);
  const base = "socket.io#/#";
  // Only on the channel of a room that the Node server does not hold: most of this
  // garbage would crash it.
  const hostile = ["", "\xc0", "\xc9\xff\xff\xff\xff\x00", "\xdd\xff\xff\xff\xff", "\x93\xa1a\x80\x80", "{}", "\x91".repeat(1000)];
  for (const text of hostile) await pub.publish(`${base}${r.name}#`, Buffer.from(text, "latin1"));
  emitter.to(r.name).emit("end");
  assert.deepEqual(await a.take(), []);
});
