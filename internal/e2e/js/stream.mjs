// Members of the rooms A and B who write down what the user "driver" does
// there, from the moment they are in both until it comes to the room END:
// A and B when it joins, a and b when it leaves. One line of JSON per member.
import { Agent } from "node:http";
import { connect } from "node:net";
import { io } from "socket.io-client";
import { token, url } from "./world.mjs";

const [first, count] = process.argv.slice(2).map(Number);
const wave = 25; // clients that connect at a time
const pause = 150; // ms between waves
const slowest = 2500; // ms that a WebSocket's connection may take, so that some rooms are joined before

// A SlowAgent opens connections after a while, as a long way does.
class SlowAgent extends Agent {
  createConnection(options, done) {
    setTimeout(() => done(null, connect(options)), Math.random() * slowest);
  }
}

function member(i) {
  const socket = io(url, { forceNew: true, reconnection: false, transportOptions: { websocket: { agent: new SlowAgent() } }, auth: { token: token({ id: `member-${i}` }) } });
  const seen = { member: i, letters: "", before: 0, step: "end" };
  let listening = false;
  const join = (roomId) => socket.emitWithAck("join_room", { roomType: "conversation", roomId });
  const record = (letter) => listening && (seen.letters += letter);
  socket.on("user_joined", ({ userId, room }) => {
    if (userId !== "driver") return;
    if (room !== "conversation:END") return record(room.at(-1));
    console.log(JSON.stringify(seen));
    socket.disconnect();
  });
  socket.on("user_left", ({ userId, room }) => userId === "driver" && record(room.at(-1).toLowerCase()));
  socket.on("disconnect", (reason) => reason !== "io client disconnect" && console.log(JSON.stringify({ member: i, error: reason })));
  socket.on("connect_error", (err) => console.log(JSON.stringify({ member: i, error: err.message })));
  socket.io.engine.on("upgrade", () => {
    seen.before = seen.letters.length;
    console.log(JSON.stringify({ member: i, step: "upgraded" }));
  });
  socket.on("connect", () => {
    join("END");
    join("A");
    // The listener of the last ack runs before any event behind it.
    socket.emit("join_room", { roomType: "conversation", roomId: "B" }, () => (listening = true));
  });
}

for (let i = 0; i < count; i += wave) {
  for (let k = i; k < Math.min(count, i + wave); k++) member(first + k);
  await new Promise((resolve) => setTimeout(resolve, pause));
}
