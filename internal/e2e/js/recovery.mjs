// A client that lost its connection comes back and gets the events that it missed.
import { describe, it } from "node:test";
import assert from "node:assert/strict";
import { RecoveringClient, publish, someone, until } from "./recovering.mjs";
import { room, token, upgraded, within } from "./world.mjs";

describe("a client that was away", { concurrency: true }, () => {
  it("comes back to what it missed, as the same socket", async (t) => {
    const place = room();
    const ann = await RecoveringClient.arrive(t, someone());
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

  it("comes back although it has received no event yet", async (t) => {
    const place = room();
    const ann = await RecoveringClient.arrive(t, someone());
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
    const ann = await RecoveringClient.arrive(t, someone());
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

  it("is away repeatedly and gets each event once", async (t) => {
    const place = room();
    const ann = await RecoveringClient.arrive(t, someone());
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

  it("gets an event once that was on its way, to a parked poll or in a frame, when the connection was cut", async (t) => {
    const place = room();
    const ann = await RecoveringClient.arrive(t, someone());
    await ann.join(place);
    let n = 0;
    for (const passes of [0, 1, 20, 120, 200, 260, 320]) { // bytes of the response, or frame
      await publish(place, (n += 1)); // after it a poll is waiting
      await ann.has(n);
      ann.line.budget = passes;
      await publish(place, (n += 1));
      await until(() => !ann.line.up || ann.numbers.length === n, "the line to be cut, or the event");
      if (ann.line.up) ann.line.cut();
      ann.line.mend();
      await ann.has(n);
      await until(() => ann.socket.connected, "the return");
      await upgraded(ann.socket);
      assert.equal(ann.socket.recovered, true);
    }
    assert.deepEqual(ann.numbers, Array.from({ length: n }, (_, i) => i + 1));
    assert.equal(ann.count("connected"), 1);
  });

  it("comes back although its first attempts are cut before the answer arrives", async (t) => {
    const place = room();
    const ann = await RecoveringClient.arrive(t, someone());
    await ann.join(place);
    await publish(place, 1);
    await ann.has(1);
    let n = 1;
    for (let budget = 40; budget < 1000; budget += 120) {
      await ann.cut();
      await publish(place, (n += 1));
      ann.line.mend(budget);
      await until(() => !ann.line.up || ann.numbers.length === n, "the line to be cut, or all that was missed");
    }
    if (ann.socket.connected) await ann.cut();
    ann.line.mend();
    await ann.connected(2);
    await ann.has(n);
    assert.deepEqual(ann.numbers, Array.from({ length: n }, (_, i) => i + 1));
    assert.equal(ann.socket.recovered, true);
    assert.equal(ann.count("connected"), 1);
  });

  it("does not come back into a room that it has left", async (t) => {
    const [place, other] = [room(), room()];
    const ann = await RecoveringClient.arrive(t, someone());
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

  it("cannot take over another user's session", async (t) => {
    const place = room();
    const ann = await RecoveringClient.arrive(t, someone());
    await ann.join(place);
    const pid = ann.socket._pid;
    await ann.cut();
    await publish(place, 1);
    const eve = await RecoveringClient.arrive(t, someone(), { auth: { token: token({ id: "eve" }), recovery: true, pid } });
    assert.notEqual(eve.socket._pid, pid);
    assert.equal(eve.socket.recovered, false);
    ann.line.mend();
    await ann.connected(2);
    await ann.has(1);
    assert.equal(ann.socket.recovered, true);
    assert.deepEqual(eve.numbers, []);
  });

  it("is a new client if it has only an invalid offset", async (t) => {
    const place = room();
    const ann = await RecoveringClient.arrive(t, someone());
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

  it("is not announced as having left, and others see no difference on the wire", async (t) => {
    const place = room();
    const bob = await RecoveringClient.arrive(t, someone(), { auth: { token: token({ id: "bob" }) } });
    const ann = await RecoveringClient.arrive(t, someone());
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
