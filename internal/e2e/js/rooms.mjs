import { describe, it } from "node:test";
import assert from "node:assert/strict";
import { about, connect, room, transport } from "./world.mjs";

// settle waits until everything that was sent to the members of a room has
// arrived: another client joins, and its user_joined comes last.
async function settle(t, place, ...members) {
  const bell = await connect(t, "bell");
  await bell.join(place);
  for (const member of members) about(await member.next("user_joined"), bell, place);
  for (const member of members) member.nothing();
}

async function pair(t, place) {
  const ann = await connect(t, "ann");
  const ben = await connect(t, 2);
  await ann.join(place);
  await ben.join(place);
  about(await ann.next("user_joined"), ben, place, "2");
  return [ann, ben];
}

for (const roomType of ["conversation", "notification"]) {
  describe(`a ${roomType} room`, { concurrency: true }, () => {
    it("announces joins and leaves to the others, never to the client itself", async (t) => {
      const place = room(roomType);
      const [ann, ben] = await pair(t, place);
      assert.deepEqual(await ben.ack("leave_room", place.data), { success: true, message: `Left room: ${place.name}` });
      about(await ann.next("user_left"), ben, place, "2");
      await settle(t, place, ann);
      ben.nothing();
    });

    it("sends typing to the others, never to the sender", async (t) => {
      const place = room(roomType);
      const [ann, ben] = await pair(t, place);
      assert.deepEqual(await ann.ack("typing", place.data), { success: true });
      assert.deepEqual(await ann.ack("stop_typing", place.data), { success: true });
      about(await ben.next("user_typing"), ann, place);
      about(await ben.next("user_stop_typing"), ann, place);
      await settle(t, place, ann, ben);
    });

    it("works without acks", async (t) => {
      const place = room(roomType);
      const [ann, ben] = [await connect(t, "ann"), await connect(t, "ben")];
      await ann.join(place);
      for (const event of ["join_room", "typing", "stop_typing", "leave_room"]) ben.socket.emit(event, place.data);
      for (const event of ["user_joined", "user_typing", "user_stop_typing", "user_left"]) about(await ann.next(event), ben, place);
      await settle(t, place, ann);
      ben.nothing();
    });
  });
}

describe("a member", { concurrency: true }, () => {
  it("joins twice: success, announced once", async (t) => {
    const place = room();
    const [ann, ben] = await pair(t, place);
    await ben.join(place);
    await settle(t, place, ann, ben);
  });

  it("leaves a room it is not in: success, announced to nobody", async (t) => {
    const place = room();
    const ann = await connect(t, "ann");
    const ben = await connect(t, "ben");
    await ann.join(place);
    for (let i = 0; i < 2; i++) {
      assert.deepEqual(await ben.ack("leave_room", place.data), { success: true, message: `Left room: ${place.name}` });
    }
    await settle(t, place, ann);
  });

  it("types in a room it is not in: refused", async (t) => {
    const place = room();
    const ann = await connect(t, "ann");
    const ben = await connect(t, "ben");
    await ann.join(place);
    for (const event of ["typing", "stop_typing"]) assert.deepEqual(await ben.ack(event, place.data), { error: "Not in room" });
    await settle(t, place, ann);
  });

  it("gets nothing after it left", async (t) => {
    const place = room();
    const [ann, ben] = await pair(t, place);
    await ben.ack("leave_room", place.data);
    about(await ann.next("user_left"), ben, place);
    await settle(t, place, ann);
    ben.nothing();
    assert.deepEqual(await ben.ack("typing", place.data), { error: "Not in room" });
  });

  it("gets only the events of its room", async (t) => {
    const [here, there] = [room(), room()];
    const [ann, ben] = await pair(t, here);
    await ben.join(there);
    await ben.ack("typing", there.data);
    await settle(t, here, ann, ben);
  });

  it("on several sockets is several members", async (t) => {
    const place = room();
    const phone = await connect(t, "ann");
    const desk = await connect(t, "ann");
    await phone.join(place);
    await desk.join(place);
    about(await phone.next("user_joined"), desk, place);
    await phone.ack("typing", place.data);
    about(await desk.next("user_typing"), phone, place);
    await settle(t, place, phone, desk);
  });

  it("gets broadcasts of one sender in the order they were sent", async (t) => {
    const place = room();
    const [ann, ben] = await pair(t, place);
    const sent = [];
    for (let i = 0; i < 300; i++) {
      const away = i % 2 === 0;
      sent.push(away ? "user_left" : "user_joined");
      ben.socket.emit(away ? "leave_room" : "join_room", place.data);
    }
    let last = "";
    for (const event of sent) {
      const body = await ann.next(event);
      about(body, ben, place);
      assert.ok(body.timestamp >= last, "timestamps never go back");
      last = body.timestamp;
    }
    await settle(t, place, ann, ben);
  });

  it("may use ids with quotes, spaces and any script", async (t) => {
    const place = { roomType: "conversation", roomId: 'a "b" \\ ü \u2028 😀' };
    const named = { data: place, name: `${place.roomType}:${place.roomId}` };
    const ann = await connect(t, "ann");
    await ann.join(named);
  });

  it("may use a number as a room's id", async (t) => {
    const ann = await connect(t, "ann");
    const roomId = Math.floor(Math.random() * 2 ** 40) + 1;
    assert.deepEqual(await ann.ack("join_room", { roomType: "conversation", roomId }), { success: true, message: `Joined room: conversation:${roomId}`, members: 1 });
    assert.deepEqual(await ann.ack("typing", { roomType: "conversation", roomId: String(roomId) }), { success: true });
  });
});

describe("the others get user_left when a member", { concurrency: true }, () => {
  const ways = {
    "disconnects": (socket) => socket.disconnect(),
    "closes its engine": (socket) => socket.io.engine.close(),
    "loses its transport": (socket) => {
      const { ws } = socket.io.engine.transport;
      if (ws) return ws.terminate();
      socket.io.engine.transport.doClose = () => {}; // over polling: sends no close packet
      socket.io.engine.close();
      return socket.io.engine.transport._pollXhr?.abort?.();
    },
  };
  for (const [name, leave] of Object.entries(ways)) {
    if (transport === "polling" && name === "loses its transport") continue; // covered by TestClientVanishes
    it(name, async (t) => {
      const [here, there] = [room("conversation"), room("notification")];
      const [ann, ben] = await pair(t, here);
      await ann.join(there);
      await ben.join(there);
      about(await ann.next("user_joined"), ben, there, "2");
      await ben.upgraded();
      ben.lastId = ben.id;
      leave(ben.socket);
      const left = [await ann.next("user_left"), await ann.next("user_left")];
      left.sort((a, b) => a.room.localeCompare(b.room));
      about(left[0], ben, here, "2");
      about(left[1], ben, there, "2");
      await settle(t, here, ann);
    });
  }
});

describe("a room event is answered with an error when", { concurrency: true }, () => {
  const missing = "Missing roomType or roomId";
  const wrong = [
    ["the data is null", [null], missing],
    ["the data is missing", [], missing],
    ["the data is an empty object", [{}], missing],
    ["the data is an array", [["conversation", "1"]], missing],
    ["the data is a number", [42], missing],
    ["the data is a string", ["conversation:1"], missing],
    ["the data is true", [true], missing],
    ["roomType is missing", [{ roomId: "1" }], missing],
    ["roomType is null", [{ roomType: null, roomId: "1" }], missing],
    ["roomType is empty", [{ roomType: "", roomId: "1" }], missing],
    ["roomId is missing", [{ roomType: "conversation" }], missing],
    ["roomId is null", [{ roomType: "conversation", roomId: null }], missing],
    ["roomId is empty", [{ roomType: "conversation", roomId: "" }], missing],
    ["roomId is an object", [{ roomType: "conversation", roomId: {} }]],
    ["roomId is an array", [{ roomType: "conversation", roomId: ["1"] }]],
    ["roomId is true", [{ roomType: "conversation", roomId: true }]],
    ["roomType is unknown", [{ roomType: "garage", roomId: "1" }], "Invalid roomType"],
    ["roomType is user", [{ roomType: "user", roomId: "ann" }], "Invalid roomType"],
    ["roomType is a number", [{ roomType: 5, roomId: "1" }]],
    ["roomType is an inherited name", [{ roomType: "constructor", roomId: "1" }], "Invalid roomType"],
  ];
  for (const event of ["join_room", "leave_room", "typing", "stop_typing"]) {
    it(`${event} has bad data`, async (t) => {
      const ann = await connect(t, "ann");
      for (const [name, args, want] of wrong) {
        const answer = await ann.ack(event, ...args);
        assert.deepEqual(Object.keys(answer), ["error"], name);
        if (want) assert.equal(answer.error, want, name);
        ann.socket.emit(event, ...args); // without an ack there is no answer
      }
      await ann.join(room());
      ann.nothing();
    });
  }

  it("it only has an extra argument: answered with success or an error", async (t) => {
    const ann = await connect(t, "ann");
    const answer = await ann.ack("join_room", room().data, { more: [1, 2, 3] }, "and more");
    assert.ok(answer.success || answer.error, JSON.stringify(answer));
    await ann.join(room());
  });
});
