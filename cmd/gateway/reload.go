package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/hometrip/gateway/internal/auth"
	"github.com/hometrip/gateway/upstream"
)

// A reloader has a gateway take changed settings when the process gets SIGHUP.
// Owned by the goroutine of run.
type reloader struct {
	g       *Gateway
	now     loaded // in effect
	book    *logBook
	memo    *memo
	signals chan os.Signal

	terminal bool // the process has one, whose end is a SIGHUP too
}

// newReloader keeps SIGHUP from ending the process.
func newReloader(start launch) *reloader {
	r := &reloader{
		now: start.loaded, book: start.book, memo: newMemo(start.book.Logger),
		signals: make(chan os.Signal, 1), terminal: isTerminal(os.Stdout),
	}
	signal.Notify(r.signals, syscall.SIGHUP)
	r.memo.write(&r.now.Config)
	return r
}

// run reloads at each SIGHUP until ctx is over. hangUp is called instead when
// the signal says that the process's terminal has gone.
func (r *reloader) run(ctx context.Context, hangUp func()) {
	for {
		select {
		case <-r.signals:
			if r.terminal && !isTerminal(os.Stdout) {
				hangUp()
				continue
			}
			r.reload()
		case <-ctx.Done():
			return
		}
	}
}

// close lets SIGHUP end the process again.
func (r *reloader) close() {
	signal.Stop(r.signals)
	r.memo.close()
}

// reload opens the log files anew, reads the settings and applies what may
// change while clients are served. Settings of which one is wrong are refused
// together: those before stay in effect.
func (r *reloader) reload() {
	r.book.reopen()
	log := r.book.Logger
	next, err := r.now.inputs.parse()
	if err == nil {
		err = r.keepSecret(&next)
	}
	if err != nil {
		log.Error("settings not reloaded: those before stay in effect", "error", err)
		return
	}
	merged, changed, restart := merge(&r.now, &next)
	routes, err := r.g.apply(merged)
	if err != nil {
		log.Error("settings not reloaded: those before stay in effect", "error", err)
		return
	}
	r.book.setLevel(merged.LogLevel)
	for _, event := range routes.Later {
		restart = append(restart, "route "+event+" (RabbitMQ)")
	}
	for _, event := range routes.Changed {
		changed = append(changed, "route "+event)
	}
	for _, event := range routes.Events {
		changed = append(changed, "client event "+event)
	}
	log.Info("settings reloaded", "changed", changed, "needRestart", restart)
	if !slices.Equal(next.warnings, r.now.warnings) || len(changed) > 0 {
		next.warn(log)
	}
	next.Config = merged
	r.now = next
	r.memo.write(&merged)
}

// keepSecret has a gateway that made its secret up keep it.
func (r *reloader) keepSecret(next *loaded) error {
	if next.EphemeralSecret && r.now.EphemeralSecret {
		next.JWTSecret, next.SecretFile = r.now.JWTSecret, r.now.SecretFile
		return nil
	}
	return next.useDevSecret(".", false)
}

// merge returns the settings of now with those of next that may change while
// clients are served, and sentences about both kinds of change.
func merge(now, next *loaded) (merged Config, changed, restart []string) {
	for _, s := range settings {
		before, after := s.kind.text(&now.Config), s.kind.text(&next.Config)
		text := before
		switch {
		case before == after:
		case s.reload && !needsRestart(s.name, &now.Config, &next.Config):
			text = after
			changed = append(changed, fmt.Sprintf("%s: %s -> %s", s.name, s.show(before), s.show(after)))
		default:
			restart = append(restart, fmt.Sprintf("%s: %s -> %s", s.name, s.show(before), s.show(after)))
		}
		s.kind.set(&merged, text)
	}
	from := &next.Config
	if merged.JWTSecret == now.JWTSecret {
		from = &now.Config
	}
	merged.EphemeralSecret, merged.SecretFile = from.EphemeralSecret, from.SecretFile
	return merged, changed, restart
}

// needsRestart reports whether a setting that may be reloaded may not be
// between these two.
func needsRestart(name string, now, next *Config) bool {
	switch {
	case strings.HasPrefix(name, "JWT_"):
		return now.keyKind() == "JWT_JWKS_URL" || now.keyKind() != next.keyKind()
	case name == "MAX_CONNECTIONS_PER_IP": // counted from the start or not at all
		return (now.MaxPerIP == 0) != (next.MaxPerIP == 0)
	}
	return false
}

// apply has the gateway take the settings of cfg that may change. What can be
// wrong is looked at first, so that an error changes nothing.
func (g *Gateway) apply(cfg Config) (routes upstream.Reload, err error) {
	if err := errors.Join(cfg.contradictions()...); err != nil {
		return routes, err
	}
	connections, err := maxConnections(cfg.MaxConnections)
	if err != nil {
		return routes, err
	}
	table, err := cfg.table()
	if err != nil {
		return routes, err
	}
	before := g.swap(cfg)
	public, admin, err := g.handlers()
	if err == nil && cfg.JWTJWKSURL == "" {
		err = cfg.verification(g.verifier.Reload)
	}
	if err == nil {
		err = g.hub.SetLimits(g.limits())
	}
	if err == nil {
		err = g.server.Tune(g.doorConfig(connections))
	}
	if err != nil {
		g.swap(before)
		return routes, err
	}
	if err := g.hub.SetClientEvents(table.ClientEvents()); err != nil {
		return routes, err // cannot be: the table was checked
	}
	g.public.set(public)
	g.admin.set(admin)
	return g.routes.Replace(table), nil
}

// verification calls use with what tokens are verified with.
func (c Config) verification(use func(auth.Config) error) error {
	err := use(auth.Config{
		Secret:    c.JWTSecret,
		PublicKey: c.JWTPublicKey,
		JWKSURL:   c.JWTJWKSURL,
		Issuer:    c.JWTIssuer,
		Audience:  c.JWTAudience,
	})
	if err != nil {
		return settingsError{fmt.Errorf("%s: %w", c.keyKind(), err)}
	}
	return nil
}

// keyKind returns the setting that has the key.
func (c Config) keyKind() string {
	switch {
	case c.JWTPublicKey != "":
		return "JWT_PUBLIC_KEY"
	case c.JWTJWKSURL != "":
		return "JWT_JWKS_URL"
	}
	return "JWT_SECRET"
}

// table returns the routes of ROUTES_FILE.
func (c Config) table() (*upstream.Table, error) {
	table, err := upstream.LoadTable(c.RoutesFile)
	if err != nil {
		return nil, settingsError{fmt.Errorf("ROUTES_FILE=%s: %w", c.RoutesFile, err)}
	}
	return table, nil
}

// cfg returns the settings in effect.
func (g *Gateway) cfg() Config { return *g.config.Load() }

// swap puts settings into effect and returns those before.
func (g *Gateway) swap(cfg Config) (before Config) {
	if old := g.config.Swap(&cfg); old != nil {
		before = *old
	}
	return before
}

// A swapped handler is another one after each reload. Safe for concurrent use.
type swapped struct{ handler atomic.Pointer[http.Handler] }

func (s *swapped) set(h http.Handler) { s.handler.Store(&h) }

func (s *swapped) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*s.handler.Load()).ServeHTTP(w, r)
}

// handlers returns what answers on PORT and on ADMIN_ADDR with the settings in
// effect.
func (g *Gateway) handlers() (public, admin http.Handler, err error) {
	if public, err = g.endpoints(); err != nil {
		return nil, nil, err
	}
	return hardened(public), hardened(g.adminEndpoints()), nil
}
