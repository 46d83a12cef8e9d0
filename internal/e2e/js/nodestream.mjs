// A Node server that continuously emits numbered events to a room, and two clients
// of the gateway in that room, which reconnect whenever they are disconnected.
// Prints each event they get.
import { createServer } from "node:http";
import { createAdapter } from "redis-adapter-8";
import { createClient } from "redis";
import { Server } from "socket.io";
import { io as connect } from "socket.io-client";
import { token, url } from "./world.mjs";

const say = (member, step, more = {}) => console.log(JSON.stringify({ member, step, ...more }));
const options = { url: process.env.REDIS_URL, socket: { reconnectStrategy: 50 }, disableOfflineQueue: true };
const pub = createClient(options);
const sub = createClient({ ...options, disableOfflineQueue: false });
for (const client of [pub, sub]) client.on("error", () => {});
await Promise.all([pub.connect(), sub.connect()]);
const io = new Server(createServer(), { adapter: createAdapter(pub, sub) });
process.on("unhandledRejection", () => {}); // emits fail while Redis cannot be reached

const room = { roomType: "conversation", roomId: "stream" };
for (const member of [0, 1]) {
  const socket = connect(url, { forceNew: true, transports: ["websocket"], reconnectionDelay: 50, reconnectionDelayMax: 200, auth: { token: token({ id: `s${member}` }) } });
  socket.on("connect", async () => {
    await socket.emitWithAck("join_room", room);
    say(member, "joined");
  });
  socket.on("number", (n) => say(member, "event", { at: n }));
}
let n = 0;
setInterval(() => io.to("conversation:stream").emit("number", ++n), 10);
