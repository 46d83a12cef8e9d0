// Clients that print every event they get, except those about each other, and that
// rejoin their rooms when they reconnect. Each argument is a client: {"user": "7",
// "rooms": ["conversation:42"]}.
import { io } from "socket.io-client";
import { token, transport, upgraded, url } from "./world.mjs";

const say = (member, step, more = {}) => console.log(JSON.stringify({ member, step, ...more }));
const presence = new Set(["connected", "user_joined", "user_left"]);

process.argv.slice(2).map(JSON.parse).forEach(({ user, rooms = [] }, i) => {
  const transports = transport === "default" ? {} : { transports: [transport] };
  const socket = io(url, { forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 200, auth: { token: token({ id: user }) }, ...transports });
  socket.onAny((event, ...args) => presence.has(event) || say(i, "event", { event, args: JSON.stringify(args) }));
  socket.on("connect", async () => {
    const joins = rooms.map((room) => room.split(":"));
    await Promise.all(joins.map(([roomType, roomId]) => socket.emitWithAck("join_room", { roomType, roomId })));
    await upgraded(socket);
    say(i, "joined");
  });
});
