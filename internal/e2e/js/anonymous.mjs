import { describe, it } from "node:test";
import assert from "node:assert/strict";
import { about, connect, refused, room, token } from "./world.mjs";

describe("with ALLOW_AUTH_WITHOUT_JWT", { concurrency: true }, () => {
  it("a client without a token is accepted without a user id and gets no connected event", async (t) => {
    const place = room();
    const nobody = await connect(t, undefined);
    const ann = await connect(t, "ann");
    await nobody.join(place);
    await ann.join(place);
    about(await nobody.next("user_joined"), ann, place);
    await nobody.ack("typing", place.data);
    about(await ann.next("user_typing"), nobody, place, null);
    nobody.nothing();
  });

  it("a client with a token is its user", async (t) => {
    const ann = await connect(t, "ann");
    assert.equal(ann.greeting.userId, "ann");
  });

  it("a client with a bad token is refused", async (t) => {
    const err = await refused(t, { auth: { token: token({ id: "ann" }, { key: "another" }) } });
    assert.equal(err.message, "Authentication error: invalid signature");
  });
});
