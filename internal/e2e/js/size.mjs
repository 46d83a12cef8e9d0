import { describe, it } from "node:test";
import assert from "node:assert/strict";
import { connect, room, transport, within } from "./world.mjs";

const limit = 20_000; // MAX_HTTP_BUFFER_SIZE of this gateway
const overhead = '42["filler",""]'.length;
const filler = (size) => "x".repeat(size - overhead);

describe("a message", { concurrency: true }, () => {
  it("as large as allowed is accepted", async (t) => {
    const ann = await connect(t, "ann");
    await ann.upgraded();
    await ann.join(room());
    ann.socket.emit("filler", filler(limit));
    await ann.join(room());
    ann.socket.emit("filler", filler(limit - 1));
    await ann.join(room());
  });

  it("of one byte more ends this connection and no other", async (t) => {
    const place = room();
    const [ann, ben] = [await connect(t, "ann"), await connect(t, "ben")];
    await ann.upgraded();
    await ann.join(place);
    await ben.join(place);
    await ann.next("user_joined");
    ann.socket.emit("filler", filler(limit + 1));
    const reason = await within(ann.disconnected, "the disconnect");
    assert.equal(reason, transport === "polling" ? "transport error" : "transport close");
    assert.equal((await ben.next("user_left")).userId, "ann");
    await ben.join(room());
  });

  it("as large as allowed, many times at once, is accepted", async (t) => {
    const ann = await connect(t, "ann");
    for (let i = 0; i < 10; i++) ann.socket.emit("filler", filler(limit / 4));
    await ann.join(room());
  });

  it("with attachments as large as allowed is accepted", async (t) => {
    const ann = await connect(t, "ann");
    await ann.upgraded();
    ann.socket.emit("photo", Buffer.alloc(transport === "polling" ? 10_000 : 19_000));
    await ann.join(room());
  });
});
