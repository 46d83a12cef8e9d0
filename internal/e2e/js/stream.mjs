// Members of the rooms A and B. From the moment a member is in both it records
// each step of the user "driver": A or B when the driver joins, a or b when it
// leaves. When the driver joins the room END, each member prints its record as a
// line of JSON. The process also prints a line when it is ready, and one each time
// the driver joins the room PACE.
import { Agent } from "node:http";
import { connect } from "node:net";
import { io } from "socket.io-client";
import { token, url } from "./world.mjs";

const [first, count] = process.argv.slice(2).map(Number);
const wave = 25; // clients that connect at the same time
const pause = 150; // ms between waves
const most = 60; // most letters that a member sees before it opens its WebSocket

// PatientAgent opens its connection only when open() is called.
class PatientAgent extends Agent {
  createConnection(options, done) {
    this.open = () => done(null, connect(options));
  }
}

function member(i) {
  const agent = new PatientAgent();
  const socket = io(url, { forceNew: true, reconnection: false, transportOptions: { websocket: { agent } }, auth: { token: token({ id: `member-${i}` }) } });
  const seen = { member: i, letters: "", before: 0, step: "end" };
  let listening = false;
  let left = Math.ceil(Math.random() * most); // letters until it opens the connection of its WebSocket
  const join = (roomId) => socket.emitWithAck("join_room", { roomType: "conversation", roomId });
  const record = (letter) => {
    if (!listening) return;
    seen.letters += letter;
    if (--left === 0) agent.open();
  };
  socket.on("user_joined", ({ userId, room }) => {
    if (userId !== "driver") return;
    if (room !== "conversation:END") return record(room.at(-1));
    console.log(JSON.stringify(seen));
    socket.disconnect();
  });
  socket.on("user_left", ({ userId, room }) => userId === "driver" && record(room.at(-1).toLowerCase()));
  socket.on("disconnect", (reason) => reason !== "io client disconnect" && console.log(JSON.stringify({ member: i, error: reason })));
  socket.on("connect_error", (err) => console.log(JSON.stringify({ member: i, error: err.message })));
  socket.io.engine.on("upgradeError", (err) => console.log(JSON.stringify({ member: i, error: `${err.message}: ${err.description?.message}` })));
  socket.io.engine.on("upgrade", () => {
    seen.before = seen.letters.length;
    console.log(JSON.stringify({ member: i, step: "upgraded" }));
  });
  socket.on("connect", () => {
    join("END");
    join("A");
    // The callback of the last ack runs before any later event is handled.
    socket.emit("join_room", { roomType: "conversation", roomId: "B" }, () => (listening = true));
  });
}

// pace prints a line when it has joined PACE, and one each time the driver joins.
async function pace() {
  const socket = io(url, { forceNew: true, transports: ["websocket"], auth: { token: token({ id: `pace-${first}` }) } });
  const here = () => console.log(JSON.stringify({ step: "pace" }));
  socket.on("user_joined", ({ userId }) => userId === "driver" && here());
  await socket.emitWithAck("join_room", { roomType: "conversation", roomId: "PACE" });
  here();
}

await pace();
for (let i = 0; i < count; i += wave) {
  for (let k = i; k < Math.min(count, i + wave); k++) member(first + k);
  await new Promise((resolve) => setTimeout(resolve, pause));
}
