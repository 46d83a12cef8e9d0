package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/internal/bearer"
)

// adminHeadTimeout is for a request's head on ADMIN_ADDR.
const adminHeadTimeout = 5 * time.Second

// serveAdmin serves ADMIN_ADDR, which is for operators only: metrics, whose
// room names contain user ids, and profiles. stop ends it.
func (g *Gateway) serveAdmin() (stop func(), err error) {
	if g.cfg().Server.AdminAddr == "" {
		return func() {}, nil
	}
	var config net.ListenConfig
	if g.cfg().Server.SharePort || g.cfg().Shutdown.HandoverSocket != "" { // a successor comes up before this process goes
		config.Control = shared
	}
	listener, err := config.Listen(context.Background(), "tcp", g.cfg().Server.AdminAddr)
	if err != nil {
		return nil, fmt.Errorf("ADMIN_ADDR: %w", err)
	}
	server := &http.Server{Handler: &g.admin, ReadHeaderTimeout: adminHeadTimeout}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			g.log.Error("the admin port is closed", "error", err)
		}
	}()
	g.log.Info("admin port", "address", listener.Addr().String())
	return func() { _ = server.Close() }, nil
}

// shared lets processes of one user listen on the same port.
func shared(_, _ string, c syscall.RawConn) (err error) {
	failed := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	return errors.Join(failed, err)
}

func (g *Gateway) adminEndpoints() http.Handler {
	mux := http.NewServeMux()
	everything := func(*http.Request) bool { return true }
	mux.HandleFunc("GET /health", g.handleHealth(everything))
	mux.HandleFunc("GET /ready", g.handleReady(everything))
	if g.cfg().Metrics.Enabled {
		mux.Handle("GET /metrics", g.metricsHandler(everything))
	}
	g.registerUsers(mux)
	mux.Handle("GET /explain/{user}", withToken(g.cfg().Metrics.Token, http.HandlerFunc(g.handleExplain)))
	profiles := http.NewServeMux()
	profiles.HandleFunc("GET /debug/pprof/", pprof.Index)
	profiles.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	profiles.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.Handle("/debug/pprof/", withToken(g.cfg().Metrics.Token, profiles))
	mux.HandleFunc("/", notFound)
	return mux
}

// withToken passes on requests that have the token as bearer token; without a
// token, all requests.
func withToken(token string, h http.Handler) http.Handler {
	if token == "" {
		return h
	}
	tokens := bearer.New(token)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !tokens.Has(bearerToken(r)) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "want Authorization: Bearer and the METRICS_TOKEN"})
			return
		}
		h.ServeHTTP(w, r)
	})
}

// bearerToken returns the bearer token of a request, "" without one.
func bearerToken(r *http.Request) string { return bearer.Token(r.Header.Get("Authorization")) }

// hardened adds headers that restrict what a browser may do with an answer.
// Paths with empty, "." or ".." segments are not found: http.ServeMux would
// redirect them.
func hardened(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Content-Type-Options", "nosniff")
		if r.Method == http.MethodOptions && r.RequestURI == "*" {
			r.RequestURI, r.URL.Path = "/", "/" // about the server, as the health check is
		}
		if !isCleanPath(r.URL.EscapedPath()) {
			notFound(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// isCleanPath reports whether http.ServeMux uses an escaped path unchanged.
func isCleanPath(text string) bool {
	clean := path.Clean(text)
	return strings.HasPrefix(text, "/") && (text == clean || text == clean+"/" && clean != "/")
}
