import { describe, it } from "node:test";
import assert from "node:assert/strict";
import { about, connect, now, room, token, within } from "./world.mjs";

const ending = (seconds) => ({ auth: { token: token({ id: "ann", exp: now() + seconds }) } });
const lifetime = 15; // s; the warning comes when a fifth of it is left

// warned waits for the warning about a token with this lifetime, which comes when
// a fifth of it is left.
async function warned(client, life) {
  const { expiresIn, ...rest } = await client.next("token_expiring_soon");
  assert.deepEqual(rest, {});
  assert.ok(Number.isInteger(expiresIn) && expiresIn >= 0 && expiresIn <= life / 5, `expiresIn ${expiresIn} of ${life}`);
}

// ended waits for what the client gets at the end of its token.
async function ended(client) {
  assert.deepEqual(await client.next("session_ended"), { reason: "token_expired" });
  assert.equal(await within(client.disconnected, "the disconnect"), "io server disconnect");
}

describe("a token", { concurrency: true }, () => {
  it("about to end is announced, and its end disconnects", async (t) => {
    const place = room();
    const ben = await connect(t, "ben");
    await ben.join(place);
    const end = (now() + lifetime) * 1000;
    const ann = await connect(t, "ann", ending(lifetime));
    await ann.join(place);
    about(await ben.next("user_joined"), ann, place);
    ann.lastId = ann.id;
    await warned(ann, lifetime);
    await ended(ann);
    assert.ok(Date.now() >= end - 50, "not before its time");
    about(await ben.next("user_left"), ann, place, "ann");
    ann.nothing();
  });

  it("of 4 minutes is not announced at connect", async (t) => {
    const ann = await connect(t, "ann", ending(240));
    await ann.join(room());
    ann.nothing();
  });

  it("of which less than a fifth is left is announced at connect, once", async (t) => {
    const old = { auth: { token: token({ id: "ann", iat: now() - 1000, exp: now() + 200 }) } };
    const ann = await connect(t, "ann", old);
    const { expiresIn } = await ann.next("token_expiring_soon");
    assert.ok(expiresIn > 150 && expiresIn <= 200, `expiresIn ${expiresIn}`);
    assert.deepEqual(await ann.ack("refresh_token", old.auth), { success: true });
    await ann.join(room());
    ann.nothing();
  });

  it("of an hour is not announced", async (t) => {
    const ann = await connect(t, "ann");
    await ann.join(room());
    ann.nothing();
  });

  it("replaced in time keeps the socket", async (t) => {
    const ann = await connect(t, "ann", ending(lifetime));
    await warned(ann, lifetime);
    const place = room();
    await ann.join(place);
    assert.deepEqual(await ann.ack("refresh_token", { token: token({ id: "ann" }) }), { success: true });
    await new Promise((resolve) => setTimeout(resolve, (lifetime + 1) * 1000)); // until after the first token's expiry
    assert.deepEqual(await ann.ack("typing", place.data), { success: true });
    ann.nothing();
  });

  it("replaced by another short one is announced and ends anew", async (t) => {
    const ann = await connect(t, "ann");
    const { token: short } = ending(lifetime).auth;
    assert.deepEqual(await ann.ack("refresh_token", { token: short }), { success: true });
    await warned(ann, lifetime);
    await ended(ann);
  });

  it("may be replaced without an ack", async (t) => {
    const ann = await connect(t, "ann");
    ann.socket.emit("refresh_token", ending(lifetime).auth);
    await warned(ann, lifetime);
  });

  it("is not replaced by a wrong one", async (t) => {
    const ann = await connect(t, "ann");
    const wrong = [
      [{ token: token({ id: "eve" }) }, /./],
      [{ token: token({ id: "ann", exp: now() - 5 }) }, /jwt expired/],
      [{ token: token({ id: "ann" }, { key: "another" }) }, /invalid signature/],
      [{ token: "garbage" }, /jwt malformed/],
      [{ token: 42 }, /./],
      [{ token: null }, /./],
      [{}, /./],
      [null, /./],
      [[], /./],
      ["garbage", /./],
    ];
    for (const [data, why] of wrong) {
      const answer = await ann.ack("refresh_token", data);
      assert.deepEqual(Object.keys(answer), ["error"], JSON.stringify(data));
      assert.match(answer.error, why, JSON.stringify(data));
    }
    assert.deepEqual(Object.keys(await ann.ack("refresh_token")), ["error"]);
    await ann.join(room());
    ann.nothing();
  });
});
