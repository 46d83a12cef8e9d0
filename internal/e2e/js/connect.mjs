import { describe, it } from "node:test";
import assert from "node:assert/strict";
import { Client, connect, now, refused, room, token, transport, within } from "./world.mjs";

const withToken = (claims, options) => ({ auth: { token: token(claims, options) } });

describe("a client with a token", { concurrency: true }, () => {
  it("in CONNECT is greeted with its socket id and user id", async (t) => {
    const ann = await connect(t, "ann");
    const { message, ...rest } = ann.greeting;
    assert.deepEqual(rest, { socketId: ann.id, userId: "ann" });
    assert.ok(typeof message === "string" && message.length > 0);
  });

  it("in the Authorization header is greeted too", async (t) => {
    const client = await connect(t, undefined, { extraHeaders: { Authorization: `Bearer ${token({ id: "ben" })}` } });
    const greeting = await client.next("connected");
    assert.equal(greeting.userId, "ben");
  });

  it("in CONNECT goes before the header's", async (t) => {
    const client = await connect(t, "ann", { extraHeaders: { Authorization: `Bearer ${token({ id: "ben" })}` } });
    assert.equal(client.greeting.userId, "ann");
  });

  it("without exp is let in", async (t) => {
    const client = await connect(t, "x", withToken({ id: "forever", exp: undefined }));
    assert.equal(client.greeting.userId, "forever");
  });

  it("ends on the transport it asked for", async (t) => {
    const ann = await connect(t, "ann");
    await ann.upgraded();
    assert.equal(ann.socket.io.engine.transport.name, transport === "polling" ? "polling" : "websocket");
  });

  it("and WebSocket subprotocols gets the first of them", async (t) => {
    const ann = await connect(t, "ann", { protocols: ["chat.v1", "chat.v2"] });
    await ann.upgraded();
    const { name, ws } = ann.socket.io.engine.transport;
    assert.equal(name, transport === "polling" ? "polling" : "websocket");
    if (ws) assert.equal(ws.protocol, "chat.v1");
  });

  it("has an id of its own on every socket", async (t) => {
    const [one, two] = await Promise.all([connect(t, "ann"), connect(t, "ann")]);
    assert.notEqual(one.id, two.id);
    assert.equal(one.greeting.userId, two.greeting.userId);
  });
});

describe("the user id", { concurrency: true }, () => {
  const cases = [
    ["is the claim id", { id: "a" }, "a"],
    ["is the claim userId", { userId: "b" }, "b"],
    ["is the claim sub", { sub: "c" }, "c"],
    ["is id before userId and sub", { id: "a", userId: "b", sub: "c" }, "a"],
    ["is userId before sub", { userId: "b", sub: "c" }, "b"],
    ["is a number's decimal text", { id: 42 }, "42"],
    ["keeps every digit of a large number", { userId: 9007199254740991 }, "9007199254740991"],
    ["may hold any character", { id: 'ü"\\\u2028 x' }, 'ü"\\\u2028 x'],
  ];
  for (const [name, claims, want] of cases) {
    it(name, async (t) => {
      const client = await connect(t, "x", withToken(claims));
      assert.equal(client.greeting.userId, want);
    });
  }
});

describe("a client is refused", { concurrency: true }, () => {
  const [head, body, signature] = token({ id: "ann" }).split(".");
  const none = Buffer.from('{"alg":"none","typ":"JWT"}').toString("base64url");
  const cases = [
    ["without a token", {}, "No token provided"],
    ["with an empty token", { auth: { token: "" } }, "No token provided"],
    ["with a null token", { auth: { token: null } }, "No token provided"],
    ["with a token that is over", withToken({ id: "ann", exp: now() - 10 }), "jwt expired"],
    ["with a token that is not yet valid", withToken({ id: "ann", nbf: now() + 600 }), "jwt not active"],
    ["with another secret", withToken({ id: "ann" }, { key: "another" }), "invalid signature"],
    ["with a changed body", { auth: { token: `${head}.${Buffer.from('{"id":"eve"}').toString("base64url")}.${signature}` } }, "invalid signature"],
    ["with garbage", { auth: { token: "garbage" } }, "jwt malformed"],
    ["with two parts", { auth: { token: `${head}.${body}` } }, "jwt malformed"],
    ["with a token that is a number", { auth: { token: 42 } }, "jwt must be a string"],
    ["with another algorithm", withToken({ id: "ann" }, { algorithm: "HS512" }), "invalid algorithm"],
    ["with alg none", { auth: { token: `${none}.${body}.` } }, "jwt signature is required"],
    ["with a token that names no user", withToken({ email: "a@example.com" }), "token names no user"],
    ["with a bad token in the header", { extraHeaders: { Authorization: "Bearer garbage" } }, "jwt malformed"],
  ];
  for (const [name, options, why] of cases) {
    it(`${name}: ${why}`, async (t) => {
      const err = await refused(t, options);
      assert.equal(err.message, `Authentication error: ${why}`);
    });
  }

  it("outside the main namespace: Invalid namespace", async (t) => {
    const err = await refused(t, { namespace: "/admin", ...withToken({ id: "ann" }) });
    assert.equal(err.message, "Invalid namespace");
  });

  it("and may connect again with a valid token", async (t) => {
    let tries = 0;
    const client = new Client(t, { auth: (give) => give({ token: tries++ ? token({ id: "ann" }) : "garbage" }) });
    await within(new Promise((resolve) => client.socket.on("connect_error", resolve)), "connect_error");
    client.socket.connect();
    assert.equal((await client.next("connected")).userId, "ann");
  });
});

describe("two namespaces on one connection", () => {
  it("do not disturb each other", async (t) => {
    const ann = await connect(t, "ann");
    const other = ann.socket.io.socket("/other");
    const err = await within(new Promise((resolve) => other.on("connect_error", resolve)), "connect_error");
    assert.equal(err.message, "Invalid namespace");
    await ann.join(room());
  });
});
