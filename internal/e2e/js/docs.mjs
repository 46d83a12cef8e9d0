// Globals for the programs in the docs; see docs_test.go.
import assert from "node:assert/strict";
import jwt from "jsonwebtoken";
import { within } from "./world.mjs";

const url = process.env.GATEWAY_URL;
const fetchToken = async () => jwt.sign({ id: "42" }, process.env.JWT_SECRET, { expiresIn: "1h" });

// once resolves with the arguments of an emitter's next event of this name.
const once = (emitter, event) => within(new Promise((done) => emitter.once(event, (...args) => done(args))), event);

// until resolves when a condition holds.
async function until(condition) {
  while (!(await condition())) await new Promise((done) => setTimeout(done, 20));
}

// publish posts an event as a service does.
async function publish(key, body) {
  const answer = await fetch(`${url}/events/${key}`, {
    method: "POST",
    headers: { authorization: `Bearer ${process.env.PUBLISH_TOKEN}` },
    body: JSON.stringify(body),
  });
  assert.equal(answer.status, 202);
}

Object.assign(globalThis, { assert, token: await fetchToken(), fetchToken, once, until, publish, joinMyRoomsAndFetchWhatIsNew() {} });
process.on("exit", (code) => code || console.log("ran to its end"));
