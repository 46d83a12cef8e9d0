package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/hometrip/gateway/internal/auth"
	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/upstream/routes"
)

// A reloader applies changed settings when the process gets SIGHUP. Owned by
// the goroutine of run.
type reloader struct {
	g       *Gateway
	now     config.Loaded // in effect
	book    *logBook
	memo    *settingsMemfd
	signals chan os.Signal

	terminal bool // the process has one, whose end is a SIGHUP too
}

// newReloader returns a reloader. From then on SIGHUP does not end the process.
func newReloader(start launch) *reloader {
	r := &reloader{
		now: start.Loaded, book: start.book, memo: newSettingsMemfd(start.book.Logger),
		signals: make(chan os.Signal, 1), terminal: isTerminal(os.Stdout),
	}
	signal.Notify(r.signals, syscall.SIGHUP)
	r.memo.write(&r.now.Config)
	return r
}

// run reloads at each SIGHUP until ctx is over. If the signal means that the
// process's terminal was closed, it calls hangUp instead.
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

// close stops the reloader; SIGHUP ends the process again.
func (r *reloader) close() {
	signal.Stop(r.signals)
	r.memo.close()
}

// reload reopens the log files, reads the settings and applies those that may
// change while clients are served. If one is wrong, none is applied.
func (r *reloader) reload() {
	r.book.reopen()
	log := r.book.Logger
	next, err := r.now.Sources.Parse()
	if err == nil {
		err = r.keepSecret(&next)
	}
	if err != nil {
		log.Error("settings not reloaded; the previous ones stay in effect", "error", err)
		return
	}
	merged, changed, restart := merge(&r.now, &next)
	routes, err := r.g.apply(merged)
	if err != nil {
		log.Error("settings not reloaded; the previous ones stay in effect", "error", err)
		return
	}
	r.book.setLevel(merged.Log.Level)
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
	if !slices.Equal(next.Warnings, r.now.Warnings) || len(changed) > 0 {
		warnOfSettings(&next, log)
	}
	next.Config = merged
	r.now = next
	r.memo.write(&merged)
}

// keepSecret keeps the secret that development has generated.
func (r *reloader) keepSecret(next *config.Loaded) error {
	if next.Auth.EphemeralSecret && r.now.Auth.EphemeralSecret {
		next.Auth.Secret, next.Auth.SecretFile = r.now.Auth.Secret, r.now.Auth.SecretFile
		return nil
	}
	return next.UseDevSecret(".", false)
}

// merge returns the settings of now with those settings of next that may change
// while clients are served, and a sentence for each change, applied or not.
func merge(now, next *config.Loaded) (merged config.Config, changed, restart []string) {
	for _, s := range config.Settings() {
		before, after := s.Text(&now.Config), s.Text(&next.Config)
		text := before
		switch {
		case before == after:
		case s.Reload && !needsRestart(s.Name, &now.Config, &next.Config):
			text = after
			changed = append(changed, fmt.Sprintf("%s: %s -> %s", s.Name, s.Show(before), s.Show(after)))
		default:
			restart = append(restart, fmt.Sprintf("%s: %s -> %s", s.Name, s.Show(before), s.Show(after)))
		}
		s.Set(&merged, text)
	}
	from := &next.Config
	if merged.Auth.Secret == now.Auth.Secret {
		from = &now.Config
	}
	merged.Auth.EphemeralSecret, merged.Auth.SecretFile = from.Auth.EphemeralSecret, from.Auth.SecretFile
	return merged, changed, restart
}

// needsRestart reports whether this change of a setting needs a restart
// although the setting can be reloaded.
func needsRestart(name string, now, next *config.Config) bool {
	switch {
	case strings.HasPrefix(name, "JWT_"):
		return keySetting(*now) == "JWT_JWKS_URL" || keySetting(*now) != keySetting(*next)
	case name == "MAX_CONNECTIONS_PER_IP": // counted from the start or not at all
		return (now.Limits.PerIP == 0) != (next.Limits.PerIP == 0)
	}
	return false
}

// apply applies the settings of cfg that may change. It checks them first, so
// an error changes nothing.
func (g *Gateway) apply(cfg config.Config) (changed routes.Reload, err error) {
	if err := cfg.Check(); err != nil {
		return changed, err
	}
	connections, err := maxConnections(cfg.Limits.Connections)
	if err != nil {
		return changed, err
	}
	table, err := loadRoutes(cfg)
	if err != nil {
		return changed, err
	}
	before := g.swap(cfg)
	public, admin, err := g.handlers()
	if err == nil && cfg.Auth.JWKSURL == "" {
		err = verification(cfg, g.verifier.Reload)
	}
	if err == nil {
		err = g.hub.SetLimits(g.limits())
	}
	if err == nil {
		err = g.server.Tune(g.serverConfig(connections))
	}
	if err != nil {
		g.swap(before)
		return changed, err
	}
	if err := g.hub.SetClientEvents(table.ClientEvents()); err != nil {
		return changed, err // cannot be: the table was checked
	}
	g.public.set(public)
	g.admin.set(admin)
	return g.routes.Replace(table), nil
}

// verification calls use with the configuration with which tokens are verified.
func verification(c config.Config, use func(auth.Config) error) error {
	err := use(auth.Config{
		Secret:    c.Auth.Secret,
		PublicKey: c.Auth.PublicKey,
		JWKSURL:   c.Auth.JWKSURL,
		Issuer:    c.Auth.Issuer,
		Audience:  c.Auth.Audience,
	})
	if err != nil {
		return config.Error{Err: fmt.Errorf("%s: %w", keySetting(c), err)}
	}
	return nil
}

// keySetting returns the setting that has the key.
func keySetting(c config.Config) string {
	switch {
	case c.Auth.PublicKey != "":
		return "JWT_PUBLIC_KEY"
	case c.Auth.JWKSURL != "":
		return "JWT_JWKS_URL"
	}
	return "JWT_SECRET"
}

// loadRoutes returns the routes of ROUTES_FILE.
func loadRoutes(c config.Config) (*routes.Table, error) {
	table, err := routes.LoadTable(c.Events.RoutesFile)
	if err != nil {
		return nil, config.Error{Err: fmt.Errorf("ROUTES_FILE=%s: %w", c.Events.RoutesFile, err)}
	}
	return table, nil
}

// cfg returns the settings in effect.
func (g *Gateway) cfg() config.Config { return *g.config.Load() }

// swap applies settings and returns the previous ones.
func (g *Gateway) swap(cfg config.Config) (before config.Config) {
	if old := g.config.Swap(&cfg); old != nil {
		before = *old
	}
	return before
}

// A swappableHandler is replaced at each reload. Safe for concurrent use.
type swappableHandler struct{ handler atomic.Pointer[http.Handler] }

func (s *swappableHandler) set(h http.Handler) { s.handler.Store(&h) }

func (s *swappableHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*s.handler.Load()).ServeHTTP(w, r)
}

// handlers returns the handlers of PORT and of ADMIN_ADDR with the settings in
// effect.
func (g *Gateway) handlers() (public, admin http.Handler, err error) {
	if public, err = g.endpoints(); err != nil {
		return nil, nil, err
	}
	return hardened(public), hardened(g.adminEndpoints()), nil
}

// during makes r reload g's settings while serve runs.
func (r *reloader) during(ctx context.Context, g *Gateway, serve func(context.Context) error) error {
	r.g = g
	ctx, hangUp := context.WithCancel(ctx)
	defer hangUp()
	reloading, enough := context.WithCancel(context.Background())
	defer enough()
	go r.run(reloading, hangUp)
	return serve(ctx)
}
