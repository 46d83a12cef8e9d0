package process

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Metrics are a gateway's figures by name, without "gateway_", and labels, as
// Prometheus writes them.
type Metrics map[string]float64

// Scrape asks for a gateway's metrics.
func Scrape(client *http.Client, url string) (Metrics, error) {
	text, err := Get(client, url)
	if err != nil {
		return nil, err
	}
	m := make(Metrics)
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if m[strings.TrimPrefix(line[:at], "gateway_")], err = strconv.ParseFloat(line[at+1:], 64); err != nil {
			return nil, fmt.Errorf("GET %s: %q: %w", url, line, err)
		}
	}
	return m, nil
}

// Get returns a page as text.
func Get(client *http.Client, url string) (string, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Accept", "text/plain")
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, res.Status)
	}
	return string(b), err
}
