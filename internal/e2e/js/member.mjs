// COUNT clients that join ROOM at each connect, for tests that watch the process
// from outside. Every step is one JSON line on standard output.
import { io } from "socket.io-client";
import { token, transport, upgraded, url } from "./world.mjs";

const [count, roomId] = process.argv.slice(2);
const say = (member, step, more = {}) => console.log(JSON.stringify({ member, step, at: Date.now(), ...more }));

for (let i = 0; i < Number(count); i++) {
  const transports = transport === "default" ? {} : { transports: [transport] };
  const socket = io(url, { forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 500, auth: { token: token({ id: `${transport}-${i}` }) }, ...transports });
  socket.on("connect", async () => {
    say(i, "connect", { id: socket.id });
    const answer = await socket.emitWithAck("join_room", { roomType: "conversation", roomId });
    await upgraded(socket);
    say(i, "joined", { answer });
  });
  socket.on("disconnect", (reason) => say(i, "disconnect", { reason }));
}
