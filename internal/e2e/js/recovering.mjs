// The unmodified client behind a TCP proxy that can cut its connection in several
// ways, after which the client reconnects.
import assert from "node:assert/strict";
import { connect, createServer } from "node:net";
import { io } from "socket.io-client";
import { timeout, token, transport, upgraded, url, within } from "./world.mjs";

const target = new URL(url);

// Line is a TCP proxy in front of the gateway whose connections can be cut.
export class Line {
  static async open(t) {
    const line = new Line();
    line.pairs = new Set();
    line.forsaken = new Set(); // sockets to the gateway whose clients have vanished
    line.up = true;
    line.budget = Infinity; // bytes that are passed to the client before the connection is cut
    line.server = createServer((near) => {
      if (!line.up) return near.destroy();
      const far = connect(target.port, target.hostname);
      const pair = { near, far };
      line.pairs.add(pair);
      for (const socket of [near, far]) {
        socket.on("error", () => {});
        socket.on("close", () => {
          line.pairs.delete(pair);
          if (line.silent) return line.forsaken.add(far);
          near.destroy();
          far.destroy();
        });
      }
      near.on("data", (data) => !pair.dead && far.write(data));
      far.on("data", (data) => {
        if (pair.dead) return;
        near.write(data.subarray(0, line.budget));
        if ((line.budget -= data.length) <= 0) {
          line.up = false;
          near.end(); // after what has been written
          far.destroy();
        }
      });
    });
    await new Promise((done) => line.server.listen(0, "127.0.0.1", done));
    line.url = `http://127.0.0.1:${line.server.address().port}`;
    t.after(() => {
      line.cut();
      for (const far of line.forsaken) far.destroy();
      line.server.close();
    });
    return line;
  }

  // cut resets all connections and passes nothing until mend.
  cut() {
    this.up = false;
    for (const { near, far } of this.pairs) {
      reset(near);
      reset(far);
    }
  }

  // vanish closes the client's side only. The gateway does not notice.
  vanish() {
    this.up = false;
    this.silent = true;
    for (const pair of this.pairs) {
      pair.dead = true;
      pair.near.destroy();
    }
  }

  mend(budget = Infinity) {
    this.budget = budget;
    this.up = true;
    this.silent = false;
  }
}

// reset closes a socket with RST. socket.resetAndDestroy() ends the socket first.
// If the socket is destroyed before that is done, by the other socket of its pair
// or by an error, the reset fails and its handle is never closed: node then spins
// at its exit. Seen with Node 20.20 (TCPWrap::Reset).
function reset(socket) {
  socket.resetAndClosing = !socket.writableEnded && !socket.connecting;
  socket.destroy();
}

// RecoveringClient is a client that asks for recovery and records what it
// receives.
export class RecoveringClient {
  static async arrive(t, user, options = {}) {
    const client = new RecoveringClient();
    client.line = await Line.open(t);
    client.events = [];
    const transports = transport === "default" ? {} : { transports: [transport] };
    client.socket = io(client.line.url, {
      forceNew: true, reconnectionDelay: 20, reconnectionDelayMax: 100, ...transports,
      auth: { token: token({ id: user, rooms: ["conversation:*"] }), recovery: true }, ...options,
    });
    client.socket.onAny((event, ...args) => client.events.push({ event, args }));
    client.connects = 0;
    client.socket.on("connect", () => (client.connects += 1));
    t.after(() => {
      client.over = true;
      client.socket.disconnect();
    });
    await client.connected(1);
    await upgraded(client.socket);
    return client;
  }

  async connected(times) {
    await until(() => this.over || (this.connects >= times && this.socket.connected), `connection ${times}`);
    await upgraded(this.socket); // a client that loses its connection during the upgrade notices late
  }

  // cut resets the connection. vanish closes it without the gateway noticing.
  // Nothing is passed until the line is mended.
  async cut() {
    this.line.cut();
    await until(() => !this.socket.connected, "the client to notice");
  }

  async vanish() {
    this.line.vanish();
    await until(() => !this.socket.connected, "the client to notice");
  }

  join(place) {
    return within(this.socket.emitWithAck("join_room", place.data), "the ack of join_room");
  }

  // numbers returns the numbers of the received messages, in order.
  get numbers() {
    return this.events.filter(({ event }) => event === "new_message").map(({ args }) => Number(args[0].message));
  }

  async has(count) {
    await until(() => this.numbers.length >= count, `${count} messages, got ${this.numbers}`);
  }

  count(event) {
    return this.events.filter((e) => e.event === event).length;
  }
}

export async function until(holds, what) {
  if (holds()) return;
  const end = timeout(what);
  while (!holds()) await Promise.race([end, new Promise((resolve) => setTimeout(resolve, 5))]);
}

export async function publish(place, ...numbers) {
  for (const n of numbers) {
    await post("message.sent", { conversationId: place.data.roomId, senderId: "s", recipientId: "r", message: String(n) });
  }
}

export async function post(key, body) {
  const response = await fetch(`${url}/events/${key}`, {
    method: "POST", headers: { authorization: "Bearer publisher" }, body: JSON.stringify(body),
  });
  assert.equal(response.status, 202);
}

let users = 0;
export const someone = () => `client-${process.pid}-${(users += 1)}`;
