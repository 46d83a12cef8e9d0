import { describe, it } from "node:test";
import assert from "node:assert/strict";
import { connect, room } from "./world.mjs";

describe("a client may send", { concurrency: true }, () => {
  it("unknown events of every shape", async (t) => {
    const ann = await connect(t, "ann");
    ann.socket.emit("no such event");
    ann.socket.emit("", {});
    ann.socket.emit("__proto__", { a: 1 });
    ann.socket.emit("nested", { a: [{ b: [null, true, 1e300, "ü"] }] }, [], 1, "x");
    await ann.join(room());
    ann.nothing();
  });

  it("binary attachments, which arrive between its other events", async (t) => {
    const ann = await connect(t, "ann");
    for (let i = 0; i < 5; i++) {
      ann.socket.emit("photo", Buffer.alloc(100 * i, i), { more: [new Uint8Array([1, 2, 3])] });
      await ann.join(room());
    }
    await ann.upgraded();
    ann.socket.emit("photo", Buffer.alloc(70_000, 7));
    await ann.join(room());
    ann.nothing();
  });

  it("binary attachments in the place of a room", async (t) => {
    const ann = await connect(t, "ann");
    const answer = await ann.ack("join_room", { roomType: "conversation", roomId: Buffer.from("42") });
    assert.deepEqual(Object.keys(answer), ["error"]);
    await ann.join(room());
  });

  it("hundreds of events in a row", async (t) => {
    const ann = await connect(t, "ann");
    const place = room();
    const answers = await Promise.all(Array.from({ length: 300 }, (_, i) => ann.ack(i % 2 ? "leave_room" : "join_room", place.data)));
    assert.ok(answers.every((a, i) => a.message === `${i % 2 ? "Left" : "Joined"} room: ${place.name}`));
  });

  it("volatile and compressed events", async (t) => {
    const ann = await connect(t, "ann");
    ann.socket.volatile.emit("join_room", room().data);
    ann.socket.compress(true).emit("join_room", room().data);
    await ann.join(room());
  });
});
