// Clients connect all the time on each transport. Others stay connected and emit
// events at half of their rate. After the given number of seconds one line of JSON
// has the number of connects and acks, and all errors.
import { io } from "socket.io-client";
import { token, url } from "./world.mjs";

const seconds = Number(process.argv[2]);
const result = { connected: 0, acknowledged: 0, wrong: [] };
const wrong = (who, why) => result.wrong.length < 20 && result.wrong.push(`${who}: ${why}`);

function client(name, transports) {
  const options = transports ? { transports } : {};
  const socket = io(url, { forceNew: true, reconnection: false, auth: { token: token({ id: name, exp: undefined }, { noTimestamp: true }) }, ...options });
  socket.on("connect_error", (err) => wrong(name, err.message));
  socket.io.on("close", (reason) => socket.leaves || wrong(name, reason)); // also if it closes before it has connected
  socket.on("connected", () => result.connected++);
  return socket;
}

async function ask(name, socket, event) {
  try {
    const answer = await socket.timeout(5_000).emitWithAck(event, { roomType: "conversation", roomId: name });
    if (answer.error) wrong(name, answer.error);
    else result.acknowledged++;
  } catch (err) {
    wrong(name, `${event}: ${err.message}`);
  }
}

const kinds = { default: undefined, websocket: ["websocket"], polling: ["polling"] };
for (const [kind, transports] of Object.entries(kinds)) {
  const stays = client(`stays-${kind}`, transports);
  await new Promise((resolve) => {
    stays.once("connected", resolve).once("connect_error", resolve);
    stays.io.once("close", resolve);
  });
  await ask(`stays-${kind}`, stays, "join_room");
  setInterval(() => ask(`stays-${kind}`, stays, "typing"), 20);
  let n = 0;
  setInterval(() => {
    const name = `comes-${kind}-${n++}`;
    const socket = client(name, transports);
    socket.once("connected", async () => {
      await ask(name, socket, "join_room");
      socket.leaves = true;
      socket.disconnect();
    });
  }, 500);
}
setTimeout(() => {
  console.log(JSON.stringify(result));
  process.exit(0);
}, seconds * 1000);
