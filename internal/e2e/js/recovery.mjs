// A client that was away comes back to what it missed. It is the unmodified
// one, behind a line that can be cut.
import { describe, it } from "node:test";
import assert from "node:assert/strict";
import { connect, createServer } from "node:net";
import { io } from "socket.io-client";
import { room, timeout, token, transport, upgraded, url, within } from "./world.mjs";

const target = new URL(url);

// A Line is a connection to the gateway that can be cut.
class Line {
  static async open(t) {
    const line = new Line();
    line.pairs = new Set();
    line.up = true;
    line.server = createServer((near) => {
      if (!line.up) return near.destroy();
      const far = connect(target.port, target.hostname);
      const pair = { near, far };
      line.pairs.add(pair);
      for (const socket of [near, far]) {
        socket.on("error", () => {});
        socket.on("close", () => {
          line.pairs.delete(pair);
          if (line.silent) return;
          near.destroy();
          far.destroy();
        });
      }
      near.on("data", (data) => !pair.dead && far.write(data));
      far.on("data", (data) => !pair.dead && near.write(data));
    });
    await new Promise((done) => line.server.listen(0, "127.0.0.1", done));
    line.url = `http://127.0.0.1:${line.server.address().port}`;
    t.after(() => {
      line.cut();
      line.server.close();
    });
    return line;
  }

  // cut resets everything; nothing gets through until mend.
  cut() {
    this.up = false;
    for (const { near, far } of this.pairs) {
      near.resetAndDestroy();
      far.resetAndDestroy();
    }
  }

  // vanish ends the client's side; the gateway hears nothing of it.
  vanish() {
    this.up = false;
    this.silent = true;
    for (const pair of this.pairs) {
      pair.dead = true;
      pair.near.destroy();
    }
  }

  mend() {
    this.up = true;
    this.silent = false;
  }
}

// A Guest is a client with recovery and what it has received.
class Guest {
  static async arrive(t, user, options = {}) {
    const guest = new Guest();
    guest.line = await Line.open(t);
    guest.events = [];
    const transports = transport === "default" ? {} : { transports: [transport] };
    guest.socket = io(guest.line.url, {
      forceNew: true, reconnectionDelay: 20, reconnectionDelayMax: 100, ...transports,
      auth: { token: token({ id: user }), recovery: true }, ...options,
    });
    guest.socket.onAny((event, ...args) => guest.events.push({ event, args }));
    guest.connects = 0;
    guest.socket.on("connect", () => (guest.connects += 1));
    t.after(() => guest.socket.disconnect());
    await guest.connected(1);
    await upgraded(guest.socket);
    return guest;
  }

  async connected(times) {
    await until(() => this.connects >= times && this.socket.connected, `connection ${times}`);
    await upgraded(this.socket); // a client that loses its connection in between notices late
  }

  // cut resets the connection, and vanish ends it without the gateway's
  // knowledge; nothing gets through until the line is mended.
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

  // numbers are those of the messages that came, in order.
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

async function until(holds, what) {
  if (holds()) return;
  const end = timeout(what);
  while (!holds()) await Promise.race([end, new Promise((resolve) => setTimeout(resolve, 5))]);
}

async function publish(place, ...numbers) {
  for (const n of numbers) {
    const response = await fetch(`${url}/events/message.sent`, {
      method: "POST", headers: { authorization: "Bearer publisher" },
      body: JSON.stringify({ conversationId: place.data.roomId, senderId: "s", recipientId: "r", message: String(n) }),
    });
    assert.equal(response.status, 202);
  }
}

let users = 0;
const someone = () => `guest-${process.pid}-${(users += 1)}`;

describe("a client that was away", { concurrency: true }, () => {
  it("comes back to what it missed, as the same socket", async (t) => {
    const place = room();
    const ann = await Guest.arrive(t, someone());
    const { id } = ann.socket;
    assert.equal(ann.socket.recovered, false);
    await ann.join(place);
    await publish(place, 1, 2);
    await ann.has(2);
    await ann.cut();
    await publish(place, 3, 4, 5);
    ann.line.mend();
    await ann.connected(2);
    await publish(place, 6);
    await ann.has(6);
    assert.deepEqual(ann.numbers, [1, 2, 3, 4, 5, 6]);
    assert.equal(ann.socket.recovered, true);
    assert.equal(ann.socket.id, id);
    assert.equal(ann.count("connected"), 1, "there is no second greeting");
    assert.deepEqual(ann.events.findLast(({ event }) => event === "room_state").args, [{ room: place.name, members: 1 }]);
  });

  it("comes back though it has not got any event yet", async (t) => {
    const place = room();
    const ann = await Guest.arrive(t, someone());
    await publish(place, 0); // before the join
    await ann.join(place);
    await ann.cut();
    await publish(place, 1, 2);
    ann.line.mend();
    await ann.connected(2);
    await ann.has(2);
    assert.deepEqual(ann.numbers, [1, 2]);
    assert.equal(ann.socket.recovered, true);
  });

  it("comes back before the gateway has noticed that it was away", async (t) => {
    const place = room();
    const ann = await Guest.arrive(t, someone());
    await ann.join(place);
    await publish(place, 1);
    await ann.has(1);
    await ann.vanish();
    await publish(place, 2, 3);
    ann.line.mend();
    await ann.connected(2);
    await ann.has(3);
    await publish(place, 4);
    await ann.has(4);
    assert.deepEqual(ann.numbers, [1, 2, 3, 4]);
    assert.equal(ann.socket.recovered, true);
  });

  it("is away again and again and gets each event once", async (t) => {
    const place = room();
    const ann = await Guest.arrive(t, someone());
    await ann.join(place);
    let n = 0;
    for (let i = 2; i < 8; i++) {
      await publish(place, (n += 1));
      if (i % 2) await ann.vanish();
      else await ann.cut();
      await publish(place, (n += 1), (n += 1));
      ann.line.mend();
      await ann.connected(i);
      assert.equal(ann.socket.recovered, true);
    }
    await ann.has(n);
    assert.deepEqual(ann.numbers, Array.from({ length: n }, (_, i) => i + 1));
  });

  it("does not come back into a room that it has left", async (t) => {
    const [place, other] = [room(), room()];
    const ann = await Guest.arrive(t, someone());
    await ann.join(place);
    await ann.join(other);
    await within(ann.socket.emitWithAck("leave_room", other.data), "the ack");
    await ann.cut();
    await publish(other, 9);
    await publish(place, 1);
    ann.line.mend();
    await ann.connected(2);
    await ann.has(1);
    assert.deepEqual(ann.numbers, [1]);
  });

  it("cannot have the session of somebody else, who keeps it", async (t) => {
    const place = room();
    const ann = await Guest.arrive(t, someone());
    await ann.join(place);
    const pid = ann.socket._pid;
    await ann.cut();
    await publish(place, 1);
    const eve = await Guest.arrive(t, someone(), { auth: { token: token({ id: "eve" }), recovery: true, pid } });
    assert.notEqual(eve.socket._pid, pid);
    assert.equal(eve.socket.recovered, false);
    ann.line.mend();
    await ann.connected(2);
    await ann.has(1);
    assert.equal(ann.socket.recovered, true);
    assert.deepEqual(eve.numbers, []);
  });

  it("has nothing but an offset that is none: it is a new client", async (t) => {
    const place = room();
    const ann = await Guest.arrive(t, someone());
    await ann.join(place);
    await publish(place, 1);
    await ann.has(1);
    ann.socket._lastOffset = "hello";
    await ann.cut();
    await publish(place, 2);
    ann.line.mend();
    await ann.connected(2);
    assert.equal(ann.socket.recovered, false);
    assert.deepEqual(ann.numbers, [1]);
    assert.equal(ann.count("connected"), 2);
  });

  it("is not told to have left, and others see no difference on the wire", async (t) => {
    const place = room();
    const bob = await Guest.arrive(t, someone(), { auth: { token: token({ id: "bob" }) } });
    const ann = await Guest.arrive(t, someone());
    await bob.join(place);
    await ann.join(place);
    await ann.cut();
    await publish(place, 1);
    ann.line.mend();
    await ann.connected(2);
    await ann.has(1);
    await bob.has(1);
    assert.equal(bob.count("user_left"), 0);
    assert.equal(bob.count("user_joined"), 1);
    assert.equal(bob.events.find(({ event }) => event === "new_message").args.length, 1);
    assert.equal(bob.socket._pid, undefined);
    ann.socket.disconnect();
    await until(() => bob.count("user_left") === 1, "user_left at once");
  });
});
