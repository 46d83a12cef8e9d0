// Members of a room while one gateway process takes over from another one. Each
// must get every numbered message once and in order, every step of the walker
// once, and an answer to each of its own events, and its connection must not end.
//
// With "return" as the last argument a connection may end, and the client
// reconnects. If it is recovered, the messages must continue after the last one.
// If it is not, it is a new client and its first message may have any number: a
// later one, because it missed some, or an earlier one, because a gateway gives a
// new client everything that it reads from then on, and its position in the log
// may be behind that of the process before.
//
// The program prints one line of JSON when all have joined, one for each error,
// and one for each member when it has seen what a line on standard input names:
// {"last": 1000, "steps": 20}.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";
import { token, transport, upgraded, url } from "./world.mjs";

const [first, count, roomId, mode] = [Number(process.argv[2]), Number(process.argv[3]), process.argv[4], process.argv[5]];
const returns = mode === "return";
const place = { roomType: "conversation", roomId };
const transports = transport === "default" ? {} : { transports: [transport] };
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const patience = 30_000; // ms to wait for an answer

const say = (line) => console.log(JSON.stringify(line));
const wrong = (who, error) => say({ error: `${who} over ${transport}: ${error}` });

let goal = { last: Infinity, steps: Infinity };

class Member {
  constructor(i) {
    this.name = `member-${transport}-${first + i}`;
    this.recovers = i % 2 === 1;
    this.last = 0;
    this.steps = 0;
    this.inside = false;
    const auth = { token: token({ id: this.name }), ...(this.recovers ? { recovery: true } : {}) };
    this.socket = io(url, { forceNew: true, reconnection: returns, reconnectionDelay: 50, reconnectionDelayMax: 200, ...transports, auth });
    this.socket.on("new_message", ({ message }) => this.message(Number(message)));
    this.socket.on("user_joined", ({ userId }) => userId === "walker" && this.step(true));
    this.socket.on("user_left", ({ userId }) => userId === "walker" && this.step(false));
    this.socket.on("disconnect", (reason) => reason !== "io client disconnect" && !returns && wrong(this.name, reason));
    this.socket.on("connect_error", (err) => returns || wrong(this.name, err.message));
    this.socket.on("session_ended", ({ reason }) => returns || wrong(this.name, `session_ended: ${reason}`));
  }

  async start() {
    await new Promise((resolve) => this.socket.on("connect", resolve));
    await upgraded(this.socket);
    if (returns) this.socket.on("connect", () => this.back());
    await this.ask("join_room");
    this.talk();
  }

  // back is called when the client has reconnected. Only a recovered client gets
  // the messages that it missed.
  back() {
    if (this.socket.recovered) return;
    this.away = true;
    this.socket.emit("join_room", place);
  }

  ask(event) {
    return this.socket.timeout(patience).emitWithAck(event, place);
  }

  async talk() {
    while (this.socket.connected || returns) {
      await pause(20);
      try {
        const answer = await this.ask("typing");
        if (!answer.success && !returns) wrong(this.name, `typing was answered ${JSON.stringify(answer)}`);
      } catch (err) {
        if (!returns && this.socket.connected) wrong(this.name, `typing: ${err.message}`);
      }
    }
  }

  message(n) {
    if (this.last && n !== this.last + 1 && !this.away) wrong(this.name, `message ${n} behind ${this.last}, recovered ${this.socket.recovered}`);
    this.last = n;
    this.away = false;
    this.done();
  }

  step(inside) {
    if (!returns && inside === this.inside) wrong(this.name, `the walker has ${inside ? "joined" : "left"} twice, step ${this.steps}`);
    this.inside = inside;
    this.steps += 1;
    this.done();
  }

  done() {
    if (this.ended || this.last < goal.last || (!returns && this.steps < goal.steps)) return;
    this.ended = true;
    say({ step: "end", member: first });
    if (this.steps > goal.steps) wrong(this.name, `${this.steps} steps of the walker, want ${goal.steps}`);
  }
}

// Short-lived clients connect and disconnect, so that a hand-over meets
// connections in every state.
async function visit() {
  for (let i = 0; ; i++) {
    const socket = io(url, { forceNew: true, reconnection: false, ...transports, auth: { token: token({ id: `visitor-${first}-${i}` }) } });
    const why = await new Promise((resolve) => {
      const stay = { roomType: "conversation", roomId: `visit-${first}` };
      socket.on("connect", () => socket.timeout(patience).emit("join_room", stay, (err) => resolve(err && err.message)));
      socket.on("connect_error", (err) => resolve(`connect_error ${err.message}: ${err.description?.message ?? err.description}`));
      socket.on("disconnect", (reason) => resolve(`disconnect ${reason}`));
    });
    if (why && !returns) return wrong(`visitor ${i}`, why);
    socket.disconnect();
    await pause(30);
  }
}

const members = Array.from({ length: count }, (_, i) => new Member(i));
await Promise.all(members.map((m) => m.start()));
say({ step: "ready" });
visit();
for await (const line of createInterface({ input: process.stdin })) {
  goal = JSON.parse(line);
  members.forEach((m) => m.done());
}
