"use strict";
// The gateway's client events and service events, on any socket.io server.
// Nothing is logged.

// install gives io the client events; verify checks a token and returns its
// claims.
exports.install = function (io, verify) {
  io.use((socket, next) => {
    try {
      const claims = verify(socket.handshake.auth.token);
      socket.userId = String(claims.id);
      next();
    } catch (err) {
      next(new Error("Authentication error: " + err.message));
    }
  });

  io.on("connection", (socket) => {
    socket.join("user:" + socket.userId);
    socket.emit("connected", { socketId: socket.id, userId: socket.userId, message: "Connected" });
    socket.on("join_room", (data, ack) => withRoom(data, ack, (room) => {
      if (!socket.rooms.has(room)) {
        socket.join(room);
        tell(socket, room, "user_joined");
      }
      reply(ack, { success: true, message: "Joined room: " + room });
    }));
    socket.on("leave_room", (data, ack) => withRoom(data, ack, (room) => {
      if (socket.rooms.has(room)) {
        socket.leave(room);
        tell(socket, room, "user_left");
      }
      reply(ack, { success: true, message: "Left room: " + room });
    }));
    socket.on("typing", typing(socket, "user_typing"));
    socket.on("stop_typing", typing(socket, "user_stop_typing"));
  });
};

function typing(socket, event) {
  return (data, ack) => withRoom(data, ack, (room) => {
    if (!socket.rooms.has(room)) {
      return reply(ack, { error: "Not in room" });
    }
    tell(socket, room, event);
    reply(ack, { success: true });
  });
}

function withRoom(data, ack, use) {
  if (!data || !data.roomType || !data.roomId) {
    return reply(ack, { error: "Missing roomType or roomId" });
  }
  if (data.roomType !== "conversation" && data.roomType !== "notification") {
    return reply(ack, { error: "Invalid roomType" });
  }
  use(data.roomType + ":" + data.roomId);
}

function reply(ack, body) {
  if (typeof ack === "function") {
    ack(body);
  }
}

function tell(socket, room, event) {
  socket.to(room).emit(event, {
    socketId: socket.id, userId: socket.userId, room, timestamp: new Date().toISOString(),
  });
}

// deliver sends what a service's event becomes; false: no such event.
exports.deliver = function (io, key, e) {
  const timestamp = e.timestamp || new Date().toISOString();
  if (key === "message.sent") {
    io.to("conversation:" + e.conversationId).emit("new_message", {
      conversationId: e.conversationId, senderId: e.senderId, recipientId: e.recipientId,
      message: e.message, timestamp,
    });
  } else if (key === "notification.created") {
    io.to("user:" + e.userId).emit("new_notification", {
      notificationId: e.notificationId, type: e.type, title: e.title, message: e.message,
      data: e.data, timestamp,
    });
  } else {
    return false;
  }
  return true;
};
