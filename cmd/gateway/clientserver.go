package main

import (
	"fmt"
	"net"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/internal/bearer"
	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/loop"
)

// descriptorReserve is how many descriptors of RLIMIT_NOFILE are not for
// clients: they are for log files, Redis, RabbitMQ, and connections that are
// moved between loops.
const descriptorReserve = 512

func (g *Gateway) newServer() (*loop.Server, error) {
	connections, err := maxConnections(g.cfg().Limits.Connections)
	if err != nil {
		return nil, err
	}
	public, admin, err := g.handlers()
	if err != nil {
		return nil, err
	}
	g.public.set(public)
	g.admin.set(admin)
	return loop.New(g.serverConfig(connections))
}

// serverConfig returns the configuration of the server on PORT with the settings
// in effect.
func (g *Gateway) serverConfig(connections int) loop.Config {
	cfg, loops := g.cfg(), g.hub.Shards()
	return loop.Config{
		Address:              net.JoinHostPort(cfg.Server.Host, strconv.Itoa(cfg.Server.Port)),
		Loops:                loops,
		Hub:                  g.hub,
		Handler:              &g.public,
		Prepared:             []string{"/health", "/ready"},
		Authorised:           bearer.New(cfg.Metrics.Token, cfg.Events.PublishToken).Has,
		Log:                  g.log,
		PingInterval:         cfg.Connections.PingInterval,
		PingTimeout:          cfg.Connections.PingTimeout,
		HeadTimeout:          cfg.Connections.HeadTimeout,
		KeepAlive:            cfg.Connections.KeepAliveTimeout,
		DrainPeriod:          cfg.Shutdown.DrainPeriod,
		MaxHead:              cfg.Limits.HeadSize,
		MaxPayload:           cfg.Limits.HTTPBufferSize,
		MaxPending:           cfg.Limits.PendingBytes,
		MaxReplay:            cfg.Recovery.MaxBytes,
		MaxConnections:       connections,
		MaxPerAddress:        cfg.Limits.PerIP,
		MaxHeld:              g.maxHeld(),
		Handshakes:           cfg.HandshakeRate(loops),
		HandshakesPerAddress: cfg.AddressHandshakeRate(),
		Bytes:                cfg.ByteRate(),
		TrustedProxies:       cfg.Connections.TrustedProxies,
		ProxyProtocol:        cfg.Connections.ProxyProtocol,
		Origins:              loop.NewOrigins(cfg.Server.CORSOrigins...),
		LocalPages:           cfg.Server.Environment == config.Development,
		SharePort:            cfg.Server.SharePort,
		Successor:            g.succeeds,
	}
}

// maxConnections checks the setting against the descriptors the process may
// have, or derives it from them.
func maxConnections(setting int) (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read RLIMIT_NOFILE: %w", err)
	}
	room := int(min(limit.Cur, 1<<30)) - descriptorReserve
	switch {
	case room <= 0:
		return 0, config.Error{Err: fmt.Errorf("RLIMIT_NOFILE is %d: raise it (LimitNOFILE, ulimit -n) above %d", limit.Cur, descriptorReserve)}
	case setting > room:
		return 0, config.Error{Err: fmt.Errorf("MAX_CONNECTIONS=%d: RLIMIT_NOFILE is %d and %d are kept in reserve, so at most %d",
			setting, limit.Cur, descriptorReserve, room)}
	case setting > 0:
		return setting, nil
	}
	return room, nil
}
