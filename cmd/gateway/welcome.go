package main

import (
	"fmt"
	"net"

	"github.com/hometrip/gateway/internal/auth"
	"github.com/hometrip/gateway/internal/authz"
	"github.com/hometrip/gateway/internal/config"
)

// announce logs the address and, in development, prints how to try the gateway.
func (g *Gateway) announce() {
	cfg := g.cfg()
	g.log.Info("listening", "address", g.server.Addr(), "environment", cfg.Server.Environment, "version", version())
	if cfg.Server.Environment == config.Production && cfg.Rooms.Policy == authz.Open {
		g.log.Warn("ROOM_POLICY=open: every user may join every room; set claims, webhook or redis to restrict it")
	}
	if !cfg.MintsTokens() {
		return
	}
	token, err := mint(cfg, auth.Grant{UserID: "42", TTL: developmentTTL}, g.started)
	if err != nil {
		g.log.Warn("no development token", "error", err)
		return
	}
	_, port, _ := net.SplitHostPort(g.server.Addr())
	where := "The gateway is at"
	if cfg.HasConsole() {
		where = "Try the gateway in a browser, at"
	}
	fmt.Printf(welcome, where, port, token, port, token)
}

// welcome is printed to a developer's terminal.
const welcome = `
%s http://localhost:%s/. A token for user 42, good for a day:

%s

Or in a folder where "npm install socket.io-client" has run:

  const { io } = require("socket.io-client");
  const socket = io("http://localhost:%s", { auth: { token: "%s" } });
  socket.onAny(console.log).emit("join_room", { roomType: "conversation", roomId: "1" }, console.log);

`
