// Shared by all test cases: clients that record their events, tokens, room names.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { io } from "socket.io-client";
import jwt from "jsonwebtoken";

export const url = process.env.GATEWAY_URL;
export const transport = process.env.TRANSPORT ?? "default";
const secret = process.env.JWT_SECRET;
const patience = 30_000; // ms; long enough for a busy machine

// token signs claims. Without exp in them the token is valid for an hour.
export function token(claims, options = {}) {
  const { key = secret, ...rest } = options;
  const body = "exp" in claims ? claims : { exp: now() + 3600, ...claims };
  if (body.exp === undefined) delete body.exp;
  return jwt.sign(body, key, { algorithm: "HS256", ...rest });
}

export const now = () => Math.floor(Date.now() / 1000);

// room returns a conversation that no other case uses.
export function room(roomType = "conversation") {
  const roomId = randomUUID();
  return { roomType, roomId, name: `${roomType}:${roomId}`, data: { roomType, roomId } };
}

export function timeout(what, ms = patience) {
  return new Promise((_, reject) => setTimeout(() => reject(new Error(`waited ${ms} ms for ${what}`)), ms).unref());
}

export const within = (promise, what) => Promise.race([promise, timeout(what)]);

// upgraded resolves when a connected client uses its final transport.
export async function upgraded({ io: { engine } }) {
  if (transport !== "default" || engine.transport.name === "websocket") return;
  await new Promise((resolve) => engine.once("upgrade", resolve));
}

// listed resolves when the directory in Redis has all rooms of these gateways, and
// everything their clients have sent is published; see AwaitListed in
// internal/gatewaytest.
export async function listed(...gateways) {
  const lines = ["registered 1", "directory_waiting 0", "publish_waiting 0"].map((line) => `gateway_cluster_${line}\n`);
  for (const gateway of gateways) {
    const deadline = Date.now() + patience;
    for (;;) {
      const text = await (await fetch(`${gateway}/metrics`, { headers: { accept: "text/plain" } })).text();
      if (lines.every((line) => text.includes(line))) break;
      assert.ok(Date.now() < deadline, `waited ${patience} ms for the rooms of ${gateway} to be in the directory`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

// fleet has the addresses of the gateways behind the proxy.
const fleet = process.env.FLEET_URLS?.split(" ") ?? [];

// Client is a socket.io-client socket that records everything it receives.
export class Client {
  constructor(t, options = {}) {
    const { namespace = "", ...rest } = options;
    const transports = transport === "default" ? {} : { transports: [transport] };
    this.socket = io(url + namespace, { forceNew: true, reconnection: false, ...transports, ...rest });
    this.inbox = [];
    this.waiting = [];
    this.take = 0;
    this.socket.onAny((event, ...args) => this.#arrived({ event, args }));
    this.disconnected = new Promise((resolve) => this.socket.on("disconnect", resolve));
    t.after(() => this.socket.disconnect());
  }

  get id() {
    return this.socket.id;
  }

  #arrived(item) {
    this.inbox.push(item);
    this.waiting.splice(0).forEach((wake) => wake());
  }

  // next returns the body of the next event, which must have this name.
  async next(event) {
    const deadline = timeout(event);
    deadline.catch(() => {}); // it may expire when nobody waits for it any more
    while (this.take >= this.inbox.length) await Promise.race([new Promise((resolve) => this.waiting.push(resolve)), deadline]);
    const item = this.inbox[this.take++];
    assert.equal(item.event, event, `got ${JSON.stringify(item)}`);
    assert.equal(item.args.length, 1, `${event} has ${item.args.length} arguments`);
    return item.args[0];
  }

  // nothing asserts that no event is waiting.
  nothing() {
    assert.deepEqual(this.inbox.slice(this.take), []);
  }

  ack(event, ...args) {
    return within(this.socket.emitWithAck(event, ...args), `the ack of ${event}`);
  }

  // join returns the number of members of the room, this one included. Clients
  // that join on another gateway afterwards are announced to this client.
  async join(room) {
    const { members, ...rest } = await this.ack("join_room", room.data);
    assert.deepEqual(rest, { success: true, message: `Joined room: ${room.name}` });
    assert.ok(Number.isInteger(members) && members > 0, `members: ${members}`);
    await listed(...fleet);
    return members;
  }

  upgraded() {
    return within(upgraded(this.socket), "the upgrade");
  }
}

// connect resolves when the client is connected and, if it has a user, has got
// "connected".
export async function connect(t, user, options = {}) {
  const client = new Client(t, user === undefined ? options : { auth: { token: token({ id: user }) }, ...options });
  await within(
    new Promise((resolve, reject) => {
      client.socket.on("connect", resolve);
      client.socket.on("connect_error", reject);
    }),
    "connect",
  );
  if (user !== undefined) client.greeting = await client.next("connected");
  return client;
}

// refused returns the connect_error of a client that must not be accepted.
export async function refused(t, options) {
  const client = new Client(t, options);
  return within(
    new Promise((resolve, reject) => {
      client.socket.on("connect_error", resolve);
      client.socket.on("connect", () => reject(new Error("connected")));
    }),
    "connect_error",
  );
}

// about asserts the body of an event about a client.
export function about(body, client, room, userId = client.greeting?.userId ?? null) {
  const { timestamp, ...rest } = body;
  assert.deepEqual(rest, { socketId: client.id ?? client.lastId, userId, room: room.name });
  assert.match(timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.ok(Math.abs(Date.parse(timestamp) - Date.now()) < 60_000, `timestamp ${timestamp}`);
}
