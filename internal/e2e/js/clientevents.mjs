// Client events that are declared in deploy/routes.example.yaml: other members of
// the room must get them.
import { describe, it } from "node:test";
import assert from "node:assert/strict";
import { about, connect, room } from "./world.mjs";

async function pair(t, place) {
  const ann = await connect(t, "ann");
  const ben = await connect(t, "ben");
  await ann.join(place);
  await ben.join(place);
  about(await ann.next("user_joined"), ben, place);
  return [ann, ben];
}

// sent asserts the event that the other members get: its data and its sender.
function sent(body, said, client, place) {
  const rest = { ...body };
  for (const [name, value] of Object.entries(said)) {
    assert.deepEqual(rest[name], value);
    delete rest[name];
  }
  about(rest, client, place);
}

describe("a declared event", { concurrency: true }, () => {
  it("mark_read is sent to the others and acknowledged when RabbitMQ has confirmed it", async (t) => {
    const place = room();
    const [ann, ben] = await pair(t, place);
    const said = { conversationId: place.roomId, messageId: 7 };
    assert.deepEqual(await ann.ack("mark_read", { ...said, userId: "eve", secret: 1 }), { success: true });
    sent(await ben.next("message_read"), said, ann, place);
    ann.nothing();
  });

  it("reaction is sent to the others", async (t) => {
    const place = room();
    const [ann, ben] = await pair(t, place);
    const said = { conversationId: place.roomId, messageId: "m-7", emoji: "🎉" };
    assert.deepEqual(await ben.ack("reaction", said), { success: true });
    sent(await ann.next("message_reaction"), said, ben, place);
    ben.socket.emit("reaction", said); // without asking for an ack
    sent(await ann.next("message_reaction"), said, ben, place);
  });

  it("is refused from outside of the room, without its room, and when it is too large", async (t) => {
    const place = room();
    const [ann] = await pair(t, place);
    const eve = await connect(t, "eve");
    const data = { conversationId: place.roomId, messageId: 7 };
    assert.deepEqual(await eve.ack("mark_read", data), { error: "Not in room" });
    assert.deepEqual(await ann.ack("mark_read", { messageId: 7 }), { error: "Missing conversationId" });
    assert.deepEqual(await ann.ack("mark_read", { ...data, messageId: "x".repeat(600) }), { error: "Event too large" });
    assert.deepEqual(await ann.ack("mark_read"), { error: "Want an object" });
    assert.deepEqual(await ann.ack("mark_unread", data), { error: "Unknown event" });
  });
});
