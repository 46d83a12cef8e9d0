// Faults of Socket.IO's connection state recovery, reported by its users or found
// by running it, as test cases. docs/recovery.md has the table of those that
// Socket.IO's own server fails.
import { describe, it } from "node:test";
import assert from "node:assert/strict";
import { io } from "socket.io-client";
import { RecoveringClient, post, publish, someone } from "./recovering.mjs";
import { now, room, token, transport, url, within } from "./world.mjs";

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

describe("holes", { concurrency: true }, () => {
  it("idle for longer than the window", async (t) => {
    const place = room();
    const ann = await RecoveringClient.arrive(t, someone());
    await ann.join(place);
    await publish(place, 1);
    await ann.has(1);
    await pause(21_000); // the window is 20 s
    await ann.cut();
    await publish(place, 2);
    ann.line.mend();
    await ann.connected(2);
    await ann.has(2);
    assert.deepEqual(ann.numbers, [1, 2]);
    assert.equal(ann.socket.recovered, true);
  });

  it("no event received yet", async (t) => {
    const place = room();
    const ann = await RecoveringClient.arrive(t, someone());
    await ann.join(place);
    await ann.cut();
    await publish(place, 1);
    ann.line.mend();
    await ann.connected(2);
    await ann.has(1);
    assert.equal(ann.socket.recovered, true);
  });

  it("back before the server has noticed", async (t) => {
    const place = room();
    const ann = await RecoveringClient.arrive(t, someone());
    await ann.join(place);
    await publish(place, 1);
    await ann.has(1);
    await ann.vanish();
    await publish(place, 2);
    ann.line.mend();
    await ann.connected(2);
    await ann.has(2);
    assert.deepEqual(ann.numbers, [1, 2]);
    assert.equal(ann.socket.recovered, true);
  });

  it("a volatile event that ends in a string", async (t) => {
    const place = room();
    const ann = await RecoveringClient.arrive(t, someone());
    await ann.join(place);
    await publish(place, 1);
    await post("cursor.moved", { conversationId: place.data.roomId, text: "here" });
    await ann.has(1);
    await pause(200); // time for the volatile event to arrive, if it is sent
    await ann.cut();
    await publish(place, 2);
    ann.line.mend();
    await ann.connected(2);
    await ann.has(2);
    assert.deepEqual(ann.numbers, [1, 2]);
    assert.equal(ann.socket.recovered, true);
  });

  it("cut in the middle of the replay", async (t) => {
    const place = room();
    const ann = await RecoveringClient.arrive(t, someone());
    await ann.join(place);
    await publish(place, 1);
    await ann.has(1);
    const { _pid: pid } = ann.socket;
    await ann.cut();
    await publish(place, ...numbers(2, 40));
    for (const [times, budget] of [1200, 2500, 4000].entries()) {
      ann.line.mend(budget);
      const end = pause(1500);
      await Promise.race([end, ann.connected(2 + times)]);
      await end;
      ann.line.cut();
      while (ann.socket.connected) await pause(5);
    }
    const before = ann.connects;
    ann.line.mend();
    await ann.connected(before + 1);
    assert.equal(ann.socket._pid, pid, "it is a new session");
    await ann.has(40);
    assert.deepEqual(ann.numbers, numbers(1, 40));
    assert.equal(ann.socket.recovered, true);
  });

  it("authentication passed over", async (t) => {
    const place = room();
    const user = someone();
    const auth = { token: token({ id: user, rooms: ["conversation:*"] }), recovery: true };
    const ann = await RecoveringClient.arrive(t, user, { auth });
    await ann.join(place);
    await publish(place, 1);
    await ann.has(1);
    await ann.cut();
    await publish(place, 2);
    const refused = new Promise((resolve) => ann.socket.on("connect_error", (err) => /^Authentication error/.test(err.message) && resolve()));
    auth.token = token({ id: user, exp: now() - 60 });
    ann.line.mend();
    await Promise.race([refused, ann.connected(2).then(() => assert.fail("connected with a token that is over"))]);
    assert.deepEqual(ann.numbers, [1]);
  });

  it("refused after it was sent what it missed", async (t) => {
    const place = room();
    const user = someone();
    const auth = { token: token({ id: user, rooms: ["conversation:*"] }), recovery: true };
    const ann = await RecoveringClient.arrive(t, user, { auth });
    await ann.join(place);
    await publish(place, 1);
    await ann.has(1);
    await ann.cut();
    await publish(place, 2);
    // The client keeps packets that arrive before the answer to CONNECT, so they
    // are visible on the wire only.
    const packets = [];
    auth.token = token({ id: user, exp: now() - 60 });
    ann.socket.io.on("open", () => ann.socket.io.engine.on("packet", ({ data }) => packets.push(String(data))));
    const refused = new Promise((resolve) => ann.socket.on("connect_error", (err) => /^Authentication error/.test(err.message) && resolve()));
    ann.line.mend();
    await within(refused, "the refusal");
    assert.deepEqual(packets.filter((text) => text.includes("new_message")), []);
  });

  it("events while the token is verified", async (t) => {
    const place = room();
    const ann = await RecoveringClient.arrive(t, someone());
    await ann.join(place);
    await publish(place, 1);
    await ann.has(1);
    await ann.cut();
    let last = 1;
    let done = false;
    const publishing = (async () => {
      while (!done) await publish(place, (last += 1));
    })();
    ann.line.mend();
    await ann.connected(2);
    await pause(300);
    done = true;
    await publishing;
    await ann.has(last);
    assert.deepEqual(ann.numbers, numbers(1, last));
    assert.equal(ann.socket.recovered, true);
  });

  it("one pid restores twice", async (t) => {
    const place = room();
    const user = someone();
    const ann = await RecoveringClient.arrive(t, user);
    await ann.join(place);
    await publish(place, 1);
    await ann.has(1);
    const { _pid: pid, _lastOffset: offset } = ann.socket;
    await ann.cut();
    const transports = transport === "default" ? {} : { transports: [transport] };
    const sockets = await Promise.all([1, 2].map(() => {
      const socket = io(url, { forceNew: true, reconnection: false, ...transports, auth: { token: token({ id: user }), recovery: true, pid, offset } });
      t.after(() => socket.disconnect());
      // The first client may lose the session, and its connection, before it has
      // read the answer to CONNECT. It would then reconnect.
      const settled = new Promise((resolve) => {
        socket.on("connect", () => resolve(socket));
        socket.io.on("close", () => resolve(socket));
      });
      return within(settled, "both connections to be made or ended");
    }));
    await pause(500);
    assert.ok(sockets.some((socket) => socket.connected), "neither is connected");
    const holders = sockets.filter((socket) => socket.connected && socket._pid === pid);
    assert.ok(holders.length <= 1, "both have the session");
  });

  it("events of a room from before its join", async (t) => {
    const [place, other] = [room(), room()];
    const ann = await RecoveringClient.arrive(t, someone());
    await ann.join(place);
    await publish(place, 1);
    await ann.has(1);
    await publish(other, 7);
    await ann.join(other);
    await ann.cut();
    await publish(place, 2);
    ann.line.mend();
    await ann.connected(2);
    await ann.has(2);
    await pause(100);
    assert.deepEqual(ann.numbers, [1, 2]);
  });

  it("back in a room that it may not be in any more", async (t) => {
    const [place, other] = [room(), room()];
    const user = someone();
    const auth = { token: token({ id: user, rooms: [place.name, other.name] }), recovery: true };
    const ann = await RecoveringClient.arrive(t, user, { auth });
    await ann.join(place);
    await ann.join(other);
    await publish(place, 1);
    await ann.has(1);
    await ann.cut();
    await publish(other, 7);
    await publish(place, 2);
    auth.token = token({ id: user, rooms: [place.name] });
    ann.line.mend();
    await ann.connected(2);
    await publish(other, 8);
    await publish(place, 3);
    await ann.has(3);
    await pause(100);
    assert.deepEqual(ann.numbers, [1, 2, 3]);
  });
});
