// Clients that tests ask `gateway explain` about. Each argument is
// USER:ROOM[:plain]. A client joins ROOM, unless it is "-", at each connection
// that is not recovered. It asks for recovery unless it is plain. Every step is
// one JSON line on standard output.
import { io } from "socket.io-client";
import { token, upgraded, url } from "./world.mjs";

process.argv.slice(2).forEach((arg, member) => {
  const [id, roomId, plain] = arg.split(":");
  const say = (step, more = {}) => console.log(JSON.stringify({ member, step, at: Date.now(), ...more }));
  const socket = io(url, {
    forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 200,
    auth: { token: token({ id }), ...(plain ? {} : { recovery: true }) },
  });
  socket.on("connect", async () => {
    if (!socket.recovered && roomId !== "-") await socket.emitWithAck("join_room", { roomType: "conversation", roomId });
    await upgraded(socket);
    say("connected", { before: Number(socket.recovered), letters: socket.id });
  });
  socket.on("disconnect", (reason) => say("disconnect", { reason }));
  socket.on("new_message", (body, offset) => say("message", { event: String(body.message), args: offset ?? "" }));
});
