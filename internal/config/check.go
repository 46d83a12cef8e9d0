package config

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/hometrip/gateway/internal/authz"
)

// makeUpSecret generates JWT_SECRET if no key is configured.
func (c *Config) makeUpSecret() {
	if c.Keys() == 0 {
		c.Auth.Secret, c.Auth.EphemeralSecret = rand.Text(), true
	}
}

// Check returns the contradictions between settings, a line for each.
func (c Config) Check() error { return errors.Join(c.contradictions()...) }

func (c Config) contradictions() (wrong []error) {
	if c.Keys() > 1 {
		wrong = append(wrong, errors.New("JWT_SECRET, JWT_PUBLIC_KEY, JWT_JWKS_URL: want only one of them"))
	}
	if c.Keys() == 0 && c.Deployed() {
		wrong = append(wrong, fmt.Errorf(
			"JWT_SECRET: want a value with NODE_ENV=%s (or JWT_PUBLIC_KEY, or JWT_JWKS_URL)", c.Server.Environment))
	}
	if c.Deployed() && c.Auth.Secret != "" && len(c.Auth.Secret) < MinSecret && !c.Auth.AllowWeakSecret {
		wrong = append(wrong, fmt.Errorf("JWT_SECRET: %d bytes, want %d or more: openssl rand -base64 48 makes one; ALLOW_WEAK_SECRET=true accepts it",
			len(c.Auth.Secret), MinSecret))
	}
	if c.Rooms.Policy == authz.Webhook && c.Rooms.AuthURL == "" {
		wrong = append(wrong, errors.New("ROOM_AUTH_URL: want a value with ROOM_POLICY=webhook"))
	}
	if c.Rooms.Policy == authz.Redis && !c.Redis.Use {
		wrong = append(wrong, errors.New("ROOM_POLICY=redis: want USE_REDIS=true"))
	}
	if c.Events.Log == LogRedis && !c.Redis.Use {
		wrong = append(wrong, errors.New("EVENT_LOG=redis: want USE_REDIS=true"))
	}
	if c.Presence.Events && (!c.Redis.Use || !c.RabbitMQ.Use) {
		wrong = append(wrong, errors.New("PRESENCE_EVENTS=true: want USE_REDIS=true and USE_RABBITMQ=true"))
	}
	if c.Adapter.Key != "" && !c.Redis.Use {
		wrong = append(wrong, fmt.Errorf("SOCKETIO_ADAPTER_KEY=%s: want USE_REDIS=true", c.Adapter.Key))
	}
	if c.Adapter.Key == "" && c.Adapter.Events == AdapterCompare {
		wrong = append(wrong, errors.New("SOCKETIO_ADAPTER_EVENTS=compare: want SOCKETIO_ADAPTER_KEY, usually socket.io"))
	}
	if c.Limits.Events > 0 && c.Limits.EventsBurst > 3600*c.Limits.Events {
		wrong = append(wrong, fmt.Errorf("MAX_EVENTS_BURST=%d: want at most an hour's worth of MAX_EVENTS_PER_SECOND (%d)",
			c.Limits.EventsBurst, 3600*c.Limits.Events))
	}
	if c.Connections.ProxyProtocol && len(c.Connections.TrustedProxies) == 0 {
		wrong = append(wrong, errors.New("PROXY_PROTOCOL=true: want the load balancers in TRUSTED_PROXIES"))
	}
	if c.Canary.Enabled && c.Keys() > 0 && c.Auth.Secret == "" {
		wrong = append(wrong, errors.New("CANARY=true: want JWT_SECRET, with which it makes its token"))
	}
	if c.HasConsole() && c.Console.Token == "" && c.Deployed() {
		wrong = append(wrong, fmt.Errorf("CONSOLE_TOKEN: want a value with CONSOLE=%s and NODE_ENV=%s", c.Console.Mode, c.Server.Environment))
	}
	if c.Shutdown.HandoverSocket != "" && c.Server.Port == 0 {
		wrong = append(wrong, errors.New("HANDOVER_SOCKET with PORT=0: want a port, which the next process can have too"))
	}
	if c.Shutdown.DrainPeriod > c.Shutdown.Timeout {
		wrong = append(wrong, fmt.Errorf("DRAIN_PERIOD=%d: want at most SHUTDOWN_TIMEOUT (%d)",
			c.Shutdown.DrainPeriod.Milliseconds(), c.Shutdown.Timeout.Milliseconds()))
	}
	return wrong
}

// CheckFiles checks that the files named in RabbitMQ's addresses exist. Its
// client reads them at each connection, and would try again for ever.
func (c Config) CheckFiles() error {
	if !c.RabbitMQ.Use {
		return nil
	}
	for _, address := range c.RabbitMQ.URLs {
		u, err := url.Parse(address)
		if err != nil {
			continue // the parser of the setting has looked
		}
		for _, name := range []string{"cacertfile", "certfile", "keyfile"} {
			path := u.Query().Get(name)
			if path == "" {
				continue
			}
			if _, err := os.ReadFile(path); err != nil {
				return Error{Err: fmt.Errorf("RABBITMQ_URL: %s of %s: %w", name, u.Host, err)}
			}
		}
	}
	return nil
}
