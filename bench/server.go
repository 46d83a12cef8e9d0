package main

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hometrip/gateway/bench/process"
)

const (
	jwtSecret    = "bench-secret-of-thirty-two-bytes"
	publishToken = "bench-publish-token"
	firstPort    = 12000 // below the ephemeral range
	lastPort     = 20000
	startTimeout = 10 * time.Second
	serverCore   = 0
	loadCore     = 1
	anyCore      = -1
)

func baseEnv(port int, pingInterval time.Duration) []string {
	return []string{
		"PORT=" + strconv.Itoa(port), "SERVICE_HOST=127.0.0.1", "NODE_ENV=production",
		"JWT_SECRET=" + jwtSecret, "PUBLISH_TOKEN=" + publishToken, "CORS_ORIGIN=*",
		"USE_REDIS=false", "USE_RABBITMQ=false", "LOG_LEVEL=warn", "LOG_DIR=logs",
		"PING_INTERVAL=" + strconv.FormatInt(pingInterval.Milliseconds(), 10),
	}
}

// heapOf asks a server that offers Prometheus metrics for its live Go heap;
// 0 if it does not.
func heapOf(s *process.Server) float64 {
	req, err := http.NewRequest(http.MethodGet, "http://"+s.Addr+"/metrics", nil)
	if err != nil {
		return 0
	}
	req.Header.Set("Accept", "text/plain;version=0.0.4")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body)
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "go_memstats_heap_inuse_bytes "); ok {
			v, _ := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			return v
		}
	}
	return 0
}
